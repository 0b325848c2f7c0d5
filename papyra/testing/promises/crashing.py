"""I1, I4 to I6, I8 for stores of files: killed or without power at any call, on a disk that refuses."""

from __future__ import annotations

import errno
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import pytest

from papyra.exceptions import PersistenceError, StoreFailedError, StoreFullError
from papyra.persistence.models import RecordKind
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.faults import Crash, FaultyFs, PowerLoss
from papyra.testing.promises.damaging import AFTER, NOISE, QUARANTINE, REPAIR, FileHarness
from papyra.testing.promises.harness import everything
from papyra.testing.records import INCARNATION, event, letter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import PersistenceRecoveryConfig, Record

LOSSES = (None, *PowerLoss)
"""``None`` is a killed process: what it wrote stays."""
MOST_CALLS = 200
NEW: tuple[Record, ...] = tuple(
    make(number, incarnation=INCARNATION, seq=number) for number in range(6, 10) for make in (event, letter)
)
KEEP = RetentionPolicy(max_records=2)


@dataclass(slots=True)
class Work:
    """What a process did until it ended; ``done`` was acknowledged."""

    backend: BasePersistence
    done: list[Record] = field(default_factory=list)
    is_complete: bool = False

    async def append(self, *records: Record) -> None:
        await self.backend.append(records)
        self.done += records


