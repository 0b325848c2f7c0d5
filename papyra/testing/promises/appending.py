"""I1, I2, I8: the acknowledged is there once, unaltered, in order; what was refused took nothing along."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from papyra.clock import minted_at
from papyra.exceptions import (
    AppendError,
    InvalidRecordError,
    PersistenceError,
    RecordConflictError,
    RecordTooLargeError,
)
from papyra.persistence.models import RecordKind
from papyra.testing.promises.harness import Harness
from papyra.testing.records import (
    INCARNATION,
    MAKERS,
    OTHER_INCARNATION,
    audit,
    content,
    contents,
    event,
    full_records,
    letter,
    numbers,
    unstorable_records,
)


class Appending(Harness):
    """What is handed over."""

    async def test_i1_a_full_record_of_each_kind_reads_back_equal(self) -> None:
        async with self.opened() as backend:
            await backend.append(full_records())
            for record in full_records():
                assert contents(await self.stored(backend, record.kind)) == [record]

    async def test_i1_the_published_methods_store_one_record_each(self) -> None:
        async with self.opened() as backend:
            await backend.record_event(event(1))
            await backend.record_audit(audit(2))
            await backend.record_dead_letter(letter(3))
            async with self.reopened(backend) as reader:
                assert contents(await reader.list_events()) == [event(1)]
                assert contents(await reader.list_audits()) == [audit(2)]
                assert contents(await reader.list_dead_letters()) == [letter(3)]

    async def test_i1_records_keep_their_order_within_a_kind_whatever_their_times(self) -> None:
        times = (5, 1, 9, 2, 9, 0, 3)
        mixed = [make(number) for number in times for make in MAKERS.values()]
        async with self.opened() as backend:
            await backend.append(mixed[:8])
            await backend.append(mixed[8:])
            for kind in RecordKind:
                assert numbers(await self.stored(backend, kind)) == list(times)

    async def test_i1_what_was_stored_is_there_after_closing(self) -> None:
        if not self.survives_reopen:
            pytest.skip("this store ends with its object")
        for number in range(4):
            async with self.opened() as backend:
                await backend.append([event(number), letter(number)])
        async with self.opened() as backend:
            assert numbers(await self.stored(backend)) == [0, 1, 2, 3]
            assert numbers(await self.stored(backend, RecordKind.DEAD_LETTER)) == [0, 1, 2, 3]
            assert not (await backend.scan()).has_anomalies

    async def test_i2_a_payload_that_changes_later_changes_nothing_stored(self) -> None:
        payload: dict[str, object] = {"number": 1, "seen": [1, 2]}
        async with self.opened() as backend:
            await backend.append([event(1, payload=payload)])
            payload["seen"] = "nothing"
            payload.clear()
            assert [record.payload for record in await self.stored(backend)] == [  # type: ignore[union-attr]
                {"number": 1, "seen": [1, 2]}
            ]

    async def test_an_empty_append_does_nothing(self) -> None:
        async with self.opened() as backend:
            await backend.append([])
            assert await self.stored(backend) == []

    @pytest.mark.parametrize("number", range(len(unstorable_records())))
    async def test_a_record_that_cannot_be_stored_takes_nothing_with_it(self, number: int) -> None:
        poison = unstorable_records()[number]
        async with self.opened() as backend:
            with pytest.raises(AppendError) as caught:
                await backend.append([event(1), poison, letter(2), audit(3), event(4)])
            ((position, reason),) = caught.value.refused
            assert position == 1
            assert isinstance(reason, InvalidRecordError | RecordTooLargeError)
            assert numbers(await self.stored(backend)) == [1, 4]
            assert numbers(await self.stored(backend, RecordKind.DEAD_LETTER)) == [2]
            assert numbers(await self.stored(backend, RecordKind.AUDIT)) == [3]
            assert not (await backend.scan()).has_anomalies

    async def test_an_append_error_names_every_refused_record_by_its_place(self) -> None:
        bad = event(0, timestamp=float("nan"))
        async with self.opened() as backend:
            with pytest.raises(AppendError) as caught:
                await backend.append([bad, event(1), bad, event(2), letter(3), bad])
            assert [position for position, _ in caught.value.refused] == [0, 2, 5]
            assert numbers(await self.stored(backend)) == [1, 2]

    async def test_a_published_method_raises_the_reason_itself(self) -> None:
        async with self.opened() as backend:
            with pytest.raises(InvalidRecordError):
                await backend.record_event(event(0, timestamp=float("inf")))
            with pytest.raises(PersistenceError) as caught:
                await backend.record_dead_letter(letter(0, error="x" * (17 * 1024 * 1024)))
            assert not isinstance(caught.value, AppendError)


class Identifying(Harness):
    """Who is who, for ever."""

    async def test_an_identity_that_was_given_is_kept(self) -> None:
        mine = [
            make(number, incarnation=incarnation, seq=number)
            for number in (1, 2, 3)
            for incarnation in (OTHER_INCARNATION, INCARNATION)
            for make in MAKERS.values()
        ]
        async with self.opened() as backend:
            await backend.append(mine)
            for kind in RecordKind:
                assert await self.stored(backend, kind) == [record for record in mine if record.kind is kind]
            assert not (await backend.scan()).has_anomalies

    async def test_i1_a_repeated_append_is_stored_once(self) -> None:
        batch = [
            make(number, incarnation=INCARNATION, seq=number)
            for number in (1, 2, 3)
            for make in MAKERS.values()
        ]
        async with self.opened() as backend:
            await backend.append(batch[:6])
            await backend.append(batch)
            await backend.append(batch[3:])
            await backend.append([batch[0], batch[0], batch[-1]])
            for kind in RecordKind:
                assert await self.stored(backend, kind) == [record for record in batch if record.kind is kind]
            assert not (await backend.scan()).has_anomalies

    async def test_i1_a_repeat_within_one_batch_is_stored_once(self) -> None:
        record = event(1, incarnation=INCARNATION, seq=1)
        async with self.opened() as backend:
            await backend.append([record, record, replace(record)])
            assert await self.stored(backend) == [record]

    async def test_i1_a_repeat_after_reopening_is_stored_once(self) -> None:
        batch = [event(number, incarnation=INCARNATION, seq=number) for number in (1, 2, 3)]
        async with self.opened() as backend:
            await backend.append(batch)
            if self.survives_reopen:
                await backend.aclose()
        if self.survives_reopen:
            async with self.opened() as backend:
                await backend.append([*batch, event(4, incarnation=INCARNATION, seq=4)])
                assert numbers(await self.stored(backend)) == [1, 2, 3, 4]
                assert not (await backend.scan()).has_anomalies

    @pytest.mark.parametrize("is_reopened", [False, True])
    async def test_other_content_under_a_stored_identity_is_a_conflict(self, *, is_reopened: bool) -> None:
        first = [event(number, incarnation=INCARNATION, seq=number) for number in (1, 2)]
        async with self.opened() as backend:
            await backend.append(first)
            if not (is_reopened and self.survives_reopen):
                await self._conflict(backend, first)
        if is_reopened and self.survives_reopen:
            async with self.opened() as backend:
                await self._conflict(backend, first)

    async def _conflict(self, backend: Any, first: list[Any]) -> None:
        forged = event(8, incarnation=INCARNATION, seq=1)
        third = event(3, incarnation=INCARNATION, seq=3)
        with pytest.raises(AppendError) as caught:
            await backend.append([letter(5), forged, third])
        ((position, reason),) = caught.value.refused
        assert position == 1
        assert isinstance(reason, RecordConflictError)
        assert await self.stored(backend) == [*first, third]
        assert numbers(await self.stored(backend, RecordKind.DEAD_LETTER)) == [5]
        assert not (await backend.scan()).has_anomalies

    async def test_records_without_identity_get_one_contiguous_from_one(self) -> None:
        async with self.opened() as backend:
            for number in range(3):
                await backend.append([event(number), letter(number), event(number)])
            events = await self.stored(backend)
            letters = await self.stored(backend, RecordKind.DEAD_LETTER)
            assert [record.seq for record in events] == [1, 2, 3, 4, 5, 6]
            assert [record.seq for record in letters] == [1, 2, 3]
            assert len({record.incarnation for record in [*events, *letters]}) == 1
            assert events[0].incarnation

    async def test_a_refused_record_leaves_no_hole(self) -> None:
        bad = event(0, timestamp=float("nan"))
        huge = event(0, actor_type="x" * (17 * 1024 * 1024))
        async with self.opened() as backend:
            for batch in ([bad], [event(1), bad], [huge, event(2)], [event(3)]):
                try:
                    await backend.append(batch)
                except AppendError:
                    continue
            assert [record.seq for record in await self.stored(backend)] == [1, 2, 3]
            assert not (await backend.scan()).has_anomalies

    async def test_each_opening_gives_identities_of_its_own(self) -> None:
        if not self.survives_reopen:
            pytest.skip("this store ends with its object")
        for number in range(3):
            async with self.opened() as backend:
                await backend.append([event(number)])
        async with self.opened() as backend:
            found = await self.stored(backend)
            assert [record.seq for record in found] == [1, 1, 1]
            assert len({record.incarnation for record in found}) == 3
            minted = [minted_at(record.incarnation) or 0.0 for record in found]
            assert minted == sorted(minted)
            assert minted[0] > 0

    async def test_a_record_that_was_read_can_be_appended_again_without_effect(self) -> None:
        async with self.opened() as backend:
            await backend.append([*full_records(), event(4)])
            found = [record for kind in RecordKind for record in await self.stored(backend, kind)]
            await backend.append(found)
            assert [record for kind in RecordKind for record in await self.stored(backend, kind)] == found

    async def test_a_number_that_came_from_outside_is_not_given_again(self) -> None:
        async with self.opened() as backend:
            await backend.append([event(1)])
            (first,) = await self.stored(backend)
            await backend.append([event(2, incarnation=first.incarnation, seq=2)])
            await backend.append([event(3)])
            found = await self.stored(backend)
            assert [(content(record).timestamp, record.seq) for record in found] == [
                (event(number).timestamp, number) for number in (1, 2, 3)
            ]
