"""Between lines and columns: what the lists show of a record, and how they are walked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.test.utils import CaptureQueriesContext, override_settings

from django_papyra.mapping import record_of, row_of
from django_papyra.models import DeadLetter, Event, Incarnation, QuarantinedRecord
from django_papyra.querysets import instant
from django_papyra.runtime import run_sync
from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence.models import PersistenceRecoveryConfig, PersistenceRecoveryMode
from papyra.testing.records import EPOCH, INCARNATION, OTHER_INCARNATION, event, letter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django_papyra.backend import DjangoPersistence
    from papyra.persistence.backend import PersistenceBackend
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


@pytest.mark.parametrize("use_tz", [True, False])
@override_settings(TIME_ZONE="America/New_York")
async def test_an_hour_that_comes_twice_hides_no_record(*, use_tz: bool, backend: DjangoPersistence) -> None:
    """On 1 November 2026 at 06:00 UTC local clocks went from 01:59:59 to 01:00:00."""
    step_back = 1_793_512_800
    with override_settings(USE_TZ=use_tz):
        await backend.append(
            [event(number, timestamp=float(step_back + 600 * number)) for number in range(-9, 10)]
        )
        for number in range(-9, 10):
            moment = float(step_back + 600 * number)
            assert await Event.objects.between(moment, None).acount() == 10 - number
            assert await Event.objects.between(None, moment).acount() == number + 9
        assert not (await backend.scan()).has_anomalies


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
    newest = [row async for row in Event.objects.filter(system_id="orders").newest_first()]
    assert [row.seq for row in newest] == [5, 1, 4, 3, 2]
    place = newest[2]
    before = Event.objects.filter(system_id="orders").before(place.at, place.id).newest_first()
    after = Event.objects.filter(system_id="orders").after(place.at, place.id).newest_first()
    assert [row.seq async for row in before] == [3, 2]
    assert [row.seq async for row in after] == [5, 1]
    assert await Event.objects.between(EPOCH + 3, EPOCH + 5).acount() == 2
    await DeadLetter.objects.filter(target="orders:1").aupdate(state="discarded")
    assert [row.target async for row in DeadLetter.objects.unresolved()] == ["orders:2"]


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


def test_a_damaged_row_is_looked_for_in_quarantine_by_an_index(papyra_backend: PersistenceBackend) -> None:
    """Without one a recovery of many would take for ever."""
    run_sync(papyra_backend.append([event(number) for number in range(3)]))
    Event.objects.update(body="x")
    with CaptureQueriesContext(connection) as queries:
        run_sync(papyra_backend.recover(PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)))
    assert QuarantinedRecord.objects.count() == 3
    table = 'FROM "django_papyra_quarantinedrecord"'
    searches = [query["sql"] for query in queries.captured_queries if table in query["sql"]]
    assert len(searches) == 3
    for search in searches:
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {search}")
            assert "USING INDEX" in str(cursor.fetchall())
