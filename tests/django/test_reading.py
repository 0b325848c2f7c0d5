"""Pages in store order: the same records however common the value asked for, and no sort of them all."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_papyra.runtime import run_sync
from papyra.persistence.models import RecordKind
from papyra.persistence.query import RecordQuery
from papyra.testing.records import event

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.models import PersistedEvent, Record

COMMON = 5_200  # more than a page sorts
RARE = (17, 2_600, 5_100)


@pytest.fixture
def written(papyra_backend: PersistenceBackend) -> Sequence[PersistedEvent]:
    records = [
        event(number, event_type="Rare" if number in RARE else "Common", system_id=("a", "b")[number % 2])
        for number in range(COMMON + len(RARE))
    ]
    run_sync(papyra_backend.append(records))
    return records


QUERIES: Sequence[dict[str, Any]] = (
    {"type": "Common"},
    {"type": "Rare"},
    {"type": "Common", "system_id": "b"},
    {"type": "Rare", "system_id": "b"},
    {"type": "Common", "actor": "orders:9"},
    {"type": "Nothing", "system_id": "b"},
)


@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("asked", QUERIES, ids=str)
def test_every_match_is_read_once_in_store_order_and_none_is_sorted_in_bulk(
    asked: dict[str, Any],
    papyra_backend: PersistenceBackend,
    written: Sequence[PersistedEvent],
    *,
    newest_first: bool,
) -> None:
    query = RecordQuery(kind=RecordKind.EVENT, limit=1_000, newest_first=newest_first, **asked)
    with CaptureQueriesContext(connection) as queries:
        found = [record.timestamp for record in pages(papyra_backend, query)]
    expected = [record.timestamp for record in written if query.matches(record)]
    assert found == (expected[::-1] if newest_first else expected)
    if asked == {"type": "Common"}:
        first = next(one["sql"] for one in queries.captured_queries if '"body"' in one["sql"])
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {first}")
            assert "TEMP B-TREE" not in str(cursor.fetchall())


def pages(backend: PersistenceBackend, query: RecordQuery) -> Iterator[Record]:
    while True:
        page = run_sync(backend.read(query))
        yield from page.records
        if page.cursor is None:
            return
        query = replace(query, cursor=page.cursor)
