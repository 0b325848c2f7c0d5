"""Show what came from outside: escaped, isolated, cut, and only to those who may see it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from django.utils.html import format_html
from django.utils.translation import gettext as _

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.utils.safestring import SafeString

MAX_SHOWN = 64 * 1024
PERMISSION = "django_papyra.view_payload"


def may_see_payload(request: HttpRequest) -> bool:
    """Whether this user may read payloads, tracebacks and whole records."""
    return request.user.has_perm(PERMISSION)


def isolated(text: str) -> SafeString:
    """Return ``text`` escaped, so that its writing direction cannot reach beyond it."""
    return format_html("<bdi>{}</bdi>", _encodable(text))


def hidden() -> str:
    """Return what stands in place of a payload."""
    return _("Hidden. You need the permission “Can see payloads”.")


def block(text: str) -> SafeString:
    """Return ``text`` as it is, line by line, cut at 64 KiB."""
    text = _encodable(text)
    if len(text) <= MAX_SHOWN:
        return format_html('<pre class="papyra-text"><bdi>{}</bdi></pre>', text)
    note = _("Shown: the first 64 KiB of %(size)s KiB.") % {"size": len(text) // 1024}
    return format_html('<pre class="papyra-text"><bdi>{}</bdi></pre><p>{}</p>', text[:MAX_SHOWN], note)


def _encodable(text: str) -> str:
    """Return ``text`` without the lone surrogates that a damaged body may name, and no page can hold."""
    return str(text).encode("utf-8", "replace").decode("utf-8")


def field_of(body: str, name: str) -> Any:
    """Return one field of a stored record in its stored form; ``None`` where the body does not read."""
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return record.get(name) if isinstance(record, dict) else None


def pretty(value: object) -> str:
    """Return a stored value indented, in its own script."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def traceback_of(payload: object) -> str:
    """Return the traceback inside an event's payload, or ``""``."""
    traceback = payload.get("traceback") if isinstance(payload, dict) else None
    return traceback if isinstance(traceback, str) else ""
