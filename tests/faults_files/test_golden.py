"""F17: what any earlier version wrote is read as it was meant, and today's lines are those of then."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from papyra.persistence import codec
from tests.faults_files.golden import expected_of
from tests.faults_files.works import everything as everything_in
from tests.faults_files.works import open_segments
from tests.unit.files.stores import QUICK, REPAIR, everything, fresh, named, opened

if TYPE_CHECKING:
    from papyra.persistence.models import Record

GOLDEN = Path(__file__).parents[1] / "trials" / "golden"
FILES = sorted(GOLDEN.glob("*/*/log.ndjson*"))
STORES = sorted(GOLDEN.glob("*/json"))
SETS = sorted(GOLDEN.glob("*/rotating"))


def expected(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder.parent / "expected.json").read_text(encoding="utf-8"))
    return found


def agrees(record: Record, meant: dict[str, Any]) -> bool:
    """Whether every field that was written then reads so now; what a format did not have has its default."""
    known = expected_of(record)
    has_identity = "incarnation" in meant
    assert has_identity or not record.seq
    return {name: known[name] for name in meant} == meant


async def read(path: Path) -> list[Record]:
    async with opened(path) as store:
        return [record for records in (await everything(store)).values() for record in records]


def by_kind(meant: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ["PersistedEvent", "PersistedAudit", "PersistedDeadLetter"]
    return sorted(meant, key=lambda one: names.index(one["is"]))


def test_there_is_a_golden_store_of_this_format_and_of_the_published_package() -> None:
    assert f"format-{codec.FORMAT}" in {folder.parent.name for folder in STORES}
    assert "published-0.3.0" in {folder.parent.name for folder in STORES}
    assert SETS


@pytest.mark.parametrize("folder", STORES, ids=lambda folder: folder.parent.name)
async def test_f17_every_record_of_a_golden_store_reads_as_it_was_meant(folder: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(folder / "log.ndjson", tmp_path))
    before = path.read_bytes()
    found, meant = await read(path), by_kind(expected(folder))
    assert [record for record, one in zip(found, meant, strict=True) if not agrees(record, one)] == []
    assert await named(path) == []
    async with opened(path) as store:
        await store.append([fresh(1)])
        await store.recover(REPAIR)
    assert path.read_bytes().startswith(before)
    assert len(await read(path)) == len(meant) + 1


@pytest.mark.parametrize("path", FILES, ids=lambda path: "/".join(path.parts[-3:]))
async def test_f17_every_single_file_of_a_golden_store_is_clean_and_stays_as_it_is(
    path: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(path, tmp_path / "log.ndjson"))
    lines = len(path.read_bytes().splitlines())
    is_ours = path.read_bytes().startswith(codec.FRAME_HEAD)
    assert len(await read(copy)) == lines - is_ours
    assert await named(copy) == []
    assert copy.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("folder", SETS, ids=lambda folder: folder.parent.name)
async def test_f17_a_golden_set_of_rotated_files_is_read_whole(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "set")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    meant = by_kind(expected(folder))
    for _ in range(2):
        store = open_segments(tmp_path / "set", name="log.ndjson", fs=QUICK)
        found = [record for record in await everything_in(store) if record.incarnation == ""]
        assert [record for record, one in zip(found, meant, strict=True) if not agrees(record, one)] == []
        assert (await store.scan()).anomalies == ()
        await store.append([fresh(1)])
        await store.aclose()
    assert {name: (tmp_path / "set" / name).read_bytes() for name in before} == before


async def test_f17_what_is_written_today_is_to_the_byte_what_was_written_then(tmp_path: Path) -> None:
    golden = GOLDEN / f"format-{codec.FORMAT}" / "json" / "log.ndjson"
    header, *lines = golden.read_bytes().splitlines(keepends=True)
    assert codec.decode_header(header[:-1]).format == codec.FORMAT
    records = [codec.decode_record(line[:-1]) for line in lines]
    path = tmp_path / "log.ndjson"
    async with opened(path) as store:
        await store.append([record for record in records if record is not None])
    assert path.read_bytes().splitlines(keepends=True)[1:] == lines


def test_the_golden_store_of_this_format_has_every_field_of_every_kind() -> None:
    golden = expected(GOLDEN / f"format-{codec.FORMAT}" / "json")
    for cls in codec.KINDS:
        full = [one for one in golden if one["is"] == cls.__name__][-1]
        needed = [field.name for field in fields(cls) if field.default is field.default_factory]
        defaults = expected_of(cls(**dict.fromkeys(needed, "")))
        same = [name for name in full if full[name] == defaults[name] and name != "is"]
        assert same == [], f"{cls.__name__}: make a golden store that has them"
