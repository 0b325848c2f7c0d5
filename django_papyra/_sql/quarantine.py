"""Keep, byte for byte, what leaves a table or never went in."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from django_papyra.mapping import clip
from django_papyra.models import INCARNATION_LENGTH, WORD_LENGTH, QuarantinedRecord
from django_papyra.querysets import instant

if TYPE_CHECKING:
    from collections.abc import Mapping


def keep(  # noqa: PLR0913  # one argument for each column
    alias: str,
    *,
    kind: str,
    incarnation: str,
    seq: int | None,
    row_id: int | None,
    reason: str,
    detail: str,
    content: bytes,
    columns: Mapping[str, object],
    now: float,
) -> bool:
    """Store one quarantined record; false where the same one lies there already."""
    digest = hashlib.sha256(content).hexdigest()
    incarnation = clip(incarnation, INCARNATION_LENGTH)
    known = QuarantinedRecord.objects.using(alias).filter(
        kind=kind, incarnation=incarnation, seq=seq, row_id=row_id, sha256=digest
    )
    if known.exists():
        return False
    QuarantinedRecord.objects.using(alias).create(
        kind=kind,
        incarnation=incarnation,
        seq=seq,
        row_id=row_id,
        reason=clip(reason, WORD_LENGTH),
        detail=clip(detail, len(detail)),
        found_at=instant(now),
        size=len(content),
        sha256=digest,
        content=content,
        columns=json.dumps(dict(columns), default=repr),
    )
    return True
