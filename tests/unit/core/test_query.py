from __future__ import annotations

import math
from typing import Any

import pytest

from papyra.exceptions import InvalidQueryError, PersistenceError
from papyra.persistence.models import RecordKind
from papyra.persistence.query import RecordQuery
from papyra.testing.promises.reading import FILTERS, history
from papyra.testing.records import MAKERS, audit, event, letter


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "10", None])
def test_a_page_has_room_for_one_at_least(limit: Any) -> None:
    with pytest.raises(InvalidQueryError, match="limit"):
        RecordQuery(kind=RecordKind.EVENT, limit=limit)


@pytest.mark.parametrize("name", ["since", "until"])
@pytest.mark.parametrize("time", [math.nan, math.inf, -math.inf])
def test_a_time_is_finite(name: str, time: float) -> None:
    values: dict[str, Any] = {name: time}
    with pytest.raises(InvalidQueryError, match=name):
        RecordQuery(kind=RecordKind.EVENT, **values)


def test_a_question_that_has_no_answer_is_ours_and_a_value_error() -> None:
    assert issubclass(InvalidQueryError, PersistenceError)
    assert issubclass(InvalidQueryError, ValueError)


def test_a_kind_may_be_given_as_its_word() -> None:
    word: Any = "event"
    assert RecordQuery(kind=word).kind is RecordKind.EVENT
    unknown: Any = "weather"
    with pytest.raises(ValueError, match="weather"):
        RecordQuery(kind=unknown)


@pytest.mark.parametrize("kind", RecordKind)
def test_a_query_asks_for_one_kind(kind: RecordKind) -> None:
    assert [RecordQuery(kind=kind).matches(make(1)) for make in MAKERS.values()] == [
        other is kind for other in MAKERS
    ]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_filters_are_joined_by_and(filters: dict[str, Any]) -> None:
    for kind in RecordKind:
        for record in history():
            alone = [
                RecordQuery(kind=kind, **{name: value}).matches(record) for name, value in filters.items()
            ]
            together = RecordQuery(kind=kind, **filters).matches(record)
            assert together == (record.kind is kind and all(alone))


def test_an_actor_is_a_path_where_it_begins_with_a_slash() -> None:
    record = letter(1, target="orders:1", target_path="/desk")
    matches = [
        RecordQuery(kind=RecordKind.DEAD_LETTER, actor=actor).matches(record)
        for actor in ("orders:1", "/desk", "desk", "/desk/", "orders:10", "")
    ]
    assert matches == [True, True, False, False, False, False]


def test_an_audit_is_about_no_actor_type_or_reason() -> None:
    for filters in ({"actor": ""}, {"type": ""}, {"reason": ""}):
        values: dict[str, Any] = filters
        assert not RecordQuery(kind=RecordKind.AUDIT, **values).matches(audit(1))


def test_an_event_has_no_reason() -> None:
    assert not RecordQuery(kind=RecordKind.EVENT, reason="").matches(event(1))
