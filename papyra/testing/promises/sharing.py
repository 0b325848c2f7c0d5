"""R4, I1, I8: many tasks, threads and processes at one store, closing, and a loop that is never held up."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from papyra.exceptions import BackendClosedError, PersistenceError, StoreLockedError
from papyra.persistence.backend import Capabilities, PersistenceBackend
from papyra.persistence.models import PersistedEvent, PersistenceRecoveryConfig, RecordKind
from papyra.persistence.query import RecordQuery
from papyra.persistence.threads import run_sync
from papyra.testing.promises.harness import Harness
from papyra.testing.records import audit, event, letter, numbers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import Record


def in_order(found: Iterable[Record], writers: int, each: int) -> bool:
    """Whether each writer's records are all there, once and in its order."""
    by_writer: dict[str, list[int]] = {}
    for record in found:
        assert isinstance(record, PersistedEvent)
        by_writer.setdefault(record.actor_path, []).append(int(record.actor_address.partition(":")[2]))
    return by_writer == {f"/{writer}": list(range(each)) for writer in range(writers)}


async def write(backend: BasePersistence, writer: int, each: int) -> None:
    """Append one record after the other, as one of several writers."""
    for number in range(each):
        await backend.append([event(number, actor_path=f"/{writer}")])


@asynccontextmanager
async def turns() -> AsyncIterator[list[int]]:
    """Count how often the loop comes round during a block."""
    counted = [0]

    async def count() -> None:
        while True:
            counted[0] += 1
            await asyncio.sleep(0)

    counter = asyncio.create_task(count())
    await asyncio.sleep(0)
    counted[0] = 0
    yield counted
    counter.cancel()


class Sharing(Harness):
    """Who else is there costs nobody a record."""

    async def test_64_tasks_keep_each_its_order(self) -> None:
        async with self.opened() as backend:
            await asyncio.gather(*(write(backend, writer, 10) for writer in range(64)))
            found = await self.stored(backend)
            assert in_order(found, 64, 10)
            assert [record.seq for record in found] == list(range(1, 641))

    async def test_loops_in_several_threads_share_one_object(self) -> None:
        async with self.opened() as backend:
            threads = [asyncio.to_thread(run_sync, write(backend, writer, 20)) for writer in range(6)]
            await asyncio.gather(*threads, write(backend, 6, 20))
            found = await self.stored(backend)
            assert in_order(found, 7, 20)
            assert [record.seq for record in found] == list(range(1, 141))

    async def test_code_without_a_loop_can_use_it(self) -> None:
        async with self.opened() as backend:

            def use() -> tuple[int, ...]:
                run_sync(backend.record_event(event(1)))
                run_sync(backend.record_event(event(2)))
                return tuple(numbers(run_sync(backend.list_events())))

            assert await asyncio.to_thread(use) == (1, 2)

    async def test_a_loop_that_ends_while_it_waits_costs_the_others_nothing(self) -> None:
        async def leave(number: int) -> None:
            task = asyncio.create_task(backend.append([event(number, actor_path="/left")]))
            await asyncio.sleep(0)
            task.cancel()

        async with self.opened() as backend:
            for number in range(5):
                await asyncio.to_thread(run_sync, leave(number))
                await backend.append([event(number, actor_path="/stayed")])
            stayed = await self.stored(backend, actor="/stayed")
            assert numbers(stayed) == [0, 1, 2, 3, 4]

    async def test_a_cancelled_appender_costs_the_others_nothing(self) -> None:
        async with self.opened() as backend:
            tasks = [asyncio.create_task(backend.append([event(number)])) for number in range(60)]
            await asyncio.sleep(0)
            for task in tasks[::3]:
                task.cancel()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            done = {number for number, outcome in enumerate(outcomes) if outcome is None}
            assert done >= {number for number in range(60) if number % 3}
            found = Counter(numbers(await self.stored(backend)))
            assert all(found[number] == 1 for number in done)
            assert set(found.values()) == {1}
            assert not (await backend.scan()).has_anomalies

    async def test_a_reader_beside_writers_sees_each_ones_records_in_order(self) -> None:
        async with self.opened() as backend, self.reopened(backend) as reader:
            writers = [asyncio.create_task(write(backend, writer, 15)) for writer in range(8)]
            while not all(task.done() for task in writers):
                seen: dict[str, int] = {}
                for record in await reader.list_events():
                    number = int(record.actor_address.partition(":")[2])
                    assert number == seen.get(record.actor_path, -1) + 1
                    seen[record.actor_path] = number
                await asyncio.sleep(0)
            await asyncio.gather(*writers)

    async def test_a_second_writer_is_welcome_or_told_who_writes(self) -> None:
        if not self.survives_reopen:
            pytest.skip("a second opening is another store")
        async with self.opened() as first, self.opened() as second:
            await first.append([event(1)])
            if first.capabilities.is_shared:
                await asyncio.gather(write(first, 0, 20), write(second, 1, 20))
                found = [record for record in await self.stored(first) if getattr(record, "actor_path", "")]
                assert in_order(found, 2, 20)
                return
            with pytest.raises(StoreLockedError):
                await second.append([event(2)])
            await first.append([event(3)])
            assert numbers(await self.stored(second)) == [1, 3]
            await first.aclose()
            await second.append([event(4)])
            assert numbers(await self.stored(second)) == [1, 3, 4]


