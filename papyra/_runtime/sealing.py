"""Make a record fit to be kept: payloads encoded, secrets redacted, no live object held."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from papyra.payloads import (
    DEFAULT_REDACTION,
    REDACTED_TEXT,
    Encoded,
    Fidelity,
    check_reading,
    encode,
    encode_message,
    prove_exact,
)
from papyra.persistence.models import EventType, PersistedAudit, PersistedDeadLetter, PersistedEvent, Record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from papyra.payloads import MessageRegistry, PayloadLimits, Redaction

NOT_CHECKED: Final = "not checked"
MAX_CHECKED_BYTES: Final = 256 * 1024
"""A larger message is stored unchecked: rebuilding one of a megabyte keeps the loop for too long."""

MAX_ERROR_TEXT: Final = 16_384

_WITH_ERROR_TEXT = frozenset(
    {EventType.ACTOR_CRASHED, EventType.ACTOR_RESTARTED, EventType.ACTOR_STOPPED, EventType.ACTOR_ESCALATED}
)
_BARE = Encoded(
    b'{"unstorable":"it could not be encoded","repr":""}', Fidelity.UNSTORABLE, "it could not be encoded"
)


@dataclass(frozen=True, slots=True)
class Unproven(Encoded):
    """A message of ``kind`` that seems exact; whether it rebuilds to an equal one is still to be shown."""

    kind: type = object


class Sealed(NamedTuple):
    """What of a record is encoded and redacted, and the bytes it takes; the rest is a letter's."""

    payload: Encoded
    size: int
    error: str = ""
    headers: Mapping[str, str] | None = None
    fidelity: str = ""
    fidelity_detail: str = ""


BARE = Sealed(_BARE, len(_BARE.json), fidelity=_BARE.fidelity.value, fidelity_detail=_BARE.detail)
"""Says only that there was such a record: the last resort for one that cannot be sealed."""


class Sealing:
    """Knows the registry, the words to redact and the limits of one system."""

    def __init__(self, registry: MessageRegistry, redaction: Redaction | None, limits: PayloadLimits) -> None:
        self._registry = registry
        self._redaction = DEFAULT_REDACTION if redaction is None else redaction
        self._limits = limits

    def seal_payload(self, event_type: str, payload: object) -> Encoded:
        """Encode what an event carries."""
        has_error = event_type in _WITH_ERROR_TEXT
        return self._encode(self._error_texts(payload) if has_error else payload)

    def seal(self, record: Record) -> Sealed:
        """Encode what ``record`` carries; an `Encoded` stays as it is."""
        match record:
            case PersistedEvent():
                payload = self.seal_payload(record.event_type, record.payload)
                return Sealed(payload, len(payload.json))
            case PersistedAudit():
                details = self._encode(record.details)
                return Sealed(details, len(details.json))
            case PersistedDeadLetter():
                payload = self._encode(record.payload)
                return self._seal_letter(record, payload, record.fidelity, record.fidelity_detail)

    def seal_message(self, record: PersistedDeadLetter, message: object) -> Sealed:
        """Wrap ``message`` into its letter and say how faithful that is, as far as it alone tells."""
        payload = encode_message(
            message, registry=self._registry, limits=self._limits, redaction=self._redaction
        )
        if payload.fidelity is not Fidelity.EXACT:
            return self._seal_letter(record, payload, payload.fidelity.value, payload.detail)
        if len(payload.json) > MAX_CHECKED_BYTES:
            detail = f"{NOT_CHECKED}: larger than {MAX_CHECKED_BYTES} bytes"
            return self._seal_letter(record, payload, Fidelity.INEXACT.value, detail)
        unproven = Unproven(payload.json, Fidelity.INEXACT, NOT_CHECKED, type(message))
        return self._seal_letter(record, unproven, unproven.fidelity.value, unproven.detail)

    def prove(self, letter: PersistedDeadLetter) -> PersistedDeadLetter:
        """Return a letter with the proof of what `seal_message` could only suppose."""
        supposed = letter.payload
        if not isinstance(supposed, Unproven):
            return letter
        exact = Encoded(supposed.json, Fidelity.EXACT)
        proven = check_reading(prove_exact(supposed.kind, exact, self._registry))
        return replace(letter, payload=proven, fidelity=proven.fidelity.value, fidelity_detail=proven.detail)

    def _seal_letter(
        self, record: PersistedDeadLetter, payload: Encoded, fidelity: str, detail: str
    ) -> Sealed:
        error = self.redact(record.error) if record.error else ""
        headers = self._headers(record.headers) if record.headers else {}
        size = len(payload.json) + len(error) + sum(len(name) + len(text) for name, text in headers.items())
        return Sealed(payload, size, error, headers, fidelity, detail)

    def _encode(self, value: object) -> Encoded:
        if isinstance(value, Encoded):
            return value
        return encode(value, limits=self._limits, redaction=self._redaction)

    def _error_texts(self, payload: object) -> object:
        if isinstance(payload, str):
            return self.redact(payload)
        if type(payload) is not dict:
            return payload
        return {
            name: {key: self._error_text(text) for key, text in value.items()}
            if type(value) is dict
            else self._error_text(value)
            for name, value in payload.items()
        }

    def _error_text(self, value: object) -> object:
        return self.redact(value) if isinstance(value, str) else value

    def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {
            name: REDACTED_TEXT if self._redaction.is_secret(name) else self._redaction.redact_text(value)
            for name, value in headers.items()
        }

    def redact(self, text: str) -> str:
        """Return ``text``, at most 16 kB of it, without what secrets it gives away."""
        return self._redaction.redact_text(_shortened(text))


def stamped(record: Record, sealed: Sealed, incarnation: str, seq: int, timestamp: float) -> Record:
    """Return ``record`` as it is to be stored."""
    match record:
        case PersistedEvent():
            return PersistedEvent(  # the commonest record, and replace() takes twice as long
                record.system_id,
                record.actor_address,
                record.event_type,
                sealed.payload,
                timestamp,
                incarnation=incarnation,
                seq=seq,
                actor_path=record.actor_path,
                actor_type=record.actor_type,
                message_id=record.message_id,
                cause_id=record.cause_id,
                root_id=record.root_id,
                trace_id=record.trace_id,
                span_id=record.span_id,
                extra=record.extra,
            )
        case PersistedAudit():
            details = None if record.details is None else sealed.payload
            return replace(record, incarnation=incarnation, seq=seq, timestamp=timestamp, details=details)
        case PersistedDeadLetter():
            return replace(
                record,
                incarnation=incarnation,
                seq=seq,
                timestamp=timestamp,
                payload=sealed.payload,
                error=sealed.error,
                headers=sealed.headers or {},
                fidelity=sealed.fidelity,
                fidelity_detail=sealed.fidelity_detail,
            )


def _shortened(text: str) -> str:
    """Keep the beginning and, from a line's start, the end: there a traceback says what was raised."""
    if len(text) <= MAX_ERROR_TEXT:
        return text
    head, tail = text[: MAX_ERROR_TEXT // 4], text[-MAX_ERROR_TEXT * 3 // 4 :]
    tail = tail[tail.find("\n") + 1 :] if "\n" in tail else ""  # half a line could be the value of a secret
    return f"{head}\n… {len(text) - len(head) - len(tail)} characters are left out …\n{tail}"
