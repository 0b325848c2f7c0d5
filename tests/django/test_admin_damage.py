"""I7 and D1 in the admin: what was forged or damaged costs no page, and no address tells what is hidden."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from django.contrib.admin import AdminSite
from django.test import Client, override_settings
from django.urls import path

from django_papyra.admin.changelist import PAGE_ROWS
from django_papyra.admin.place import Place
from django_papyra.admin.records import EventAdmin
from django_papyra.models import DeadLetter, Event, QuarantinedRecord
from tests.django.pages import MODELS, detail_url, event, letter, list_url, record, staff

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import Model

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.filterwarnings("error")]

desk = AdminSite(name="desk")
desk.register(Event, EventAdmin)
urlpatterns = [path("desk/", desk.urls)]

BODIES = {
    "empty": "",
    "no JSON": "not json",
    "no object": "[1]",
    "an endless object": "{" * 5000,
    "an unknown tag": '{"payload": {"$": "nonsense"}}',
    "a lone surrogate": r'{"payload": "\ud800"}',
    "a lone surrogate in a traceback": r'{"payload": {"traceback": "\udfff"}}',
    "a lone surrogate in a detail": r'{"fidelity_detail": "\ud800", "details": "\ud800"}',
    "a deep payload": '{"payload":' + "[" * 800 + "]" * 800 + "}",
    "control characters": r'{"payload": "\u0000\u001b[31m"}',
    "what is no number": '{"payload": NaN}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=list(BODIES))
@pytest.mark.parametrize("model", [Event, DeadLetter])
def test_i7_a_forged_body_still_has_a_page(page: Any, model: type[Model], body: str) -> None:
    record(event(), letter())
    model._default_manager.update(body=body)  # noqa: SLF001  # Django's own
    assert "Whole record" in page(detail_url(model._default_manager.get()))  # noqa: SLF001


COLUMNS = (
    "actor_path = CAST(x'2f6465736bfffe' AS TEXT)",
    "body = CAST(x'7bfffe' AS TEXT)",
    "why = x'00ff'",
    "event_type = x'00ff'",
    "timestamp = 'late'",
    "at = 'yesterday'",
    "at = 17",
    "at = '0001-01-01 00:00:00'",
    "at = '9999-12-31 23:59:59.999999'",
)


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/New_York"])
@pytest.mark.parametrize("change", COLUMNS)
def test_i7_a_damaged_column_costs_neither_the_list_nor_the_page(
    page: Any, sql: Callable[..., object], change: str, zone: str
) -> None:
    record(event(1), event(2), event(3))
    damaged = Event.objects.get(actor_path="/desk-2")
    sql(f"UPDATE django_papyra_event SET {change} WHERE id = ?", damaged.pk)  # noqa: S608  # our words
    with override_settings(TIME_ZONE=zone):
        body = page(list_url(Event))
        assert "<bdi>/desk-1</bdi>" in body
        assert "<bdi>/desk-3</bdi>" in body
        assert "Whole record" in page(detail_url(damaged))


@pytest.mark.parametrize("at", ["yesterday", 17])
def test_i7_rows_without_a_time_keep_nobody_from_paging(
    page: Any, sql: Callable[..., object], at: object
) -> None:
    record(*(event(number) for number in range(PAGE_ROWS * 2)))
    ids = [row.pk for row in Event.objects.order_by("id")]
    sql(f"UPDATE django_papyra_event SET at = ? WHERE id IN ({ids[0]}, {ids[50]}, {ids[51]})", at)  # noqa: S608  # numbers
    seen: set[str] = set()
    query = ""
    for word in ("next", "prev"):
        while True:
            body = page(list_url(Event, query))
            seen |= set(re.findall(r"<bdi>/desk-(\d+)</bdi>", body))
            link = re.search(rf'<a href="([^"]*)" rel="{word}"', body)
            if link is None:
                break
            query = link[1].replace("&amp;", "&")
    assert len(seen) == PAGE_ROWS * 2


PLACES = (
    "x",
    "2026-11-25~",
    "~1",
    "2026-11-25~1",
    "2026-11-25T03:12:07~1",
    "2026-11-25T00:00:00Z~99999999999999999999",
    "\x00",
    "2026-13-45T00:00:00Z~1",
    "0001-01-01T00:00:00+14:00~1",
    "9999-12-31T23:59:59-14:00~1",
)


@pytest.mark.parametrize("name", ["before", "after"])
@pytest.mark.parametrize("place", PLACES)
def test_a_bad_place_leads_to_the_list_and_not_to_an_error(
    admin_client: Client, name: str, place: str
) -> None:
    assert admin_client.get(list_url(Event), {name: place}).status_code == 302


@pytest.mark.parametrize("use_tz", [True, False])
def test_a_place_of_a_project_with_another_clock_is_a_bad_one(page: Any, *, use_tz: bool) -> None:
    with override_settings(USE_TZ=not use_tz):
        record(*(event(number) for number in range(60)))
        older = re.search(r'<a href="([^"]*)" rel="next"', page(list_url(Event)))
        assert older is not None
        assert "<bdi>/desk-0</bdi>" in page(list_url(Event, older[1].replace("&amp;", "&")))
    client = Client()
    client.force_login(staff("view_event"))
    with override_settings(USE_TZ=use_tz):
        assert client.get(list_url(Event, older[1])).status_code == 302


@pytest.mark.parametrize("text", ["2026-11-25T03:12:07.123456Z~1", "2026-11-25T03:12:07Z~99"])
def test_a_place_reads_back_as_it_is_written(text: str) -> None:
    assert str(Place.parse(text)) == text


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    "lookup", ["body__contains", "content__contains", "node__regex", "id__in", "incarnation__gt", "pk"]
)
def test_d1_a_lookup_that_is_no_filter_is_refused(client: Client, model: type[Model], lookup: str) -> None:
    """It would tell, row by row, what a hidden payload contains; and a pattern can run for ever."""
    client.force_login(staff(f"view_{model._meta.model_name}"))  # noqa: SLF001  # Django's own
    assert client.get(list_url(model), {lookup: "(a+)+"}).status_code == 400


def test_d1_quarantined_content_needs_the_permission_to_see_payloads(client: Client) -> None:
    row = QuarantinedRecord.objects.create(
        found_at="2026-11-25T00:00:00Z", size=6, content=b"needle", columns='{"actor": "needle"}'
    )
    client.force_login(staff("view_quarantinedrecord"))
    assert b"needle" not in client.get(detail_url(row)).content
    client.force_login(staff("view_quarantinedrecord", "view_payload", username="another"))
    assert b"needle" in client.get(detail_url(row)).content


@override_settings(ROOT_URLCONF=__name__)
def test_the_pages_work_on_a_site_of_the_projects_own(admin_client: Client) -> None:
    record(event(7))
    body = admin_client.get("/desk/django_papyra/event/").content.decode()
    assert "<bdi>/desk-7</bdi>" in body
    row = Event.objects.get()
    assert f"/desk/django_papyra/event/{row.pk}/change/" in body
    assert admin_client.get(f"/desk/django_papyra/event/{row.pk}/change/").status_code == 200
