"""Write a golden store with the papyra that is installed: `python golden.py FOLDER`, once for each format.

Runs under the published papyra 0.3 as well as under this one; what it wrote is never written again.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import decimal
import json
import math
import sys
import uuid
from dataclasses import fields
from pathlib import Path
from typing import Any

import papyra
from papyra.persistence.models import PersistedAudit, PersistedDeadLetter, PersistedEvent

TEXTS = ["größer \u2028 als 中", '\x00\x7f\\"', "a\nb", ""]
INCARNATION = "01JDGH5Q7W0000000000000001"
IS_PUBLISHED = "incarnation" not in {field.name for field in fields(PersistedEvent)}


def plain_records() -> list[Any]:
    """Return what both packages can write: legacy lines of each kind."""
    made: list[Any] = []
    for number in range(1, 13):
        time = 1837.5 + number
        payload = {"number": number, "text": TEXTS[number % 4], "nested": [1, 2.5, None, True, {"deep": {}}]}
        made += [
            PersistedEvent("local", f"local:{number}", "ActorStarted", payload, time),
            PersistedDeadLetter("local", f"local:{number}", "str", TEXTS[number % 4], time + 0.25),
            PersistedAudit("local", time + 0.5, number, number, 0, 0, number, ("local:7",), (), number),
        ]
    return made


def our_records() -> list[Any]:
    """Return records with identities, every field and every tagged value, in the order they are stored."""
    from papyra.testing.records import full_records  # noqa: PLC0415  # the published package has none

    values: list[Any] = [
        *(math.nan, math.inf, -math.inf, 2**70, "\udcff", b"\x00\xff", 1 + 2j, decimal.Decimal("1.10")),
        *(uuid.UUID(int=7), dt.timedelta(days=-1, microseconds=3), dt.date(2026, 3, 29), (1, (2,)), {3, 4}),
        *(frozenset("a"), {1: "int key", None: ()}, {"$": "x", "$$": "y"}, dt.time(2, 30, fold=1)),
        dt.datetime(2026, 3, 29, 2, 30, tzinfo=dt.UTC),
    ]
    made: list[Any] = [
        PersistedEvent(
            "orders",
            "orders:7",
            "Golden",
            {"value": value},
            1_750_000_000.0 + seq,
            incarnation=INCARNATION,
            seq=seq,
        )
        for seq, value in enumerate(values, start=1)
    ]
    counts = dict.fromkeys(["event", "audit", "dead_letter"], 0)
    counts["event"] = len(made)
    for record in full_records():
        counts[record.kind] += 1
        made.append(
            type(record)(**{**values_of(record), "incarnation": INCARNATION, "seq": counts[record.kind]})
        )
    return made


def values_of(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def expected_of(record: Any) -> dict[str, Any]:
    """Return what has to be read: each field as text, so that a field that is new since changes nothing."""
    return {"is": type(record).__name__, **{name: repr(value) for name, value in values_of(record).items()}}


async def write(folder: Path) -> None:
    from papyra.persistence.json import JsonFilePersistence  # noqa: PLC0415  # of whichever is installed

    (folder / "json").mkdir(parents=True)
    written = plain_records() if IS_PUBLISHED else our_records()
    stores: list[Any] = [JsonFilePersistence(folder / "json" / "log.ndjson")]
    if IS_PUBLISHED:
        from papyra.persistence.backends import rotating  # type: ignore[attr-defined,unused-ignore]  # noqa: PLC0415

        (folder / "rotating").mkdir()
        path = folder / "rotating" / "log.ndjson"
        stores.append(rotating.RotatingFilePersistence(path, max_bytes=2_000, max_files=5))
    for store in stores:
        for record in written:
            await {
                "PersistedEvent": store.record_event,
                "PersistedAudit": store.record_audit,
                "PersistedDeadLetter": store.record_dead_letter,
            }[type(record).__name__](record)
        await store.aclose()
    text = json.dumps([expected_of(record) for record in written], indent=1)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")
    for lock in folder.rglob("*.lock"):
        lock.unlink()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if target.exists():
        sys.exit(f"{target} is there: what was once written is never written again")
    asyncio.run(write(target))
    sys.stdout.write(f"{target}: written by papyra {getattr(papyra, '__version__', '')}\n")
