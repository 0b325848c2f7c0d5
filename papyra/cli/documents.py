"""Reports and records as plain JSON values; pure."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING

from papyra import payloads

if TYPE_CHECKING:
    from papyra.persistence.models import PersistenceAnomaly, PersistenceScanReport, Record

_TAGGED = frozenset({"payload", "details"})
_SIMPLE = (str, int, float, bool, type(None))


def plain(value: object) -> object:
    """Return ``value`` as plain JSON; a number that JSON has no word for becomes text."""
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [plain(item) for item in value]
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value) if field.name != "_"}
    is_finite = not isinstance(value, float) or math.isfinite(value)
    return value if isinstance(value, _SIMPLE) and is_finite else str(value)


def anomaly_document(anomaly: PersistenceAnomaly) -> dict[str, object]:
    """Return what was found, how bad it is, and where."""
    return {
        "type": anomaly.type.value,
        "severity": anomaly.severity.value,
        "path": anomaly.path,
        "offset": anomaly.offset,
        "length": anomaly.length,
        "detail": anomaly.detail,
    }


def scan_document(report: PersistenceScanReport | None) -> dict[str, object] | None:
    """Return a scan as one object."""
    if report is None:
        return None
    return {
        "backend": report.backend,
        "depth": report.depth.value,
        "checked_records": report.checked_records,
        "checked_bytes": report.checked_bytes,
        "has_anomalies": report.has_anomalies,
        "has_damage": report.has_damage,
        "counts": plain(report.counts),
        "warnings": list(report.warnings),
        "anomalies": [anomaly_document(anomaly) for anomaly in report.anomalies],
    }


def stored_form(value: object) -> object:
    """Return a payload as the file format writes it: what JSON cannot say is tagged, as documented there."""
    text = value.json if isinstance(value, payloads.Encoded) else payloads.encode(value).json
    form: object = json.loads(text)
    return form


def record_document(record: Record) -> dict[str, object]:
    """Return every field of a record; fields of a newer version stand under ``extra``."""
    document: dict[str, object] = {"kind": record.kind.value}
    for field in fields(record):
        if field.name != "_":
            value = getattr(record, field.name)
            document[field.name] = stored_form(value) if field.name in _TAGGED else plain(value)
    return document