class Waiting(Harness):
    """The event loop of whoever waits."""

    async def test_i8_a_large_batch_lets_its_loop_turn(self) -> None:
        batch = [event(number) for number in range(3_000)]
        async with self.opened() as backend:
            async with turns() as turned:
                await backend.append(batch)
            assert turned[0] >= 20
            assert len(await self.stored(backend)) == 3_000

    async def test_i8_waiting_for_the_medium_leaves_the_loop_free(self) -> None:
        async with self.opened() as backend:
            if not backend.capabilities.is_durable:
                pytest.skip("nothing to wait for")
            await backend.append([event(number) for number in range(100)])
            for task in (
                backend.append([event(100)]),
                backend.read(RecordQuery(kind=RecordKind.EVENT)),
                backend.stats(),
                backend.scan(),
                backend.compact(dry_run=True),
                backend.compact(),
                backend.recover(),
            ):
                async with turns() as turned:
                    await task
                assert turned[0] >= 1


class Closing(Harness):
    """The end of a store's object."""

    async def test_a_closed_store_says_so(self) -> None:
        async with self.opened() as backend:
            await backend.append([event(1)])
            await backend.aclose()
            await backend.aclose()
            for use in (
                lambda: backend.append([event(2)]),
                lambda: backend.append([]),
                lambda: backend.record_event(event(2)),
                lambda: backend.record_audit(audit(2)),
                lambda: backend.record_dead_letter(letter(2)),
                lambda: backend.read(RecordQuery(kind=RecordKind.EVENT)),
                backend.list_events,
                lambda: backend.list_audits(limit=0),
                backend.scan,
                lambda: backend.recover(PersistenceRecoveryConfig()),
                backend.compact,
                backend.stats,
                backend.counts,
            ):
                with pytest.raises(BackendClosedError):
                    await use()
        if self.survives_reopen:
            async with self.opened() as backend:
                assert numbers(await self.stored(backend)) == [1]

    async def test_closing_an_unused_store_is_nothing_special(self) -> None:
        backend = await self.open()
        await backend.aclose()
        async with self.opened() as other:
            assert await self.stored(other) == []

    async def test_i1_closing_under_load_finishes_what_was_accepted(self) -> None:
        acknowledged: list[int] = []

        async def append(number: int) -> None:
            await backend.append([event(number)])
            acknowledged.append(number)

        async with self.opened() as backend:
            tasks = [asyncio.create_task(append(number)) for number in range(100)]
            await asyncio.sleep(0)
            await backend.aclose()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(outcome is None or isinstance(outcome, BackendClosedError) for outcome in outcomes)
        if self.survives_reopen:
            async with self.opened() as backend:
                found = numbers(await self.stored(backend))
                assert set(found) >= set(acknowledged)
                assert len(found) == len(set(found))
                assert not (await backend.scan()).has_anomalies


class Declaring(Harness):
    """What a store says of itself."""

    async def test_a_store_declares_what_it_is(self) -> None:
        async with self.opened() as backend:
            assert isinstance(backend, PersistenceBackend)
            assert isinstance(backend.capabilities, Capabilities)
            assert type(backend).capabilities == backend.capabilities
            assert backend.name == type(backend).name != ""
            assert backend.capabilities.is_durable is self.survives_reopen

    async def test_metrics_count_what_happened_under_the_published_names(self) -> None:
        async with self.opened() as backend:
            assert set(backend.metrics.snapshot().values()) == {0}
            await backend.append([event(1), letter(2)])
            with pytest.raises(PersistenceError):
                await backend.append([event(3), event(0, timestamp=float("nan"))])
            await backend.scan()
            await backend.recover()
            await backend.compact()
            counted: dict[str, Any] = backend.metrics.snapshot()
            assert counted.pop("bytes_written") > 200
            assert counted == {
                "records_written": 3,
                "scans": 1,
                "anomalies_detected": 0,
                "recoveries": 1,
                "compactions": 1,
                "write_errors": 1,
                "scan_errors": 0,
                "recovery_errors": 0,
                "compaction_errors": 0,
                "records_removed": 0,
                "records_dropped": 0,
            }
            backend.metrics.reset()
            assert set(backend.metrics.snapshot().values()) == {0}
