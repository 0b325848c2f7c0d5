"""Runs of systems, and what was set aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from django_papyra.admin import payload
from django_papyra.admin.changelist import ReadOnlyAdmin
from django_papyra.admin.times import show_time

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

    from django_papyra.models import Incarnation, QuarantinedRecord


class IncarnationAdmin(ReadOnlyAdmin):
    """Who ran when, where, and how it ended."""

    list_display = (
        "system_id",
        "state",
        "host",
        "pid",
        "started",
        "last_heartbeat",
        "stopped",
        "incarnation",
    )
    list_display_links = ("system_id", "incarnation")
    list_filter = ("state",)
    ordering = ("-started_at", "-id")
    help_text = _("Runs of systems, newest first.")
    fields = (
        "system_id",
        "incarnation",
        "state",
        "host",
        "pid",
        "boot_id",
        "started",
        "last_heartbeat",
        "stopped",
        "kept_from",
    )
    readonly_fields = ("started", "last_heartbeat", "stopped")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: Any = super().get_queryset(request)
        systems: QuerySet[Any] = rows.of_systems()
        return systems

    @admin.display(description=_("Started"))
    def started(self, row: Incarnation) -> SafeString | str:
        return show_time(row.started_at)

    @admin.display(description=_("Last heartbeat"))
    def last_heartbeat(self, row: Incarnation) -> SafeString | str:
        return show_time(row.heartbeat_at)

    @admin.display(description=_("Stopped"))
    def stopped(self, row: Incarnation) -> SafeString | str:
        return show_time(row.stopped_at)


class QuarantinedRecordAdmin(ReadOnlyAdmin):
    """What could not be read, byte for byte; the content needs the permission to see payloads."""

    list_display = ("found", "kind", "incarnation", "seq", "reason", "size")
    ordering = ("-id",)
    large_columns = ("content", "columns")
    help_text = _("What was taken out of the history because it could not be read, newest first.")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        del obj
        shown = ("shown_content", "columns") if payload.may_see_payload(request) else ("hidden_content",)
        return ("found", "kind", "incarnation", "seq", "row_id", "reason", "detail", "size", "sha256", *shown)

    @admin.display(description=_("Found"))
    def found(self, row: QuarantinedRecord) -> SafeString | str:
        return show_time(row.found_at)

    @admin.display(description=_("Content"))
    def hidden_content(self, row: QuarantinedRecord) -> str:
        del row
        return payload.hidden()

    @admin.display(description=_("Content"))
    def shown_content(self, row: QuarantinedRecord) -> SafeString:
        return payload.block(bytes(row.content).decode("utf-8", errors="backslashreplace"))
