"""Between lines and columns: what the lists show of a record, and how they are walked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from asgiref.sync import sync_to_async
from django.test.utils import override_settings

from django_papyra.mapping import record_of, row_of
from django_papyra.models import DeadLetter, Event, Incarnation
from django_papyra.querysets import instant
from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.testing.records import EPOCH, INCARNATION, OTHER_INCARNATION, event, letter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_papyra.backend import DjangoPersistence
    from papyra.persistence.models import Record


def columns(record: Record) -> Mapping[str, object]:
    line = codec.encode_record(record, incarnation=INCARNATION, seq=1)
    return row_of(record, line, incarnation=INCARNATION, seq=1).values


@pytest.mark.parametrize(
    ("payload", "reason", "why"),
    [
        ({"reason": "failed", "error": "ValueError: no"}, "failed", "ValueError: no"),
        ({"reason": "restart_limit", "text": "5 of 5 in 60 s"}, "restart_limit", "5 of 5 in 60 s"),
        ({"reason": "ZeroDivisionError: division by zero"}, "", "ZeroDivisionError: division by zero"),
        ({"cause": "overflow"}, "", "overflow"),
        ({"reason": None, "error": 7}, "", ""),
        ({}, "", ""),
        ("text", "", ""),
        ([1], "", ""),
        (None, "", ""),
        ({"error": "größer\x00"}, "", "größer\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_an_event_shows_its_reason_and_its_text(payload: object, reason: str, why: str) -> None:
    shown = columns(event(1, payload=payload))
    assert (shown["reason"], shown["why"]) == (reason, why)


def test_a_letter_shows_its_error_and_begins_open() -> None:
    shown = columns(letter(1, error="E" * 300, reason="handler_failed"))
    assert (shown["why"], shown["reason"], shown["state"]) == ("E" * 200, "handler_failed", "open")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"seq":1}', b'{"seq":1,"kind":"poem","crc":"00000000"}'])
def test_what_is_no_record_is_not_read(body: bytes) -> None:
    with pytest.raises(RecordDecodeError):
        record_of(body)


def test_a_kind_of_a_newer_version_is_not_read_as_one_of_ours() -> None:
    line = codec.encode_record(event(1), incarnation=INCARNATION, seq=1)
    checked = line[: -codec.FRAME_TAIL_LENGTH - 1].replace(b'"kind":"event"', b'"kind":"poems"')
    with pytest.raises(RecordDecodeError):
        record_of(checked + b',"crc":"00000000"}')


@pytest.mark.parametrize("timestamp", [-1e300, -1e11, 0.0, EPOCH + 0.123456, 1e11, 1e300])
@pytest.mark.parametrize("use_tz", [True, False])
def test_instants_keep_their_order_whatever_the_time(timestamp: float, *, use_tz: bool) -> None:
    with override_settings(USE_TZ=use_tz):
        moment = instant(timestamp)
        assert (moment.tzinfo is not None) is use_tz
        assert instant(timestamp - 1) <= moment <= instant(timestamp + 1)


async def test_the_words_of_the_lists_find_what_they_say(backend: DjangoPersistence) -> None:
    times = (5, 1, 3, 3, 9)
    await backend.append(
        [
            event(number, seq=seq, incarnation=INCARNATION, actor_path=f"/{seq % 2}", event_type=f"T{seq}")
            for seq, number in enumerate(times, start=1)
        ]
    )
    await backend.append([letter(number) for number in (1, 2)])
    await backend.append([event(7, seq=1, incarnation=OTHER_INCARNATION, system_id="payments")])
    newest = [row async for row in Event.objects.for_system("orders").newest_first()]
    assert [row.seq for row in newest] == [5, 1, 4, 3, 2]
    place = newest[2]
    before = Event.objects.for_system("orders").before(place.at, place.id).newest_first()
    after = Event.objects.for_system("orders").after(place.at, place.id).newest_first()
    assert [row.seq async for row in before] == [3, 2]
    assert [row.seq async for row in after] == [5, 1]
    assert await Event.objects.for_actor("/1").acount() == 3
    assert await Event.objects.for_actor("orders:3").acount() == 2
    assert await Event.objects.of_types(["T1", "T2", "T9"]).acount() == 2
    assert await Event.objects.between(EPOCH + 3, EPOCH + 5).acount() == 2
    await DeadLetter.objects.filter(target="orders:1").aupdate(state="discarded")
    assert [row.target async for row in DeadLetter.objects.unresolved()] == ["orders:2"]
    assert await DeadLetter.objects.for_actor("orders:1").acount() == 1


async def test_a_process_without_a_system_is_no_system(backend: DjangoPersistence) -> None:
    await backend.append([event(1)])
    await Incarnation.objects.acreate(incarnation="writer", state="writer")
    await Incarnation.objects.acreate(incarnation="alive")
    assert [row.incarnation async for row in Incarnation.objects.of_systems()] == ["alive"]
    assert [row.incarnation async for row in Incarnation.objects.running()] == ["alive"]


@pytest.mark.parametrize(("rows", "cap", "counted"), [(3, 5, 3), (5, 5, 5), (9, 5, 6)])
async def test_a_count_stops_where_it_stops_being_cheap(
    rows: int, cap: int, counted: int, backend: DjangoPersistence
) -> None:
    await backend.append([event(number) for number in range(rows)])
    assert await sync_to_async(Event.objects.all().capped_count)(cap) == counted
