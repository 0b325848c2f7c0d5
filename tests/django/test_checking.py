"""Scanning and recovering SQL: damage is found where it is, moved and never destroyed, and explained."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError

from django_papyra.backend import DjangoPersistence
from django_papyra.models import (
    DeadLetter,
    Incarnation,
    IncarnationState,
    QuarantinedRecord,
    StoreLock,
)
from papyra.exceptions import StoreLockedError, StoreUnavailableError
from papyra.node import this_node
from papyra.persistence.models import (
    EventType,
    LossNote,
    PersistenceAnomalyType,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    ScanDepth,
)
from papyra.persistence.startup import (
    PersistenceStartupConfig,
    PersistenceStartupMode,
    StartupVerdict,
    run_startup_check,
)
from papyra.testing.clock import ManualClock
from papyra.testing.records import EPOCH, INCARNATION, OTHER_INCARNATION, audit, event, letter, numbers

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from papyra.persistence.models import PersistedEvent
    from papyra.persistence.query import Progress

    Faults = Mapping[str, deque[Exception | None]]
    Sql = Callable[..., list[tuple[Any, ...]]]

REPAIR = PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
QUARANTINE = PersistenceRecoveryConfig(PersistenceRecoveryMode.QUARANTINE)
BODY = "(SELECT body FROM django_papyra_event WHERE seq = 3)"


def history(count: int = 5) -> list[PersistedEvent]:
    return [event(number, incarnation=INCARNATION, seq=number) for number in range(1, count + 1)]


async def types_found(backend: DjangoPersistence, depth: ScanDepth = ScanDepth.FULL) -> list[str]:
    return [anomaly.type.value for anomaly in (await backend.scan(depth)).anomalies]


async def losses(backend: DjangoPersistence) -> list[LossNote]:
    notes = [
        record.payload
        for record in await backend.list_events()
        if record.event_type == EventType.RECORDS_LOST
    ]
    return [note for note in map(LossNote.from_payload, notes) if note is not None]


DAMAGE = {
    "a flipped letter": (
        "UPDATE django_papyra_event SET body = replace(body, 'orders:3', 'orders:4')",
        "bad_checksum",
    ),
    "a byte that is no text": (
        "UPDATE django_papyra_event SET body = CAST(replace(body, 'orders:3', x'ff00') AS TEXT)",
        "bad_checksum",
    ),
    "a body cut short": ("UPDATE django_papyra_event SET body = substr(body, 1, 40)", "garbage"),
    "an empty body": ("UPDATE django_papyra_event SET body = ''", "garbage"),
    "a number as a body": ("UPDATE django_papyra_event SET body = 17", "garbage"),
    "another record's body": (
        "UPDATE django_papyra_event SET body = (SELECT body FROM django_papyra_event)",
        "garbage",
    ),
    "another identity": ("UPDATE django_papyra_event SET seq = 30", "garbage"),
}


@pytest.mark.parametrize("mode", [REPAIR, QUARANTINE], ids=lambda config: config.mode)
@pytest.mark.parametrize("damage", DAMAGE)
async def test_i4_a_damaged_row_is_moved_whole_and_costs_no_other(
    damage: str, mode: PersistenceRecoveryConfig, backend: DjangoPersistence, sql: Sql
) -> None:
    statement, fault = DAMAGE[damage]
    await backend.append([*history(), letter(1), audit(1)])
    sql(statement + " WHERE id = (SELECT id FROM django_papyra_event WHERE seq = 3)")  # noqa: S608  # our words
    ((row_id, content),) = sql(
        "SELECT id, CAST(body AS BLOB) FROM django_papyra_event WHERE id NOT IN "
        "(SELECT id FROM django_papyra_event WHERE seq IN (1, 2, 4, 5))"
    )
    found = await backend.scan()
    (anomaly,) = [one for one in found.anomalies if one.type is not PersistenceAnomalyType.MISSING_RECORDS]
    assert (anomaly.type, anomaly.path, anomaly.offset) == (fault, "django_papyra_event", row_id)
    assert numbers(await backend.list_events()) == [1, 2, 4, 5], "damage is read around"

    report = await backend.recover(mode)
    assert report.quarantined_files == ("django_papyra_event",)
    assert report.quarantined_bytes == len(bytes(content))
    kept = await QuarantinedRecord.objects.aget()
    assert (kept.row_id, kept.reason, bytes(kept.content)) == (row_id, fault, bytes(content))
    assert json.loads(kept.columns)["actor_address"] == "orders:3"
    assert any(note[:4] == (INCARNATION, "event", 3, 3) for note in await losses(backend))
    assert await types_found(backend) == []
    assert [record.seq for record in await backend.list_events() if record.incarnation == INCARNATION] == [
        1,
        2,
        4,
        5,
    ]


async def test_i6_a_second_recovery_changes_nothing(backend: DjangoPersistence, sql: Sql) -> None:
    await backend.append(history())
    sql("UPDATE django_papyra_event SET body = 'x' WHERE seq = 3")
    await backend.recover(REPAIR)
    before = sql("SELECT id, body FROM django_papyra_event")
    report = await backend.recover(REPAIR)
    assert not report.scan.has_anomalies
    assert (report.repaired_files, report.losses) == ((), ())
    assert sql("SELECT id, body FROM django_papyra_event") == before


async def test_ignore_changes_nothing(backend: DjangoPersistence, sql: Sql) -> None:
    await backend.append(history())
    sql("UPDATE django_papyra_event SET body = 'x' WHERE seq = 3")
    sql("DELETE FROM django_papyra_event WHERE seq = 2")
    before = sql("SELECT * FROM django_papyra_event")
    report = await backend.recover(PersistenceRecoveryConfig(PersistenceRecoveryMode.IGNORE))
    assert report.left == report.scan.anomalies != ()
    assert sql("SELECT * FROM django_papyra_event") == before
    assert not await QuarantinedRecord.objects.aexists()


@pytest.mark.parametrize(
    "change",
    [
        "event_type = 'Other'",
        "at = 'yesterday'",
        "at = '2026-99-99 12:00:00'",
        "at = 17",
        "timestamp = 1.5",
        "timestamp = 'late'",
        "crc = '00000000'",
        "size = 1",
        "actor_path = CAST(x'fffe' AS TEXT)",
        "system_id = ''",
    ],
)
async def test_columns_that_disagree_with_a_sound_body_are_derived_anew(
    change: str, backend: DjangoPersistence, sql: Sql
) -> None:
    await backend.append(history())
    before = sql("SELECT * FROM django_papyra_event")
    sql(f"UPDATE django_papyra_event SET {change} WHERE seq = 3")  # noqa: S608  # our words
    assert numbers(await backend.list_events()) == [1, 2, 3, 4, 5]
    assert await types_found(backend) == ["stale_index"]
    report = await backend.recover(REPAIR)
    assert report.repaired_files == ("django_papyra_event",)
    assert report.losses == ()
    assert sql("SELECT * FROM django_papyra_event WHERE seq < 6 AND incarnation = ?", INCARNATION) == before
    assert await types_found(backend) == []


async def test_a_letters_state_is_no_finding_and_outlives_a_repair(
    backend: DjangoPersistence, sql: Sql
) -> None:
    await backend.append([letter(1)])
    await DeadLetter.objects.aupdate(state="resolved")
    assert await types_found(backend) == []
    sql("UPDATE django_papyra_deadletter SET message_type = 'x'")
    await backend.recover(REPAIR)
    assert (await DeadLetter.objects.aget()).state == "resolved"


async def test_i3_deleted_rows_are_missing_and_a_repair_says_so_for_ever(
    backend: DjangoPersistence, sql: Sql
) -> None:
    await backend.append(history(9))
    sql("DELETE FROM django_papyra_event WHERE seq IN (3, 4, 7)")
    found = await backend.scan()
    assert found.counts == {PersistenceAnomalyType.MISSING_RECORDS: 2}
    report = await backend.recover(REPAIR)
    assert [note[2:4] for note in report.losses] == [(3, 4), (7, 7)]
    assert await losses(backend) == list(report.losses)
    assert await types_found(backend) == []


async def test_a_doubled_row_is_moved_and_the_first_stays(
    scratch: Path, sql_at: Callable[[Path], Sql]
) -> None:
    sql = sql_at(scratch)
    async with DjangoPersistence("scratch") as backend:
        await backend.append(history())
        sql("CREATE TABLE copied AS SELECT * FROM django_papyra_event")  # without the constraint
        sql("DROP TABLE django_papyra_event")
        sql("ALTER TABLE copied RENAME TO django_papyra_event")
        columns = ", ".join(
            str(row[1]) for row in sql("PRAGMA table_info(django_papyra_event)") if row[1] != "id"
        )
        double = f"SELECT 999999, {columns} FROM django_papyra_event WHERE seq = 3"  # noqa: S608  # our names
        sql(f"INSERT INTO django_papyra_event (id, {columns}) {double}")
        (anomaly,) = (await backend.scan()).anomalies
        assert (anomaly.type, anomaly.offset) == (PersistenceAnomalyType.DUPLICATE_RECORD, 999999)
        report = await backend.recover(REPAIR)
        assert report.losses == ()
        assert await types_found(backend) == []
        assert numbers(record for record in await backend.list_events() if record.seq < 6)[:5] == [
            1,
            2,
            3,
            4,
            5,
        ]


async def test_the_tail_goes_back_to_the_last_clean_mark(backend: DjangoPersistence, sql: Sql) -> None:
    started = {"node": this_node().to_dict()}
    await backend.append(
        [
            *history(5),
            letter(4),
            event(
                10, incarnation=OTHER_INCARNATION, seq=1, event_type=EventType.SYSTEM_STARTED, payload=started
            ),
            event(
                11,
                incarnation=OTHER_INCARNATION,
                seq=2,
                event_type=EventType.STARTUP_CHECKED,
                payload={"verdict": "healthy"},
            ),
            event(12, incarnation=OTHER_INCARNATION, seq=3),
            letter(13),
        ]
    )
    sql("UPDATE django_papyra_event SET body = 'x' WHERE actor_address = 'orders:2'")
    sql("UPDATE django_papyra_deadletter SET body = 'x' WHERE target = 'orders:4'")
    tail = await backend.scan(ScanDepth.TAIL)
    assert (tail.checked_records, tail.has_anomalies) == (4, False)
    assert len(await types_found(backend)) == 2
    sql("UPDATE django_papyra_event SET body = 'x' WHERE actor_address = 'orders:12'")
    sql("UPDATE django_papyra_deadletter SET body = 'x' WHERE target = 'orders:13'")
    assert await types_found(backend, ScanDepth.TAIL) == ["garbage", "garbage"]
    report = await run_startup_check(backend, PersistenceStartupConfig(PersistenceStartupMode.RECOVER))
    assert report.verdict is StartupVerdict.RECOVERED
    assert await types_found(backend) == ["garbage", "garbage"]


async def test_a_check_that_was_not_clean_is_no_mark(backend: DjangoPersistence) -> None:
    await backend.append(
        [*history(3), event(4, event_type=EventType.STARTUP_CHECKED, payload={"verdict": "tolerated"})]
    )
    assert (await backend.scan(ScanDepth.TAIL)).checked_records == 4
    await backend.append([event(5, event_type=EventType.SYSTEM_STOPPED, payload={}), event(6)])
    assert (await backend.scan(ScanDepth.TAIL)).checked_records == 2


async def test_a_late_record_is_no_hole_in_the_tail(backend: DjangoPersistence) -> None:
    first, late, last = history(3)
    await backend.append([first, last])
    await backend.append([event(8, event_type=EventType.SYSTEM_STOPPED, payload={}), late])
    await backend.append([event(4, incarnation=INCARNATION, seq=4)])
    assert await types_found(backend, ScanDepth.TAIL) == []
    assert await types_found(backend) == []


async def test_a_recovery_that_was_cut_short_is_finished_by_the_next(
    backend: DjangoPersistence, sql: Sql, faults: Faults
) -> None:
    await backend.append([*history(9), letter(1, incarnation=INCARNATION, seq=1)])
    sql("UPDATE django_papyra_event SET body = 'x' WHERE seq IN (3, 4)")
    sql("DELETE FROM django_papyra_event WHERE seq = 6")
    sql("UPDATE django_papyra_deadletter SET why = 'x'")
    for survived in range(6):
        faults["before_commit"].extend([None] * survived + [OperationalError("killed")] * 3)
        try:
            await backend.recover(REPAIR)
        except StoreUnavailableError:
            faults["before_commit"].clear()
            continue
        break
    assert await types_found(backend) == []
    assert sorted(note[2:4] for note in await losses(backend)) == [(3, 4), (6, 6)]
    assert [row.seq async for row in QuarantinedRecord.objects.order_by("seq")] == [3, 4]


async def test_a_living_sibling_is_never_closed_and_a_silent_one_is(backend: DjangoPersistence) -> None:
    del backend
    clock = ManualClock(EPOCH)
    elsewhere = replace(
        this_node(), host="elsewhere", machine="another", boot_id="other", pid_namespace="other"
    )
    async with DjangoPersistence(clock=clock) as ours:
        await ours.append(
            [
                event(
                    0,
                    incarnation=incarnation,
                    seq=1,
                    event_type=EventType.SYSTEM_STARTED,
                    payload={"node": node.to_dict()},
                )
                for incarnation, node in ((INCARNATION, elsewhere), (OTHER_INCARNATION, this_node()))
            ]
        )
        clock.advance(179)
        assert await types_found(ours) == []
        clock.advance(2)
        assert await types_found(ours) == ["open_incarnation"], "no audit for three minutes"
        await ours.beat(INCARNATION)
        clock.advance(14)
        assert await types_found(ours) == []
        clock.advance(2)
        assert await types_found(ours) == ["open_incarnation"], "no beat for 15 seconds"
        await ours.recover(REPAIR, depth=ScanDepth.TAIL)
        assert await types_found(ours) == []
        notices = [one for one in await ours.list_events() if one.event_type == EventType.INCARNATION_LOST]
        (notice,) = notices
        assert notice.payload == {"closes": INCARNATION, "last_seen": EPOCH}
        assert notice.incarnation not in {INCARNATION, OTHER_INCARNATION}
        states = {row.incarnation: row.state async for row in Incarnation.objects.all()}
        assert states == {INCARNATION: IncarnationState.LOST, OTHER_INCARNATION: IncarnationState.RUNNING}


async def test_a_recovery_elsewhere_holds_this_one_off_until_it_is_gone(
    backend: DjangoPersistence, sql: Sql
) -> None:
    await backend.append(history())
    sql("UPDATE django_papyra_event SET body = 'x' WHERE seq = 3")
    other = replace(this_node(), host="elsewhere", machine="another", boot_id="other", pid_namespace="other")
    row = await StoreLock.objects.acreate(name="maintenance", holder=json.dumps(other.to_dict()), expires=9e9)
    with pytest.raises(StoreLockedError, match="elsewhere"):
        await backend.recover(REPAIR)
    assert await types_found(backend) == ["garbage"], "a scan needs no lock"
    gone = replace(this_node(), started=1)
    await StoreLock.objects.filter(id=row.id).aupdate(holder=json.dumps(gone.to_dict()))
    await backend.recover(REPAIR)
    await row.arefresh_from_db()
    assert row.holder == ""
    assert await types_found(backend) == []


async def test_a_damaged_file_is_reported_or_refused_and_never_repaired(scratch: Path) -> None:
    async with DjangoPersistence("scratch") as backend:
        await backend.append([event(number, payload="x" * 200) for number in range(300)])
    page = bytearray(scratch.read_bytes())
    page[40 * 4096 : 44 * 4096] = b"\xa5" * (4 * 4096)
    scratch.write_bytes(page)
    async with DjangoPersistence("scratch") as backend:
        report = await run_startup_check(
            backend, PersistenceStartupConfig(PersistenceStartupMode.RECOVER, REPAIR, depth=ScanDepth.FULL)
        )
        assert not report.may_start


async def test_a_scan_that_nobody_waits_for_ends(backend: DjangoPersistence) -> None:
    await backend.append([event(number) for number in range(1_000)])
    seen: list[Progress] = []
    began, loop = asyncio.Event(), asyncio.get_running_loop()

    def progress(so_far: Progress) -> None:
        seen.append(so_far)
        loop.call_soon_threadsafe(began.set)

    scanning = asyncio.create_task(backend.scan(progress=progress))
    await began.wait()
    scanning.cancel()
    with pytest.raises(asyncio.CancelledError):
        await scanning
    await backend.stats()  # waits for the reader
    assert len(seen) < 6


async def test_progress_knows_the_whole_and_may_end_a_scan(backend: DjangoPersistence) -> None:
    await backend.append([event(number) for number in range(500)])
    seen: list[Progress] = []
    await backend.scan(progress=seen.append)
    assert [progress.records for progress in seen] == [200, 400, 500]
    assert seen[0].total_bytes == seen[-1].bytes

    def enough(_: Progress) -> None:
        raise TimeoutError("enough")

    with pytest.raises(TimeoutError, match="enough"):
        await backend.scan(progress=enough)
    assert numbers(await backend.list_events(limit=1)) == [499]
