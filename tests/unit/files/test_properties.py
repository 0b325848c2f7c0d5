from __future__ import annotations

import base64
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from papyra.persistence.models import RecordKind, ScanDepth
from tests.unit.files.stores import (
    HEADER,
    QUARANTINE,
    REPAIR,
    everything,
    fresh,
    line,
    named,
    opened,
    quarantine_of,
    recovered,
)

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.models import Record

LIVES = ("01JDGH5Q7W0000000000000001", "01JDGH5Q7W0000000000000002")
LEGACY = b'{"kind":"event","system_id":"local","payload":{"b":2, "a":1.50},"timestamp":1837.5}'
HISTORY = [HEADER] + [
    line(seq, kind=kind, incarnation=life) for life in LIVES for seq in range(1, 5) for kind in RecordKind
]
NOISE = st.one_of(
    st.binary(max_size=40),
    st.integers(1, 600).map(lambda count: b"\0" * count),
    st.sampled_from(
        [
            b"\n",
            b"\r",
            b"\r\n",
            b"\n\n",
            b" ",
            b"{",
            b"}",
            b'"',
            b'{"seq":',
            b',"crc":"',
            LEGACY,
            b"\xef\xbb\xbf",
        ]
    ),
    st.sampled_from(HISTORY),
    st.sampled_from(HISTORY).map(lambda text: text[:40]),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "over", "cut", "double", "swap"]),
        st.integers(0, 10**6),
        st.integers(0, 300),
        NOISE,
    ),
    min_size=1,
    max_size=4,
)


def damage(original: bytes, steps: list[tuple[str, int, int, bytes]]) -> bytes:
    """Do to a file what disks, editors and half-written programs do."""
    text = original
    for what, where, length, noise in steps:
        at = where % (len(text) + 1)
        match what:
            case "put":
                text = text[:at] + noise + text[at:]
            case "over":
                text = text[:at] + noise + text[at + len(noise) :]
            case "cut":
                text = text[:at] + text[at + length :]
            case "double":
                text = text[: at + length] + text[at : at + length] + text[at + length :]
            case _:
                lines = text.splitlines(keepends=True)
                if lines:
                    here, there = at % len(lines), length % len(lines)
                    lines[here], lines[there] = lines[there], lines[here]
                text = b"".join(lines)
    return text


def identities(found: dict[str, list[Record]]) -> Counter[tuple[str, str, int]]:
    return Counter(
        (record.incarnation, kind, record.seq) for kind, records in found.items() for record in records
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


def clear(path: Path) -> None:
    for entry in quarantine_of(path).glob("*"):
        entry.unlink()


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, config=st.sampled_from([REPAIR, QUARANTINE]), depth=st.sampled_from(ScanDepth))
async def test_i6_whatever_happened_a_recovery_is_clean_and_keeps_every_record_that_is_whole(
    path: Path, steps: list[tuple[str, int, int, bytes]], config: object, depth: ScanDepth
) -> None:
    original = b"".join(HISTORY)
    damaged = damage(original, steps)
    path.write_bytes(damaged)
    clear(path)
    async with opened(path) as store:
        before = await everything(store)
        report = await store.scan()
        await store.recover(config, depth=depth)  # type: ignore[arg-type]
        assert not (await store.scan()).has_anomalies
        after = await everything(store)
    assert identities(before) == identities(after)
    assert all(count == 1 for (life, _, _), count in identities(after).items() if life)
    whole = {text[:-1] for text in HISTORY[1:] if text[:-1] in damaged}
    kept = path.read_bytes()
    assert all(text in kept for text in whole)
    assert sum(1 for life, _, _ in identities(after) if life) == len(whole)
    if damaged != original and not report.has_anomalies:
        assert lost_nothing_visible(damaged)
    await appends_survive(path, sum(identities(after).values()))


def lost_nothing_visible(damaged: bytes) -> bool:
    """Whole lines went from an end of each stream, which looks like retention or like a shorter life."""
    return all(text in {*HISTORY, LEGACY + b"\n"} for text in damaged.splitlines(keepends=True))


async def appends_survive(path: Path, before: int) -> None:
    async with opened(path) as store:
        await store.append([fresh(1), fresh(2)])
    assert await named(path) == []
    async with opened(path) as store:
        assert sum(map(len, (await everything(store)).values())) == before + 2


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_i4_every_byte_is_in_the_store_or_in_quarantine(
    path: Path, steps: list[tuple[str, int, int, bytes]]
) -> None:
    damaged = damage(b"".join(HISTORY), steps)
    path.write_bytes(damaged)
    clear(path)
    await recovered(path)
    everywhere = Counter(path.read_bytes())
    entries = quarantine_of(path) / "quarantine.ndjson"
    for text in entries.read_bytes().splitlines() if entries.exists() else []:
        everywhere += Counter(base64.b64decode(json.loads(text)["bytes"]))
    assert not Counter(damaged) - everywhere


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, records=st.integers(1, 3))
async def test_i5_an_append_after_damage_survives_without_any_recovery(
    path: Path, steps: list[tuple[str, int, int, bytes]], records: int
) -> None:
    path.write_bytes(damage(b"".join(HISTORY), steps))
    async with opened(path) as store:
        before = sum(map(len, (await everything(store)).values()))
        await store.append([fresh(number) for number in range(records)])
    async with opened(path) as store:
        assert sum(map(len, (await everything(store)).values())) == before + records
