"""Filters with a few fixed choices; none of them asks a big table what values it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from django_papyra.mapping import clip
from django_papyra.models import NAME_LENGTH, Incarnation, LetterState
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


class Choice(admin.SimpleListFilter):
    """One value for the column that the parameter names."""

    def values(self) -> dict[str, str]:
        """Return the values that columns have in the rows that this filter keeps."""
        value = self.value()
        return {} if value is None else {str(self.parameter_name): clip(value, NAME_LENGTH)}

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        del request
        return queryset.filter(**self.values())


class TimeFilter(admin.SimpleListFilter):
    """How far back to look."""

    title = _("time")
    parameter_name = "time"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        del request, model_admin
        return [(word, label) for word, (label, _) in SPANS.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        del request
        rows: Any = queryset
        value = self.value()
        return rows.between(SYSTEM_CLOCK.now() - SPANS[value][1], None) if value in SPANS else queryset


class EventTypeFilter(Choice):
    """The types an operator looks for; `SIGNS` has them."""

    title = _("kind")
    parameter_name = "event_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        del request, model_admin
        return [(type_.value, word) for type_, (_, word) in SIGNS.items()]


class SystemFilter(Choice):
    """The systems that ever ran, from their incarnations."""

    title = _("system")
    parameter_name = "system_id"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        del request, model_admin
        systems = Incarnation.objects.of_systems().order_by("system_id").values_list("system_id", flat=True)
        names = list(systems.distinct()[:MAX_SYSTEMS])
        asked = self.value()  # one that no choice names narrows the list all the same, and shows that it does
        return [(name, name) for name in ([*names, asked] if asked and asked not in names else names)]


class StateFilter(Choice):
    """What became of the letter."""

    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        del request, model_admin
        return LetterState.choices


class ReasonFilter(Choice):
    """Why a message died."""

    title = _("reason")
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Iterable[tuple[str, Any]]:
        del request, model_admin
        return [(reason.value, reason.value.replace("_", " ")) for reason in DeadLetterReason]
