"""A project may keep its history in a file: the settings reach that store as they reach the tables."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING

from django.test import override_settings

from django_papyra.conf import get_settings
from django_papyra.runtime import make_backend
from papyra.persistence.models import PersistedEvent, PersistenceRecoveryConfig, PersistenceRecoveryMode
from papyra.persistence.retention import RetentionPolicy

if TYPE_CHECKING:
    from pathlib import Path


async def test_i4_whatever_is_taken_out_lies_in_the_configured_quarantine(tmp_path: Path) -> None:
    file, aside = tmp_path / "history.ndjson", tmp_path / "aside"
    event = PersistedEvent("orders", "orders:1", "ActorStarted", {}, 1.0)
    settings = {"BACKEND": f"ndjson:{file}", "STARTUP": {"quarantine_dir": str(aside)}}
    with override_settings(PAPYRA=settings):
        backend = make_backend(get_settings())
        try:
            for _ in range(3):
                await backend.append([event])
            with file.open("ab") as damaged:
                damaged.write(b"compaction meets this\n")
            await backend.append([event])
            await backend.compact(RetentionPolicy(max_records=1))
            with file.open("ab") as damaged:
                damaged.write(b"recovery meets this\n")
            await backend.append([event])
            await backend.recover(PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR))
            stats = await backend.stats()
        finally:
            await backend.aclose()
    entries = [json.loads(line) for line in (aside / "quarantine.ndjson").read_text().splitlines()]
    kept = [b64decode(entry["bytes"]) for entry in entries]
    assert kept == [b"compaction meets this\n", b"recovery meets this\n"]
    assert stats.quarantine_bytes > 0
    assert not (tmp_path / "history.ndjson.quarantine").exists()
