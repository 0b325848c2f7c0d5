"""Filters with a few fixed choices; none of them asks a big table what values it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from django_papyra.models import Incarnation
from papyra.clock import SYSTEM_CLOCK
from papyra.messages import DeadLetterReason
from papyra.persistence.models import EventType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import QuerySet
    from django.http import HttpRequest

MAX_SYSTEMS = 50
SPANS = {
    "1h": (_("Last hour"), 3600),
    "24h": (_("Last 24 hours"), 24 * 3600),
    "7d": (_("Last 7 days"), 7 * 24 * 3600),
}
SIGNS = {
    EventType.ACTOR_STARTED: ("▶", _("started")),
    EventType.ACTOR_CRASHED: ("✕", _("crashed")),
    EventType.ACTOR_RESTARTED: ("↻", _("restarted")),
    EventType.ACTOR_STOPPED: ("■", _("stopped")),
    EventType.ACTOR_ESCALATED: ("▲", _("escalated")),
    EventType.SYSTEM_STARTED: ("●", _("system started")),
    EventType.SYSTEM_STOPPED: ("○", _("system stopped")),
    EventType.INCARNATION_LOST: ("?", _("process lost")),
    EventType.STARTUP_CHECKED: ("✓", _("store checked")),
    EventType.RECOVERY_RUN: ("+", _("store recovered")),
    EventType.RECORDS_LOST: ("!", _("records lost")),
    EventType.RECORDS_DROPPED: ("!", _("records dropped")),
}


class _Choice(admin.SimpleListFilter):
    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        del request
        value = self.value()
        return queryset if value is None else self.keep(queryset, value)

    def keep(self, rows: Any, value: str) -> QuerySet[Any]:
        kept: QuerySet[Any] = rows.filter(**{str(self.parameter_name): value})
        return kept


class TimeFilter(_Choice):
    """How far back to look."""

    title = _("time")
    parameter_name = "time"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        del request, model_admin
        return [(word, label) for word, (label, _) in SPANS.items()]

    def keep(self, rows: Any, value: str) -> QuerySet[Any]:
        if value not in SPANS:
            return rows  # type: ignore[no-any-return]  # what came in
        kept: QuerySet[Any] = rows.between(SYSTEM_CLOCK.now() - SPANS[value][1], None)
        return kept


class EventTypeFilter(_Choice):
    """The types an operator looks for; `SIGNS` has them."""

    title = _("kind")
    parameter_name = "event_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        del request, model_admin
        return [(type_.value, word) for type_, (_, word) in SIGNS.items()]


class SystemFilter(_Choice):
    """The systems that ever ran, from their incarnations."""

    title = _("system")
    parameter_name = "system_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        del request, model_admin
        names = Incarnation.objects.of_systems().order_by("system_id").values_list("system_id", flat=True)
        return [(name, name) for name in names.distinct()[:MAX_SYSTEMS]]


class ReasonFilter(_Choice):
    """Why a message died."""

    title = _("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        del request, model_admin
        return [(reason.value, reason.value.replace("_", " ")) for reason in DeadLetterReason]