class Crashing(FileHarness):
    """The end in the middle of it."""

    new: ClassVar[tuple[Record, ...]] = NEW
    """What is appended, going on from `history`."""

    async def crashes(
        self, work: Callable[[Work], Awaitable[object]], content: bytes | None, loss: PowerLoss | None
    ) -> AsyncIterator[Work]:
        """Do ``work`` on a store of ``content`` and end it in each of its calls; yield after each end."""
        for number in range(MOST_CALLS):
            self.put(content or b"")
            if content is None:
                self.file().unlink()
            fs = FaultyFs(self.root())
            fs.crash_at(number)
            done = Work(await self.open(fs))
            with suppress(PersistenceError, Crash):
                await work(done)
                done.is_complete = True
            fs.abandon() if loss is None else fs.cut_power(loss)
            with suppress(PersistenceError, Crash):
                await done.backend.aclose()
            yield done
            if done.is_complete:
                return
        pytest.fail(f"not done after {MOST_CALLS} calls")

    async def _append_all(self, work: Work) -> None:
        """Append `new`, alone and in batches."""
        await work.append(self.new[0])
        await work.append(self.new[1])
        await work.append(*self.new[2:6])
        await work.append(*self.new[6:])

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("is_new", [False, True])
    async def test_i1_i5_ended_in_any_call_of_an_append_the_acknowledged_is_there(
        self, loss: PowerLoss | None, *, is_new: bool
    ) -> None:
        content = None if is_new else await self.sound()
        before = [] if is_new else list(self.history)
        async for work in self.crashes(self._append_all, content, loss):
            async with self.opened() as backend:
                found = await self.stored(backend)
                assert not (await backend.scan()).has_damage
            assert all(found.count(record) == 1 for record in [*before, *work.done])
            assert all(record in [*before, *self.new] for record in found)
            await self._go_on([*before, *self.new])

    async def _go_on(self, records: list[Record]) -> None:
        """Append everything again and one more, lose the power at once, and look."""
        fs = FaultyFs(self.root())
        backend = await self.open(fs)
        await backend.append([*records, AFTER])
        fs.cut_power(PowerLoss.ALL_GONE)
        with suppress(PersistenceError, Crash):
            await backend.aclose()
        async with self.opened() as backend:
            await backend.recover(REPAIR)
            assert (await backend.scan()).anomalies == ()
            found = await self.stored(backend)
        assert all(found.count(record) == 1 for record in [*records, AFTER])
        assert len(found) == len(records) + 1

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("config", [REPAIR, QUARANTINE], ids=["repair", "quarantine"])
    @pytest.mark.parametrize("noise", [NOISE, b""], ids=["within", "at the end"])
    async def test_i4_i6_ended_in_any_call_a_recovery_loses_no_byte_and_is_done_again(
        self, noise: bytes, config: PersistenceRecoveryConfig, loss: PowerLoss | None
    ) -> None:
        lines = (await self.sound()).splitlines(keepends=True)
        torn = lines[-1][:50]
        damaged = b"".join([*lines[:4], noise, b"\n" if noise else b"", *lines[4:-1], torn])
        whole = set(map(repr, self.history[:-1]))
        async for work in self.crashes(lambda work: work.backend.recover(config), damaged, loss):
            kept = self.quarantined()
            assert all(part in self.content() + kept for part in (noise, torn))
            if work.is_complete:
                assert all(part in kept for part in (noise, torn))
                assert config is REPAIR or damaged in kept
            async with self.opened() as backend:
                assert not (work.is_complete and (await backend.scan()).has_anomalies)
                assert set(map(repr, await self.stored(backend))) == whole
                await backend.recover(config)
                assert (await backend.scan()).anomalies == ()
                assert set(map(repr, await self.stored(backend))) == whole
            assert all(part in self.quarantined() for part in (noise, torn))

    @pytest.mark.parametrize("loss", LOSSES)
    async def test_i10_ended_in_any_call_a_compaction_leaves_all_or_what_is_to_stay(
        self, loss: PowerLoss | None
    ) -> None:
        kept = [
            record
            for kind in RecordKind
            for record in [record for record in self.history if record.kind is kind][-2:]
        ]
        sound = await self.sound()
        async for work in self.crashes(lambda work: work.backend.compact(KEEP), sound, loss):
            async with self.opened() as backend:
                found = sorted(map(repr, await self.stored(backend)))
                assert found in (
                    [sorted(map(repr, kept))] + [sorted(map(repr, self.history))] * (not work.is_complete)
                )
                assert not (await backend.scan()).has_damage
                await backend.compact(KEEP)
                await backend.append([AFTER])
                assert sorted(map(repr, await self.stored(backend))) == sorted(map(repr, [*kept, AFTER]))
                await backend.recover(REPAIR)
                assert (await backend.scan()).anomalies == ()
                assert sorted(map(repr, await self.stored(backend))) == sorted(map(repr, [*kept, AFTER]))

    async def test_i8_a_full_disk_is_told_takes_nothing_and_works_again_once_there_is_room(self) -> None:
        sound = await self.sound()
        next_seq = 1 + max(record.seq for record in self.history)
        for room in (0, 1, 30, 200, 400, 900):
            self.put(sound)
            fs = FaultyFs(self.root())
            work = Work(await self.open(fs))
            await work.backend.record_event(event(1))
            fs.fill(room)
            with suppress(StoreFullError):
                for number in range(next_seq, next_seq + 14):
                    await work.append(event(number, incarnation=INCARNATION, seq=number))
            with pytest.raises(StoreFullError):
                await work.backend.append([event(1, payload="x" * 2_000), event(2)])
            await self._check_whole([*self.history, *work.done])
            fs.fill(None)
            await work.append(letter(next_seq, incarnation=INCARNATION, seq=next_seq))
            await work.backend.record_event(event(1))
            await work.backend.aclose()
            await self._check_whole([*self.history, *work.done])

    async def _check_whole(self, records: list[Record]) -> None:
        async with self.opened() as backend:
            found = await self.stored(backend)
            assert not (await backend.scan()).has_anomalies
        assert sorted(map(repr, found)) == sorted(map(repr, records))

    async def test_a_disk_that_takes_little_at_once_is_slow_and_no_more(self) -> None:
        sound = await self.sound()
        self.put(sound)
        fs = FaultyFs(self.root())
        fs.write_at_most(3)
        work = Work(await self.open(fs))
        await self._append_all(work)
        await work.backend.aclose()
        async with self.opened() as backend:
            assert sorted(map(repr, await self.stored(backend))) == sorted(
                map(repr, [*self.history, *self.new])
            )

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("times", [1, 2, 3, None])
    async def test_i1_syncs_that_failed_acknowledge_nothing_that_a_power_loss_may_take(
        self, loss: PowerLoss | None, times: int | None
    ) -> None:
        sound = await self.sound()
        for after in range(4):
            self.put(sound)
            fs = FaultyFs(self.root())
            fs.fail("sync", errno.EIO, after=after, times=times)
            work = Work(await self.open(fs))
            before = await self._history()
            with pytest.raises(StoreFailedError) if times is None else suppress(PersistenceError):
                await self._append_all(work)
            with pytest.raises(StoreFailedError) if times is None else suppress(PersistenceError):
                await work.append(AFTER)
            fs.abandon() if loss is None else fs.cut_power(loss)
            with suppress(PersistenceError, Crash):
                await work.backend.aclose()
            found = await self._history()
            assert all(found.count(record) == 1 for record in [*before, *work.done])

    async def _history(self) -> list[Record]:
        async with self.opened() as backend:
            return await self.stored(backend)

    async def test_i1_whichever_call_fails_the_acknowledged_is_there(self) -> None:
        sound = await self.sound()
        for error in (errno.EIO, errno.ENOSPC, errno.EACCES):
            for number in range(MOST_CALLS):
                self.put(sound)
                fs = FaultyFs(self.root())
                fs.fail(None, error, after=number, times=1)
                work = Work(await self.open(fs))
                was_refused = False
                try:
                    await self._append_all(work)
                except PersistenceError:
                    was_refused = True
                    with suppress(PersistenceError):
                        await work.append(AFTER)
                with suppress(PersistenceError):
                    await work.backend.aclose()
                found = await self._history()
                assert all(found.count(record) == 1 for record in [*self.history, *work.done])
                if len(fs.calls) <= number:
                    assert not was_refused
                    break
            else:
                pytest.fail(f"not done after {MOST_CALLS} calls")

    async def test_a_medium_that_cannot_be_read_is_told_and_not_repaired(self) -> None:
        sound = await self.sound()
        damaged = sound + NOISE
        self.put(damaged)
        fs = FaultyFs(self.root())
        fs.fail("pread", errno.EIO)
        backend = await self.open(fs)
        for use in (backend.scan(), backend.recover(REPAIR), everything(backend, RecordKind.EVENT)):
            with pytest.raises(PersistenceError):
                await use
        with suppress(PersistenceError):
            await backend.aclose()
        assert self.file().read_bytes() == damaged
