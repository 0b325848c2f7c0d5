"""What was lost of a set of segments goes back into it: a record of a sealed segment, and a whole segment."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from papyra.persistence.models import Severity
from papyra.persistence.quarantined import Fate
from papyra.persistence.restoring import ALL, restore, verify
from tests.unit.files.sets import filled, opened, recovered, scanned, seqs_in
from tests.unit.files.stores import QUARANTINE, REPAIR, quarantine_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def set_aside(path: Path, segment: Path, content: bytes) -> None:
    quarantine_of(path).mkdir(exist_ok=True)
    digest = hashlib.sha256(content).hexdigest()[:16]
    (quarantine_of(path) / f"{segment.name}.{digest}").write_bytes(content)


async def is_whole_again(path: Path, back: int, *, is_shared: bool = False) -> None:
    async with opened(path, shared=is_shared) as store:
        report = await restore(store, [ALL])
        assert (report.restored, report.refused, report.damaged_entries) == (back, 0, 0)
        assert report.rescan is not None
        assert not report.rescan.has_anomalies
        assert (await verify(store)).is_proven
        assert sorted(await seqs_in(store)) == list(range(1, 21))
        again = await restore(store, [ALL])
    assert again.restored == 0
    assert set(again.fates) == {Fate.PRESENT}


@pytest.mark.parametrize("is_shared", [False, True])
async def test_a_record_of_a_sealed_segment_goes_back(path: Path, *, is_shared: bool) -> None:
    await filled(path, shared=is_shared)
    segment = sorted(path.glob("event*.ndjson"))[1]
    original = segment.read_bytes()
    lost = original.splitlines(keepends=True)[2]
    segment.write_bytes(original.replace(lost, lost.replace(b"orders:", b"ordErs:", 1)))
    report = await recovered(path, QUARANTINE, shared=is_shared)
    assert len(report.losses) == 1
    set_aside(path, segment, original)
    async with opened(path, shared=is_shared) as store:
        listed = await restore(store)
    assert listed.fates[Fate.RESTORABLE] == 1
    await is_whole_again(path, 1, is_shared=is_shared)


async def test_a_segment_that_was_gone_goes_back(path: Path) -> None:
    segment = (await filled(path))[1]
    original = segment.read_bytes()
    segment.unlink()
    assert (await scanned(path)).has_damage
    report = await recovered(path, REPAIR)
    lost = sum(note.last - note.first + 1 for note in report.losses)
    assert lost > 1
    assert Severity.DAMAGE not in {one.severity for one in report.left}
    set_aside(path, segment, original)
    await is_whole_again(path, lost)
