"""I3, I4, I6: a scan sees what is wrong and changes nothing; a recovery ends clean, and once is enough."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from papyra.clock import SYSTEM_CLOCK
from papyra.node import this_node
from papyra.persistence.models import (
    EventType,
    LossNote,
    PersistedEvent,
    PersistenceAnomalyType,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    RecordKind,
    ScanDepth,
)
from papyra.persistence.startup import (
    DEFAULT_STARTUP,
    PersistenceStartupConfig,
    PersistenceStartupMode,
    StartupVerdict,
    run_startup_check,
)
from papyra.testing.promises.harness import Harness
from papyra.testing.records import INCARNATION, MAKERS, event, full_records, letter, numbers

if TYPE_CHECKING:
    from papyra.node import Node
    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import Record

REPAIR = PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
MODES = [*PersistenceRecoveryMode]


def started(node: Node, **changes: Any) -> PersistedEvent:
    """Return the event that opens an incarnation of ``node``."""
    return event(
        1,
        **{
            "event_type": EventType.SYSTEM_STARTED,
            "payload": {"node": node.to_dict(), "versions": {}, "settings_digest": ""},
            "incarnation": INCARNATION,
            "seq": 1,
            "timestamp": SYSTEM_CLOCK.now() - 5,
            **changes,
        },
    )


class Scanning(Harness):
    """Looking."""

    @pytest.mark.parametrize("depth", ScanDepth)
    async def test_a_sound_store_is_clean_and_a_scan_leaves_it_alone(self, depth: ScanDepth) -> None:
        async with self.opened() as backend:
            await backend.append([make(number) for number in range(20) for make in MAKERS.values()])
            before = await self._all(backend), await backend.stats()
            async with self.reopened(backend) as reader:
                report = await reader.scan(depth)
            assert (report.anomalies, report.has_anomalies, report.has_damage) == ((), False, False)
            assert (report.backend, report.depth) == (backend.name, depth)
            assert (await self._all(backend), await backend.stats()) == before
            if depth is ScanDepth.FULL:
                assert report.checked_records == 60
                assert report.checked_bytes > 0

    @pytest.mark.parametrize("depth", ScanDepth)
    async def test_an_empty_store_is_clean(self, depth: ScanDepth) -> None:
        async with self.opened() as backend:
            report = await backend.scan(depth)
            assert (report.anomalies, report.checked_records) == ((), 0)

    async def test_a_scan_beside_a_live_writer_finds_nothing(self) -> None:
        async with self.opened() as backend, self.reopened(backend) as reader:

            async def write() -> None:
                for number in range(150):
                    await backend.append([event(number), letter(number)])

            writer = asyncio.create_task(write())
            while not writer.done():
                report = await reader.scan()
                assert report.anomalies == ()
                await asyncio.sleep(0)
            await writer
            assert numbers(await self.stored(backend)) == list(range(150))

    async def test_a_scan_whose_watcher_gives_up_ends_and_changes_nothing(self) -> None:
        def give_up(_: object) -> None:
            raise TimeoutError("enough")

        async with self.opened() as backend:
            await backend.append([event(number) for number in range(500)])
            for task in (backend.scan(progress=give_up), backend.recover(REPAIR, progress=give_up)):
                try:
                    await task
                except TimeoutError:
                    continue
            assert numbers(await self.stored(backend)) == list(range(500))
            assert not (await backend.scan()).has_anomalies

    async def _all(self, backend: BasePersistence) -> list[Record]:
        return [record for kind in RecordKind for record in await self.stored(backend, kind)]


class Recovering(Harness):
    """Acting."""

    @pytest.mark.parametrize("mode", MODES)
    async def test_i6_recovering_a_sound_store_does_nothing_to_its_records(
        self, mode: PersistenceRecoveryMode
    ) -> None:
        async with self.opened() as backend:
            await backend.append([*full_records(), *(event(number) for number in range(10))])
            before = [await self.stored(backend, kind) for kind in RecordKind]
            report = await backend.recover(PersistenceRecoveryConfig(mode))
            assert not report.scan.has_anomalies
            assert (report.losses, report.left, report.quarantined_bytes) == ((), (), 0)
            assert [await self.stored(backend, kind) for kind in RecordKind] == before
            await backend.append([event(77)])
            assert not (await backend.scan()).has_anomalies

    async def test_a_hole_is_found_and_its_repair_leaves_a_note(self) -> None:
        async with self.opened() as backend:
            if not backend.capabilities.can_be_damaged:
                pytest.skip("this store cannot lose a record")
            await backend.append(
                [letter(number, incarnation=INCARNATION, seq=number) for number in (3, 4, 7, 8, 10)]
            )
            found = await backend.scan()
            assert {anomaly.type for anomaly in found.anomalies} == {PersistenceAnomalyType.MISSING_RECORDS}
            assert found.has_damage
            report = await backend.recover(REPAIR)
            holes = {(note.incarnation, note.kind, note.first, note.last) for note in report.losses}
            assert holes == {
                (INCARNATION, RecordKind.DEAD_LETTER, 5, 6),
                (INCARNATION, RecordKind.DEAD_LETTER, 9, 9),
            }
            assert not (await backend.scan()).has_anomalies
            notes = await self._of_type(backend, EventType.RECORDS_LOST)
            assert {LossNote.from_payload(note.payload) for note in notes} == set(report.losses)
            before = await self.stored(backend)
            again = await backend.recover(REPAIR)
            assert (again.scan.anomalies, again.losses) == ((), ())
            assert await self.stored(backend) == before
            assert numbers(await self.stored(backend, RecordKind.DEAD_LETTER)) == [3, 4, 7, 8, 10]

    async def test_ignoring_a_hole_changes_nothing(self) -> None:
        async with self.opened() as backend:
            if not backend.capabilities.can_be_damaged:
                pytest.skip("this store cannot lose a record")
            await backend.append([event(number, incarnation=INCARNATION, seq=number) for number in (1, 3)])
            before = await self.stored(backend)
            await backend.recover(PersistenceRecoveryConfig(PersistenceRecoveryMode.IGNORE))
            assert await self.stored(backend) == before
            assert (await backend.scan()).has_anomalies

    async def test_a_missing_prefix_is_retention_and_no_finding(self) -> None:
        async with self.opened() as backend:
            await backend.append([event(number, incarnation=INCARNATION, seq=number) for number in (5, 6)])
            assert not (await backend.scan()).has_anomalies

    async def test_an_incarnation_whose_process_is_gone_is_closed_once_by_a_repair(self) -> None:
        gone = replace(this_node(), started=1)  # this pid, before its present use
        async with self.opened() as backend:
            if not backend.capabilities.can_be_damaged:
                pytest.skip("this store ends with its process")
            await backend.append([started(gone), event(2, incarnation=INCARNATION, seq=2)])
            found = await backend.scan()
            assert {anomaly.type for anomaly in found.anomalies} == {PersistenceAnomalyType.OPEN_INCARNATION}
            assert not found.has_damage
            await backend.recover(REPAIR)
            assert not (await backend.scan()).has_anomalies
            await backend.recover(REPAIR)
            (closing,) = await self._of_type(backend, EventType.INCARNATION_LOST)
            assert closing.incarnation not in {"", INCARNATION}
            assert isinstance(closing.payload, dict)
            assert closing.payload["closes"] == INCARNATION

    async def test_a_living_sibling_is_never_closed(self) -> None:
        elsewhere = replace(this_node(), host="another", boot_id="other", pid_namespace="other", machine="m")
        other = started(elsewhere, incarnation="01JDGH5Q7W0000000000000009")
        async with self.opened() as backend:
            await backend.append([started(this_node()), other])
            assert not (await backend.scan()).has_anomalies
            await backend.recover(REPAIR)
            assert await self._of_type(backend, EventType.INCARNATION_LOST) == []

    async def test_an_incarnation_that_stopped_or_was_closed_is_not_open(self) -> None:
        gone = replace(this_node(), started=1)
        other = "01JDGH5Q7W0000000000000009"
        async with self.opened() as backend:
            await backend.append(
                [
                    started(gone),
                    event(2, incarnation=INCARNATION, seq=2, event_type=EventType.SYSTEM_STOPPED),
                    started(gone, incarnation=other),
                    event(
                        3,
                        event_type=EventType.INCARNATION_LOST,
                        payload={"closes": other, "last_seen": 1.0},
                    ),
                ]
            )
            assert not (await backend.scan()).has_anomalies

    async def _of_type(self, backend: BasePersistence, type_: EventType) -> list[PersistedEvent]:
        found = await self.stored(backend, type=type_)
        return [record for record in found if isinstance(record, PersistedEvent)]


class Starting(Harness):
    """The startup check."""

    @pytest.mark.parametrize("mode", PersistenceStartupMode)
    async def test_a_sound_store_may_start_and_a_check_writes_nothing(
        self, mode: PersistenceStartupMode
    ) -> None:
        async with self.opened() as backend:
            await backend.append(full_records())
            before = await self.stored(backend)
            report = await run_startup_check(backend, PersistenceStartupConfig(mode))
            assert report.may_start
            assert report.verdict in {StartupVerdict.HEALTHY, StartupVerdict.TOLERATED}
            assert await self.stored(backend) == before

    async def test_d4_damage_is_refused_or_recovered_as_configured(self) -> None:
        async with self.opened() as backend:
            if not backend.capabilities.can_be_damaged:
                pytest.skip("this store cannot lose a record")
            await backend.append([event(number, incarnation=INCARNATION, seq=number) for number in (1, 3)])
            before = await self.stored(backend)
            strict = PersistenceStartupConfig(PersistenceStartupMode.FAIL_ON_ANOMALY)
            report = await run_startup_check(backend, strict)
            assert (report.verdict, report.may_start) == (StartupVerdict.REFUSED, False)
            assert await self.stored(backend) == before
            report = await run_startup_check(backend, DEFAULT_STARTUP)
            assert (report.verdict, report.may_start) == (StartupVerdict.RECOVERED, True)
            assert (await run_startup_check(backend, strict)).verdict is StartupVerdict.HEALTHY
