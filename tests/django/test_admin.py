"""D1, D2: lists and details show what is on record, safely, to those who may see it, and change nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import CharField, TextField
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from django_papyra.admin.changelist import PAGE_ROWS
from django_papyra.admin.place import Place
from django_papyra.admin.reach import LOOKED_THROUGH
from django_papyra.models import Audit, DeadLetter, Event, Incarnation, QuarantinedRecord
from tests.django.pages import MODELS, audit, detail_url, event, letter, list_url, record, staff, times

if TYPE_CHECKING:
    from django.db.models import Model
    from django.test import Client

pytestmark = pytest.mark.django_db(transaction=True)

EMPTY = {
    Event: "<p>Nothing is on record.</p>",
    DeadLetter: "<p>No dead letters. Every accepted message was handled, or still waits.</p>",
    Audit: "<p>Nothing is on record.</p>",
    Incarnation: "0 incarnations",
    QuarantinedRecord: "0 quarantined records",
}
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}\u202e"


@pytest.mark.parametrize("model", MODELS)
def test_an_empty_list_says_so(page: Any, model: type[Model]) -> None:
    assert EMPTY[model] in page(list_url(model))


@pytest.mark.parametrize("model", MODELS)
def test_d1_anonymous_users_see_nothing(client: Client, model: type[Model]) -> None:
    assert client.get(list_url(model)).status_code == 302


@pytest.mark.parametrize("model", MODELS)
def test_d1_staff_without_a_view_permission_see_nothing(client: Client, model: type[Model]) -> None:
    client.force_login(staff())
    assert client.get(list_url(model)).status_code == 403


@pytest.mark.parametrize("model", [Event, DeadLetter, Audit])
def test_d1_nobody_adds_changes_or_deletes_not_even_a_superuser(
    admin_client: Client, model: type[Model]
) -> None:
    record(event(), letter(), audit())
    row = model._default_manager.get()  # noqa: SLF001  # Django's own
    name = model._meta.model_name  # noqa: SLF001
    assert admin_client.get(reverse(f"admin:django_papyra_{name}_add")).status_code == 403
    assert admin_client.post(detail_url(row), {"state": "discarded"}).status_code == 403
    assert (
        admin_client.post(
            reverse(f"admin:django_papyra_{name}_delete", args=(row.pk,)), {"post": "yes"}
        ).status_code
        == 403
    )
    assert admin_client.post(
        list_url(model), {"action": "delete_selected", "_selected_action": [row.pk]}
    ).status_code in {302, 403, 200}
    assert model._default_manager.count() == 1  # noqa: SLF001
    assert "Save" not in admin_client.get(detail_url(row)).content.decode()


@pytest.mark.parametrize("model", [Event, DeadLetter])
def test_a_payload_needs_its_own_permission(client: Client, model: type[Model]) -> None:
    record(event(payload={"word": "needle"}), letter(payload={"type": "t", "version": 1, "data": "needle"}))
    row = model._default_manager.get()  # noqa: SLF001
    view = f"view_{model._meta.model_name}"  # noqa: SLF001
    user = staff(view)
    client.force_login(user)
    hidden = client.get(detail_url(row)).content.decode()
    assert "needle" not in hidden
    assert "Hidden. You need the permission" in hidden
    user.user_permissions.add(Permission.objects.get(codename="view_payload"))
    assert "needle" in client.get(detail_url(row)).content.decode()


@pytest.mark.parametrize("model", MODELS)
def test_hostile_text_is_escaped_wherever_it_shows(page: Any, model: type[Model]) -> None:
    error = {"error": HOSTILE, "traceback": HOSTILE}
    record(event(payload=error), letter(payload=HOSTILE, error=HOSTILE), audit(details={HOSTILE: HOSTILE}))
    Incarnation.objects.create(incarnation="I", node={"host": HOSTILE}, kept_from={HOSTILE: 1}, state="lost")
    QuarantinedRecord.objects.create(found_at=timezone.now(), size=1, content=HOSTILE.encode())
    texts = [
        field.name
        for field in model._meta.concrete_fields  # noqa: SLF001  # Django's own
        if isinstance(field, CharField | TextField) and field.name != "body"
    ]
    model._default_manager.update(**{name: HOSTILE[: 64 if name == "boot_id" else None] for name in texts})  # noqa: SLF001
    for url in (list_url(model), detail_url(model._default_manager.get())):  # noqa: SLF001
        body = page(url)
        assert "&lt;script&gt;alert" in body
        assert "<script>alert" not in body
        assert "<img src=x" not in body
        assert "{{7*7}}" in body
        assert "Times are in Asia/Kolkata." in body


def test_a_crash_shows_its_error_and_traceback_line_by_line(page: Any) -> None:
    record(
        event(
            event_type="ActorCrashed",
            payload={"error": "ValueError: no", "traceback": "Traceback:\n  line 1\nValueError: no"},
        )
    )
    body = page(detail_url(Event.objects.get()))
    assert "Traceback:\n  line 1\nValueError: no</bdi></pre>" in body
    assert "ValueError: no" in page(list_url(Event))


def test_a_payload_over_64_kib_is_cut_and_says_so(page: Any) -> None:
    record(event(payload={"text": "x" * 200_000}))
    body = page(detail_url(Event.objects.get()))
    assert "Shown: the first 64 KiB of" in body
    assert len(body) < 400_000


@pytest.mark.parametrize("body", ["", "not json", "[1]", "{" * 5000, '{"payload": {"$": "nonsense"}}'])
def test_a_damaged_row_still_has_a_page(page: Any, body: str) -> None:
    record(event())
    Event.objects.update(body=body)
    assert "View event" in page(detail_url(Event.objects.get()))


class TestPaging:
    """D2: by key, newest first; no row is shown twice or skipped, and nothing counts the table."""

    ROWS = PAGE_ROWS * 2 + 7

    @pytest.fixture(autouse=True)
    def rows(self) -> None:
        record(*(event(number, timestamp=1_795_000_000.0 + number // 3) for number in range(self.ROWS)))

    def addresses(self, body: str) -> list[str]:
        return re.findall(r"<bdi>/desk-(\d+)</bdi>", body)

    def follow(self, page: Any, word: str, url: str) -> list[str]:
        found: list[str] = []
        while True:
            body = page(url)
            found += self.addresses(body)
            link = re.search(rf'<a href="([^"]*)" rel="{word}"', body)
            if link is None:
                return found
            url = list_url(Event, link[1].replace("&amp;", "&"))

    def test_following_older_shows_every_row_once_newest_first(self, page: Any) -> None:
        assert self.follow(page, "next", list_url(Event)) == [
            str(number) for number in reversed(range(self.ROWS))
        ]

    def test_following_newer_leads_back_to_the_newest(self, page: Any) -> None:
        second_oldest = Event.objects.order_by("at", "id")[1]
        found = self.follow(page, "prev", list_url(Event, f"?before={Place.of(second_oldest)}"))
        assert sorted(map(int, found)) == list(range(self.ROWS))

    def test_rows_that_arrive_meanwhile_do_not_shift_a_page(self, page: Any) -> None:
        older = re.search(r'<a href="([^"]*)" rel="next"', page(list_url(Event)))
        assert older
        url = list_url(Event, older[1].replace("&amp;", "&"))
        before = self.addresses(page(url))
        record(*(event(number, timestamp=1_796_000_000.0) for number in range(1000, 1060)))
        assert self.addresses(page(url)) == before

    def test_d2_no_query_counts_without_a_limit_or_skips_many_rows(self, page: Any) -> None:
        with CaptureQueriesContext(connection) as queries:
            page(list_url(Event))
            page(list_url(Event, "?time=7d&event_type=ActorStarted&q=/desk-1"))
        sql = [query["sql"] for query in queries.captured_queries]
        assert sql
        assert not [text for text in sql if "COUNT(" in text and "LIMIT" not in text]
        skipped = [int(found[1]) for text in sql if (found := re.search(r"OFFSET (\d+)", text))]
        assert max(skipped) < LOOKED_THROUGH
        assert not [text for text in sql if '"body"' in text]

    @pytest.mark.parametrize("kept", [1, 100])
    def test_d2_the_number_of_queries_does_not_grow_with_the_rows(self, page: Any, kept: int) -> None:
        Event.objects.filter(pk__gt=Event.objects.order_by("pk")[kept - 1].pk).delete()
        with CaptureQueriesContext(connection) as queries:
            page(list_url(Event))
        assert len(queries) <= 6, [query["sql"] for query in queries.captured_queries]

    @pytest.mark.parametrize("term", ["/desk-3", "desk-3", "orders:3"])
    def test_an_actor_is_found_by_path_name_or_address(self, page: Any, term: str) -> None:
        body = page(list_url(Event, f"?q={term}"))
        assert self.addresses(body) == ["3"]
        assert "1 match" in body

    @pytest.mark.parametrize("term", ["\x00", "'; DROP TABLE", "x" * 5000, "%", "*"])
    def test_an_odd_search_finds_nothing(self, admin_client: Client, term: str) -> None:
        response = admin_client.get(list_url(Event), {"q": term})
        assert response.status_code == 200


def test_filters_narrow_letters_by_reason_and_state(page: Any) -> None:
    record(letter(1), letter(2, reason="target_stopped"))
    assert "/desk-2" not in page(list_url(DeadLetter, "?reason=handler_failed"))
    DeadLetter.objects.filter(reason="target_stopped").update(state="discarded")
    assert "/desk-1" not in page(list_url(DeadLetter, "?state=discarded"))


def test_the_system_filter_offers_the_systems_that_ran(page: Any) -> None:
    for names in (["orders"], ["billing"]):
        Incarnation.objects.bulk_create(
            Incarnation(system_id=name, incarnation=f"I-{name}", host="h", boot_id="b") for name in names
        )
    body = page(list_url(Event))
    assert "?system_id=billing" in body
    assert "?system_id=orders" in body


def test_times_show_in_the_current_zone_with_the_instant_for_machines(page: Any) -> None:
    record(event(timestamp=1_795_000_000.25))
    body = page(list_url(Event))
    assert ">2026-11-18 " in body
    assert any(instant.startswith("2026-11-18T") for instant in times(body))
