"""Read what an event says, whatever its payload turns out to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from papyra.history.answers import Crash, Failure, HandledMessage, PastMessage, Restart, Stop
from papyra.persistence.models import NOTHING

if TYPE_CHECKING:
    from papyra.persistence.models import PersistedEvent


def fields_of(value: object) -> Mapping[str, object]:
    """Return ``value`` if it has fields, else none."""
    return value if isinstance(value, Mapping) else NOTHING


def text_of(payload: Mapping[str, object], name: str) -> str:
    """Return a text field, empty where there is none."""
    value = payload.get(name)
    return value if isinstance(value, str) else ""


def number_of(payload: Mapping[str, object], name: str) -> int | None:
    """Return a whole number, ``None`` where there is none."""
    value = payload.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def path_of(event: PersistedEvent) -> str:
    """Return whom the event is about; the published package recorded addresses only."""
    return event.actor_path or event.actor_address


def failure_of(payload: Mapping[str, object]) -> Failure | None:
    """Return the exception: three fields, or the text ``Type: message`` with what stands beside it."""
    error = payload.get("error")
    if isinstance(error, Mapping):
        return Failure(text_of(error, "type"), text_of(error, "text"), text_of(error, "traceback"))
    if not isinstance(error, str) or not error:
        return None
    name, separator, text = error.partition(": ")
    is_named = bool(separator) and name.replace(".", "_").isidentifier()
    return Failure(
        text_of(payload, "error_type") or (name if is_named else ""),
        text if is_named else error,
        text_of(payload, "traceback"),
    )


def crash_of(event: PersistedEvent) -> Crash:
    """Read an ``ActorCrashed``."""
    payload = fields_of(event.payload)
    return Crash(
        event.timestamp,
        failure_of(payload) or Failure(),
        text_of(payload, "reason"),
        _message_of(event, payload),
        text_of(payload, "message_type"),
        text_of(payload, "decision"),
        number_of(payload, "restart"),
        _limit_of(payload),
        text_of(payload, "message"),
        _recent_of(payload),
        text_of(payload, "scope"),
    )


def handled_of(event: PersistedEvent) -> HandledMessage:
    """Read a ``MessageHandled``."""
    payload = fields_of(event.payload)
    seconds = payload.get("seconds")
    return HandledMessage(
        event.timestamp,
        _message_of(event, payload),
        text_of(payload, "message_type"),
        float(seconds) if isinstance(seconds, int | float) else None,
        event.cause_id,
        event.root_id,
    )


def restart_of(event: PersistedEvent) -> Restart:
    """Read an ``ActorRestarted``."""
    payload = fields_of(event.payload)
    return Restart(
        event.timestamp,
        text_of(payload, "reason"),
        number_of(payload, "restart"),
        _limit_of(payload),
        text_of(payload, "sibling"),
    )


def stop_of(event: PersistedEvent) -> Stop:
    """Read an ``ActorStopped``."""
    payload = fields_of(event.payload)
    return Stop(
        event.timestamp,
        event.incarnation,
        text_of(payload, "reason"),
        text_of(payload, "text"),
        failure_of(payload),
        _message_of(event, payload),
        text_of(payload, "decision"),
        number_of(payload, "restart"),
        _limit_of(payload),
    )


def _recent_of(payload: Mapping[str, object]) -> tuple[PastMessage, ...]:
    recent = payload.get("recent")
    if not isinstance(recent, list | tuple):
        return ()
    messages = (fields_of(each) for each in recent)
    return tuple(PastMessage(text_of(each, "message_id"), text_of(each, "message_type")) for each in messages)


def _message_of(event: PersistedEvent, payload: Mapping[str, object]) -> str:
    return event.message_id or text_of(payload, "message_id")


def _limit_of(payload: Mapping[str, object]) -> int | None:
    limit = number_of(payload, "limit")
    return number_of(payload, "of") if limit is None else limit
