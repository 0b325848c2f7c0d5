"""Events, audits and dead letters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from django_papyra.admin import payload
from django_papyra.admin.changelist import RecordAdmin
from django_papyra.admin.filters import (
    SIGNS,
    EventTypeFilter,
    ReasonFilter,
    StateFilter,
    SystemFilter,
    TimeFilter,
)
from django_papyra.admin.times import show_time, zone_note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from django_papyra.models import Audit, DeadLetter, Event

WHY_SHOWN = 120
CAUSES = ("message_id", "cause_id", "root_id", "trace_id")
IDENTITY = ("incarnation", "seq", "crc", "size")


def show_why(text: str) -> SafeString:
    """Return the first words of an error or reason."""
    return payload.isolated(text if len(text) <= WHY_SHOWN else f"{text[:WHY_SHOWN]}…")


def actor_term(term: str) -> str:
    """Return what a user typed for an actor as an address or a path: ``orders:7``, ``/desk``, or ``desk``."""
    return term if term.startswith("/") or ":" in term else f"/{term}"


class _RecordPages(RecordAdmin):
    """A list with one search box for an exact actor, and a detail page whose payload needs a permission."""

    facts: ClassVar[Sequence[str]] = ()
    payload_names: ClassVar[Sequence[str]] = ("shown_payload",)
    list_filter: ClassVar[Any] = (TimeFilter, SystemFilter)
    list_display_links = ("time",)

    @admin.display(description=_("Time"))
    def time(self, row: Any) -> SafeString | str:
        return show_time(row.at)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        del obj
        is_open = payload.may_see_payload(request)
        shown = (*self.payload_names, "whole_record") if is_open else ("hidden_payload",)
        return (
            (None, {"fields": ("time", "system_id", *self.facts), "description": zone_note()}),
            (_("Payload"), {"fields": shown}),
            (_("Identity"), {"fields": IDENTITY}),
        )

    @admin.display(description=_("Payload"))
    def hidden_payload(self, row: Any) -> str:
        del row
        return payload.hidden()

    @admin.display(description=_("Payload"))
    def shown_payload(self, row: Any) -> SafeString:
        return payload.block(payload.pretty(payload.field_of(row.body, "payload")))

    @admin.display(description=_("Whole record"))
    def whole_record(self, row: Any) -> SafeString:
        return payload.block(row.body)


class _ActorPages(_RecordPages):
    search_fields = ("actor",)  # shows the box; search_values() is what searches
    path_column: ClassVar[str]
    address_column: ClassVar[str]
    search_help_text = _("An actor, exactly: its path (/desk), its name (desk), or its address (orders:7).")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        del request
        return queryset.filter(**self.search_values(search_term)), False

    def search_values(self, term: str) -> dict[str, str]:
        term = term.strip().replace("\x00", "")
        if not term:
            return {}
        actor = actor_term(term)
        return {self.path_column if actor.startswith("/") else self.address_column: actor}


class EventAdmin(_ActorPages):
    """Facts about actors' lives."""

    path_column, address_column = "actor_path", "actor_address"
    list_display = ("time", "kind", "actor", "why_shown", "system_id")
    list_filter = (TimeFilter, EventTypeFilter, SystemFilter)
    facts = ("kind", "actor", "actor_address", "actor_type", "why", *CAUSES)
    payload_names = ("shown_payload", "traceback")
    help_text = _("Facts about actors' lives, newest first.")
    empty_text = _("Nothing is on record.")

    @admin.display(description=_("Kind"))
    def kind(self, row: Event) -> SafeString:
        sign, word = SIGNS.get(row.event_type, ("·", row.event_type))  # type: ignore[call-overload]  # words
        return format_html('<span class="papyra-sign" aria-hidden="true">{}</span> {}', sign, word)

    @admin.display(description=_("Actor"))
    def actor(self, row: Event) -> SafeString:
        return payload.isolated(row.actor_path or row.actor_address or "-")

    @admin.display(description=_("Why"))
    def why_shown(self, row: Event) -> SafeString:
        return show_why(row.why or row.reason or "")

    @admin.display(description=_("Traceback"))
    def traceback(self, row: Event) -> SafeString | str:
        text = payload.traceback_of(payload.field_of(row.body, "payload"))
        return payload.block(text) if text else "-"


class DeadLetterAdmin(_ActorPages):
    """Messages that were not handled to their end."""

    path_column, address_column = "target_path", "target"
    list_display = ("time", "to", "type", "reason_shown", "why_shown", "state", "count")
    list_filter = (TimeFilter, ReasonFilter, StateFilter, SystemFilter)
    facts = (
        "state",
        "to",
        "target",
        "target_type",
        "message_type",
        "reason",
        "why",
        "attempts",
        "count",
        "fidelity",
        "fidelity_detail",
        "sender_path",
        "redelivered_from",
        *CAUSES,
    )
    help_text = _("Messages that were not handled to their end, newest first.")
    empty_text = _("No dead letters. Every accepted message was handled, or still waits.")

    @admin.display(description=_("Target"))
    def to(self, row: DeadLetter) -> SafeString:
        return payload.isolated(row.target_path or row.target or "-")

    @admin.display(description=_("Type"))
    def type(self, row: DeadLetter) -> SafeString:
        return payload.isolated(row.message_type)

    @admin.display(description=_("Reason"))
    def reason_shown(self, row: DeadLetter) -> str:
        return row.reason.replace("_", " ")

    @admin.display(description=_("Why"))
    def why_shown(self, row: DeadLetter) -> SafeString:
        return show_why(row.why)

    @admin.display(description=_("How exact the stored payload is"))
    def fidelity_detail(self, row: DeadLetter) -> SafeString | str:
        detail = payload.field_of(row.body, "fidelity_detail")
        return payload.isolated(detail) if isinstance(detail, str) and detail else "-"


class AuditAdmin(_RecordPages):
    """Snapshots of a whole system."""

    list_display = (
        "time",
        "system_id",
        "alive_actors",
        "accepted",
        "handled",
        "failed",
        "dead",
        "expired",
        "pending",
        "records_dropped",
    )
    facts = (
        "total_actors",
        "alive_actors",
        "stopping_actors",
        "restarting_actors",
        "dead_letters_count",
        "accepted",
        "handled",
        "failed",
        "dead",
        "expired",
        "pending",
        "records_dropped",
    )
    payload_names = ("details",)
    help_text = _("Snapshots of a whole system, newest first.")
    empty_text = _("Nothing is on record.")

    @admin.display(description=_("Details"))
    def details(self, row: Audit) -> SafeString:
        return payload.block(payload.pretty(payload.field_of(row.body, "details")))
