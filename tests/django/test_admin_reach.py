"""D2: two filters that seldom meet cost a page no more than one; looking on finds all the same."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_papyra.admin import reach
from django_papyra.admin.changelist import PAGE_ROWS
from django_papyra.models import DeadLetter, Event, Incarnation
from tests.django.pages import MODELS, event, letter, list_url, record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import Model

pytestmark = pytest.mark.django_db(transaction=True)

LOOKED_THROUGH = 100
ROWS = 1_000
FOUND = [7, 8, 310, 311, 312, 650]


@pytest.fixture(autouse=True)
def _short_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "LOOKED_THROUGH", LOOKED_THROUGH)


@pytest.fixture
def rows() -> None:
    """Two systems and two types, all common, and few rows in which the second of each meet."""
    record(
        *(
            event(
                number,
                actor_path=f"/desk-{number}",
                system_id="billing" if number in FOUND or number % 2 else "orders",
                event_type="ActorCrashed" if number in FOUND or not number % 2 else "ActorStarted",
            )
            for number in range(ROWS)
        )
    )


def follow(page: Any, word: str, query: str) -> Iterator[tuple[str, list[int]]]:
    while True:
        body = page(list_url(Event, query))
        yield body, [int(number) for number in re.findall(r"<bdi>/desk-(\d+)</bdi>", body)]
        link = re.search(rf'<a href="([^"]*)" rel="{word}"', body)
        if link is None:
            return
        query = link[1].replace("&amp;", "&")


@pytest.mark.usefixtures("rows")
def test_looking_on_finds_every_match_once_newest_first(page: Any) -> None:
    pages = list(follow(page, "next", "?system_id=billing&event_type=ActorCrashed"))
    assert [number for _, numbers in pages for number in numbers] == FOUND[::-1]
    assert "or more match" in pages[0][0]
    assert all("look further" in body for body, _ in pages[:-1])
    assert "look further" not in pages[-1][0]
    assert len(pages) <= ROWS // LOOKED_THROUGH


@pytest.mark.usefixtures("rows")
def test_looking_back_finds_every_newer_match_once(page: Any) -> None:
    *_, (last, _) = follow(page, "next", "?system_id=billing&event_type=ActorCrashed")
    assert 'rel="next"' not in last
    oldest = Event.objects.order_by("at", "id")[0]
    query = f"?system_id=billing&event_type=ActorCrashed&after={oldest.at.isoformat().replace('+', '%2B')}~1"
    pages = list(follow(page, "prev", query))
    assert sorted(number for _, numbers in pages for number in numbers) == FOUND


@pytest.mark.usefixtures("rows")
def test_a_value_that_is_rare_is_looked_for_where_it_is(page: Any) -> None:
    """The search for one actor does not read its whole system."""
    with CaptureQueriesContext(connection) as queries:
        (only,) = follow(page, "next", "?q=/desk-311&system_id=billing&event_type=ActorCrashed")
    assert only[1] == [311]
    assert "1 matches<" in only[0]
    for query in queries.captured_queries:
        if 'FROM "django_papyra_event"' in query["sql"] and "OFFSET" not in query["sql"]:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}")
                steps = [str(step[3]) for step in cursor.fetchall()]
            assert any("papyra_event_path (actor_path=?" in step for step in steps), steps


@pytest.mark.usefixtures("rows")
def test_d2_no_query_reads_more_than_it_may_look_through(page: Any) -> None:
    with CaptureQueriesContext(connection) as queries:
        page(list_url(Event, "?system_id=billing&event_type=ActorStarted&q=/nobody&time=7d"))
    offsets = [
        int(found[1])
        for query in queries.captured_queries
        if (found := re.search(r"OFFSET (\d+)", query["sql"]))
    ]
    assert offsets
    assert max(offsets) < LOOKED_THROUGH
    assert len(queries) <= 14


@pytest.mark.parametrize("model", MODELS)
def test_d2_no_list_counts_its_table(page: Any, model: type[Model]) -> None:
    with CaptureQueriesContext(connection) as queries:
        page(list_url(model))
        page(list_url(model, "?p=2"))
    counts = [query["sql"] for query in queries.captured_queries if "COUNT(" in query["sql"]]
    assert not [sql for sql in counts if "LIMIT 10000)" not in sql]
    assert len(counts) <= 2


def test_letters_are_narrowed_by_state_and_reason_and_target(page: Any) -> None:
    record(*(letter(number, reason="expired" if number % 3 else "overflow") for number in range(PAGE_ROWS)))
    DeadLetter.objects.filter(target_path="/desk-9").update(state="resolved")
    found = page(list_url(DeadLetter, "?state=resolved&reason=overflow&q=desk-9"))
    assert re.findall(r"<bdi>/desk-(\d+)</bdi>", found) == ["9"]
    assert "Nothing matches." in page(list_url(DeadLetter, "?state=resolved&reason=expired"))


@pytest.mark.parametrize("known", [[], ["orders"]])
def test_a_system_that_no_choice_names_narrows_all_the_same(page: Any, known: list[str]) -> None:
    for name in known:
        Incarnation.objects.create(system_id=name, incarnation=name)
    record(event(1), event(2, system_id="imported"))
    body = page(list_url(Event, "?system_id=imported"))
    assert re.findall(r"<bdi>/desk-(\d+)</bdi>", body) == ["2"]
    assert "1 matches<" in body
