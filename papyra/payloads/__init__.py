"""What users send, to JSON and back: tagging walk, allow-list, redaction, fidelity. No IO, clock or log."""

from __future__ import annotations

from papyra.payloads.decoding import decode
from papyra.payloads.encoding import encode, flat_copy
from papyra.payloads.fidelity import DEFAULT_LIMITS, Encoded, Fidelity, PayloadLimits
from papyra.payloads.messages import check_fidelity, check_reading, encode_message, prove_exact, restored
from papyra.payloads.names import message, message_name
from papyra.payloads.redaction import DEFAULT_REDACTION, DEFAULT_WORDS, Redaction
from papyra.payloads.registry import MessageRegistry
from papyra.payloads.shapes import KnownType
from papyra.payloads.values import REDACTED_TEXT, Foreign, Redacted, Unstorable

__all__ = [
    "DEFAULT_LIMITS",
    "DEFAULT_REDACTION",
    "DEFAULT_WORDS",
    "REDACTED_TEXT",
    "Encoded",
    "Fidelity",
    "Foreign",
    "KnownType",
    "MessageRegistry",
    "PayloadLimits",
    "Redacted",
    "Redaction",
    "Unstorable",
    "check_fidelity",
    "check_reading",
    "decode",
    "encode",
    "encode_message",
    "flat_copy",
    "message",
    "message_name",
    "prove_exact",
    "restored",
]
