from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.inspection import inspect, read_records, summarise
from papyra.persistence.models import PersistedAudit, PersistedDeadLetter, PersistedEvent, RecordKind
from papyra.persistence.query import RecordQuery
from tests.unit.startup.scripted import ScriptedBackend

if TYPE_CHECKING:
    from papyra.persistence.models import Record
    from papyra.persistence.query import Page

EVENT = PersistedEvent("orders", "orders:1", "ActorStarted", None, 5.0)
LETTER = PersistedDeadLetter("orders", "orders:9", "shop.Ship", None, 5.0, reason="overflow", count=3)
AUDIT = PersistedAudit("orders", 5.0, 1, 1, 0, 0, 1, (), (), 0)
ALL_EVENTS = RecordQuery(kind=RecordKind.EVENT)


class CountingBackend(ScriptedBackend):
    async def read(self, query: RecordQuery) -> Page[Record]:
        self.done.append(query.limit)
        return await super().read(query)


@pytest.mark.parametrize(
    ("stored", "limit", "asked"),
    [
        (0, 10, [10]),
        (10, 10, [10]),
        (11, 10, [10]),
        (2500, 2500, [1000, 1000, 500]),
        (2500, 1000, [1000]),
        (2500, 10**18, [1000, 1000, 1000]),
    ],
)
async def test_a_limit_is_read_exactly_and_nothing_beyond_it(
    stored: int, limit: int, asked: list[int]
) -> None:
    backend = CountingBackend(records=[replace(EVENT, seq=number + 1) for number in range(stored)])
    page = await read_records(backend, ALL_EVENTS, limit)
    assert backend.done == asked
    assert [record.seq for record in page.records] == list(range(stored, max(stored - limit, 0), -1))
    assert (page.cursor is not None) is (stored > limit)


async def test_a_store_is_divided_up_by_system_type_and_reason() -> None:
    async with InMemoryPersistence() as backend:
        await backend.append([EVENT, replace(EVENT, system_id="billing", event_type="Mine"), LETTER, AUDIT])
        report = await inspect(backend)
    assert report.systems == {"orders": 3, "billing": 1}
    assert report.event_types == {"ActorStarted": 1, "Mine": 1}
    assert report.letter_reasons == {"overflow": 3}
    assert report.incarnations == 1
    assert report.looked_at == {RecordKind.EVENT: 2, RecordKind.AUDIT: 1, RecordKind.DEAD_LETTER: 1}
    assert report.is_complete
    assert report.stats.kinds[RecordKind.EVENT].records == 2


async def test_looking_at_a_part_is_said() -> None:
    async with InMemoryPersistence() as backend:
        await backend.append([EVENT, EVENT])
        assert not (await inspect(backend, 1)).is_complete


@pytest.mark.parametrize(
    "payload", [None, "text", 7, ["reason"], {"reason": None}, {"reason": 5}, {5: "reason"}]
)
async def test_stop_events_of_other_programs_are_folded_without_an_error(payload: object) -> None:
    async with InMemoryPersistence() as backend:
        await backend.append([replace(EVENT, event_type="ActorStopped", payload=payload)])
        summary = await summarise(backend, ALL_EVENTS)
    [stop] = summary.stops
    assert stop.reason in {"", "5"}
    assert stop.actor == "orders:1"


async def test_an_incarnation_is_closed_by_its_own_stop_or_by_another_ones_notice() -> None:
    def note(type_: str, incarnation: str, timestamp: float, payload: object = None) -> PersistedEvent:
        return PersistedEvent(
            "orders", "", type_, payload, timestamp, incarnation=incarnation, seq=int(timestamp)
        )

    async with InMemoryPersistence() as backend:
        await backend.append(
            [
                note("SystemStarted", "A", 1.0),
                note("SystemStarted", "B", 2.0),
                note("SystemStopped", "B", 3.0),
                note("SystemStarted", "C", 4.0),
                note("IncarnationLost", "C", 5.0, {"closes": "A", "last_seen": 1.5}),
            ]
        )
        summary = await summarise(backend, ALL_EVENTS)
    told = [(one.incarnation, one.started, one.ended, one.ended_at) for one in summary.incarnations]
    assert told == [
        ("C", 4.0, "", None),
        ("B", 2.0, "SystemStopped", 3.0),
        ("A", 1.0, "IncarnationLost", 5.0),
    ]
