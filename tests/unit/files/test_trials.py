from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from papyra.exceptions import NewerFormatError
from papyra.persistence.models import RecordKind, ScanDepth
from tests.unit.files.stores import (
    QUARANTINE,
    REPAIR,
    entries_of,
    everything,
    fresh,
    named,
    numbers,
    opened,
    quarantine_of,
    recovered,
    without,
)

TRIALS = Path(__file__).parents[2] / "trials" / "line-format"
EXPECTED = json.loads((TRIALS / "expected.json").read_text(encoding="utf-8"))
COUNTED = {"events": RecordKind.EVENT, "audits": RecordKind.AUDIT, "dead_letters": RecordKind.DEAD_LETTER}
REPAIRABLE = [name for name in EXPECTED if name != "newer-format.ndjson"]
REORDERED = "out-of-order.ndjson"


@pytest.fixture(params=sorted(EXPECTED))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(name: str, tmp_path: Path) -> Path:
    return Path(shutil.copy(TRIALS / name, tmp_path / name))


async def counts(path: Path) -> dict[str, int]:
    async with opened(path) as store:
        found = await everything(store)
    return {word: len(found[kind]) for word, kind in COUNTED.items()}


def test_every_trial_is_expected_and_every_expectation_has_a_trial() -> None:
    assert sorted(EXPECTED) == sorted(path.name for path in TRIALS.glob("*.ndjson"))


async def test_a_reader_gives_back_what_is_sound(path: Path, name: str) -> None:
    assert await counts(path) == EXPECTED[name]["read"]


@pytest.mark.parametrize("depth", ScanDepth)
async def test_i3_a_scan_names_each_anomaly_and_nothing_else(path: Path, name: str, depth: ScanDepth) -> None:
    assert await named(path, depth) == sorted(EXPECTED[name]["anomalies"])


async def test_reading_and_scanning_change_nothing(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes(), path.stat().st_mtime_ns, tmp_path.stat().st_mtime_ns
    await counts(path)
    await named(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns, tmp_path.stat().st_mtime_ns) == before


@pytest.mark.parametrize("name", REPAIRABLE, indirect=True)
@pytest.mark.parametrize("depth", ScanDepth)
async def test_i6_a_repaired_file_scans_clean_and_repairing_it_again_changes_nothing(
    path: Path, name: str, depth: ScanDepth
) -> None:
    async with opened(path) as store:
        await store.recover(REPAIR, depth=depth)
    assert await named(path) == []
    assert await counts(path) == EXPECTED[name]["after_repair"]
    once = path.read_bytes()
    assert once.count(b'"RecoveryRun"') == bool(EXPECTED[name]["anomalies"])
    report = await recovered(path)
    assert not report.scan.has_anomalies
    assert path.read_bytes() == once


@pytest.mark.parametrize("name", REPAIRABLE, indirect=True)
async def test_i4_what_a_repair_takes_out_lies_in_quarantine(path: Path, name: str) -> None:
    original = path.read_bytes()
    report = await recovered(path)
    entries = entries_of(quarantine_of(path))
    kept = without(original, entries)
    assert report.quarantined_bytes == sum(entry["length"] for entry in entries)
    if name == REORDERED:
        assert sorted(path.read_bytes().splitlines()[:-1]) == sorted(kept.splitlines())
    else:
        assert path.read_bytes().startswith(kept)


@pytest.mark.parametrize("name", REPAIRABLE, indirect=True)
async def test_quarantine_sets_the_damaged_original_aside_whole(path: Path, name: str) -> None:
    original = path.read_bytes()
    report = await recovered(path, QUARANTINE)
    changes_bytes = EXPECTED[name]["anomalies"] not in ([], ["missing_records"])
    assert [Path(kept).read_bytes() for kept in report.quarantined_files] == [original] * changes_bytes
    assert await named(path) == []
    assert await counts(path) == EXPECTED[name]["after_repair"]


@pytest.mark.parametrize("name", REPAIRABLE, indirect=True)
async def test_i1_an_append_after_opening_survives_and_changes_no_byte_before_it(
    path: Path, name: str
) -> None:
    original = path.read_bytes()
    async with opened(path) as store:
        await store.append([fresh(1)])
    assert path.read_bytes().startswith(original)
    assert (await counts(path))["events"] == EXPECTED[name]["read"]["events"] + 1
    await recovered(path)
    assert await named(path) == []
    assert (await counts(path))["events"] == EXPECTED[name]["after_repair"]["events"] + 1


async def test_a_newer_format_is_never_touched(tmp_path: Path) -> None:
    path = Path(shutil.copy(TRIALS / "newer-format.ndjson", tmp_path))
    original = path.read_bytes()
    async with opened(path) as store:
        with pytest.raises(NewerFormatError, match="format 99"):
            await store.append([fresh(1)])
        with pytest.raises(NewerFormatError, match="upgrade papyra"):
            await store.recover(REPAIR)
        with pytest.raises(NewerFormatError):
            await store.compact()
    assert path.read_bytes() == original
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert await named(path) == ["newer_format"]


async def test_out_of_order_records_are_read_as_they_stand_and_put_in_order_by_a_repair(
    tmp_path: Path,
) -> None:
    path = Path(shutil.copy(TRIALS / REORDERED, tmp_path))
    assert await numbers(path) == [1, 3, 2, 4]
    await recovered(path)
    assert await numbers(path) == [1, 2, 3, 4]
