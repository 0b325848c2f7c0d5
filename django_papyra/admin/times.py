"""Moments as the pages show them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from datetime import datetime

    from django.utils.safestring import SafeString


def show_time(at: datetime | None) -> SafeString | str:
    """Return the moment in the current time zone, to the second, with the instant itself for machines."""
    if at is None:
        return "-"
    try:
        local = at if timezone.is_naive(at) else timezone.localtime(at)
    except OverflowError:  # a damaged column, at an end of the calendar
        local = at
    return format_html('<time datetime="{}">{}</time>', at.isoformat(), local.strftime("%Y-%m-%d %H:%M:%S"))


def zone_note() -> str:
    """Say, once per page, what its times mean."""
    return _("Times are in %(zone)s.") % {"zone": timezone.get_current_timezone_name()}
