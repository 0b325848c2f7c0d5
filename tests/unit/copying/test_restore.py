"""What lies in quarantine is listed, and goes back where it is missing; nothing leaves quarantine."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from papyra.cli.proving import restore_outcome
from papyra.exceptions import ConfigurationError, PersistenceError, RecoveryError
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import RecordKind
from papyra.persistence.quarantined import Fate
from papyra.persistence.restoring import ALL, restore, verify
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.faults import Crash, FaultyFs
from papyra.testing.faultybackend import FaultyBackend
from papyra.testing.records import INCARNATION
from tests.unit.files.stores import (
    HEADER,
    QUARANTINE,
    entries_of,
    line,
    named,
    note,
    numbers,
    opened,
    quarantine_of,
    recovered,
)

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.models import Record
    from papyra.persistence.query import Page, RecordQuery
    from papyra.persistence.restoring import RestoreReport, VerifyReport

LOSS = {"incarnation": INCARNATION, "kind": "event", "first": 3, "last": 3, "cause": "damaged"}
NOTE = note(1, LOSS, incarnation="01JDGH5Q7W0000000000000009")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


def set_aside(path: Path, content: bytes) -> str:
    """Put a whole file into quarantine, as recovery in mode quarantine does."""
    quarantine_of(path).mkdir(exist_ok=True)
    name = f"{path.name}.{hashlib.sha256(content).hexdigest()[:16]}"
    (quarantine_of(path) / name).write_bytes(content)
    return name


async def restored(path: Path, *names: str, **how: object) -> RestoreReport:
    async with opened(path) as store:
        return await restore(store, names, **how)  # type: ignore[arg-type]  # as the caller has it


async def verified(path: Path) -> VerifyReport:
    async with opened(path) as store:
        return await verify(store)


async def test_entries_are_listed_with_where_why_when_and_how_they_begin(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + b"rubbish\n" + line(2) + line(2).replace(b"orders:2", b"orders:x"))
    await recovered(path)
    report = await restored(path)
    stored = {entry["sha256"][:12]: entry for entry in entries_of(quarantine_of(path))}
    assert [one.entry.name for one in report.entries] == list(stored)
    for one in report.entries:
        entry = stored[one.entry.name]
        assert (one.entry.reason, one.entry.offset, one.entry.length) == (
            entry["reason"],
            entry["offset"],
            entry["length"],
        )
        assert one.entry.found_at == entry["found_at"]
        assert one.entry.preview == entry["content"][:80]
        assert one.entry.is_intact
    assert report.dry_run


async def test_a_missing_record_goes_back_under_its_identity_and_its_loss_note_stays(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + line(2) + line(4) + NOTE)
    set_aside(path, HEADER + line(1) + line(2) + line(3) + line(4))
    assert await named(path) == []
    listed = await restored(path)
    assert listed.fates == {Fate.PRESENT: 3, Fate.RESTORABLE: 1}
    report = await restored(path, ALL)
    assert (report.restored, report.fates[Fate.RESTORABLE]) == (1, 1)
    assert [seq for seq in await numbers(path) if seq] == [1, 2, 3, 4]
    assert await named(path) == []
    assert b"RecordsLost" in path.read_bytes()
    assert line(3) in path.read_bytes()
    assert report.rescan is not None
    assert not report.rescan.has_anomalies


async def test_restoring_twice_changes_nothing_the_second_time(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + line(2) + line(4) + NOTE)
    name = set_aside(path, HEADER + line(3))
    kept = {entry: entry.read_bytes() for entry in quarantine_of(path).iterdir()}
    await restored(path, name)
    once = path.read_bytes()
    report = await restored(path, name)
    assert report.restored == 0
    assert report.fates == {Fate.PRESENT: 1}
    assert path.read_bytes() == once
    assert {entry: entry.read_bytes() for entry in kept} == kept


async def test_a_compacted_store_gets_nothing_back_that_retention_took(path: Path) -> None:
    path.write_bytes(HEADER + b"".join(line(seq) for seq in range(1, 11)))
    set_aside(path, path.read_bytes() + line(1, incarnation="01JDGH5Q7W0000000000000000"))
    async with opened(path) as store:
        await store.compact(RetentionPolicy(max_records=3))
    report = await restored(path, ALL)
    assert report.restored == 0
    assert report.fates == {Fate.PRESENT: 3, Fate.RETIRED: 8}
    assert await numbers(path) == [8, 9, 10]
    assert await named(path) == []


async def test_an_empty_store_gets_everything_back(path: Path) -> None:
    path.write_bytes(HEADER)
    set_aside(path, HEADER + line(1) + line(2) + b"rubbish\n" + line(1, kind=RecordKind.AUDIT))
    report = await restored(path, ALL)
    assert report.restored == 3
    assert await numbers(path) == [1, 2]
    assert await numbers(path, RecordKind.AUDIT) == [1]


async def test_what_cannot_go_back_is_handed_over_whole(path: Path) -> None:
    mine = line(1, payload="mine")
    path.write_bytes(HEADER + mine + line(2))
    legacy = b'{"kind":"event","system_id":"orders","timestamp":1}\n'
    set_aside(path, legacy)
    set_aside(path, line(1) + b"rubbish\n" + line(2))
    kept: list[bytes] = []
    report = await restored(path, ALL, keep=kept.append)
    assert report.restored == 0
    assert report.fates == {Fate.CONFLICTING: 1, Fate.PRESENT: 1}
    assert sorted(kept) == sorted([legacy, line(1), b"rubbish\n"])
    assert report.exported_bytes == sum(map(len, kept))


async def test_a_dry_run_tells_the_same_and_changes_no_byte(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + line(2) + line(4) + NOTE)
    set_aside(path, line(3))
    before = path.read_bytes()
    report = await restored(path, ALL, dry_run=True)
    assert report.fates == {Fate.RESTORABLE: 1}
    assert path.read_bytes() == before


async def test_a_damaged_store_is_recovered_first(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + b"rubbish\n" + line(2))
    set_aside(path, line(3))
    with pytest.raises(RecoveryError, match="recover it first"):
        await restored(path, ALL)


async def test_a_name_that_is_none_is_refused(path: Path) -> None:
    path.write_bytes(HEADER + line(1))
    with pytest.raises(ConfigurationError, match="nothing in quarantine is called"):
        await restored(path, "593a8f8705c0")


async def test_killed_in_any_call_restoring_is_done_again_and_nothing_is_lost(path: Path) -> None:
    wide = note(1, {**LOSS, "last": 4}, incarnation="01JDGH5Q7W0000000000000009")
    original = HEADER + line(1) + line(2) + line(5) + wide
    for at in range(80):
        for old in path.parent.iterdir():
            if old.is_file():
                old.unlink()
        path.write_bytes(original)
        set_aside(path, line(3))
        before = sorted(entry.name for entry in quarantine_of(path).iterdir())
        fs = FaultyFs(path.parent)
        fs.crash_at(at)
        store = JsonFilePersistence(path, fs=fs)
        try:
            await restore(store, [ALL])
        except (PersistenceError, Crash):
            assert fs.is_dead
        was_killed = fs.is_dead
        if was_killed:
            fs.abandon()
        try:
            await store.aclose()
        except (PersistenceError, Crash):
            assert was_killed
        assert set(before) <= {entry.name for entry in quarantine_of(path).iterdir()}
        await recovered(path)
        await restored(path, ALL)
        assert await numbers(path) == [1, 2, 3, 5], at
        assert await named(path) == [], at
        if not was_killed:
            assert at > 3
            return
    pytest.fail("it never came to its end")


async def test_altered_bytes_in_quarantine_are_noticed(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + b"rubbish\n" + line(2))
    await recovered(path)
    name = set_aside(path, line(2))
    (quarantine_of(path) / name).write_bytes(line(2)[:-20])
    report = await verified(path)
    assert report.quarantine is not None
    assert report.quarantine.damaged_entries == 1
    assert not report.is_proven


async def test_verify_counts_what_is_there_what_is_lost_and_what_could_go_back(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + line(2) + line(4) + NOTE + line(1, kind=RecordKind.AUDIT))
    set_aside(path, line(3))
    report = await verified(path)
    assert report.is_proven
    assert {kind.value: one.records for kind, one in report.kinds.items()} == {
        "event": 4,
        "audit": 1,
        "dead_letter": 0,
    }
    assert (report.incarnations, report.lost_records, report.unread) == (2, 1, 0)
    assert report.quarantine is not None
    assert report.quarantine.fates == {Fate.RESTORABLE: 1}


async def test_equal_histories_have_equal_fingerprints_in_whatever_order_they_were_stored(
    tmp_path: Path,
) -> None:
    one, other = tmp_path / "one.ndjson", tmp_path / "other.ndjson"
    audit = line(1, kind=RecordKind.AUDIT)
    one.write_bytes(HEADER + line(1) + audit + line(2))
    other.write_bytes(line(1) + line(2) + audit)
    assert (await verified(one)).kinds == (await verified(other)).kinds
    other.write_bytes(line(1) + line(2, payload="other") + audit)
    changed = (await verified(other)).kinds[RecordKind.EVENT]
    assert (await verified(one)).kinds[RecordKind.EVENT].fingerprint != changed.fingerprint


async def test_large_entries_are_read_page_by_page(path: Path) -> None:
    text = "x" * 1000
    path.write_bytes(HEADER)
    set_aside(path, b"".join(line(seq, payload=text) for seq in range(1, 3001)))
    report = await restored(path, ALL)
    assert report.restored == 3000
    assert await named(path) == []


async def test_a_recovery_in_mode_quarantine_leaves_everything_to_be_found(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + b"rubbish\n" + line(2))
    await recovered(path, QUARANTINE)
    report = await restored(path)
    assert {one.entry.reason for one in report.entries} == {"garbage", "set_aside"}
    (whole,) = [one for one in report.entries if one.entry.position is None]
    assert whole.fates == {Fate.PRESENT: 2}
    assert whole.entry.found_at is not None


ALTERED: dict[str, bytes] = {
    "a time that is no number": b'"found_at":NaN',
    "a time without end": b'"found_at":1e400',
    "a time of 400 digits": b'"found_at":' + b"9" * 400,
    "a length without end": b'"length":1e400',
    "a length below nothing": b'"length":-1',
    "a place that is none": b'"offset":true',
    "a file elsewhere": b'"file":"../log.ndjson"',
    "the folder itself": b'"file":".."',
    "a file that was set aside": b'"file":"quarantine.ndjson"',
    "a name of no file": b'"file":"a\\u0000b"',
    "a name too long": b'"file":"' + b"x" * 300 + b'.bin"',
    "a name that drives a terminal": b'"reason":"\\ud800\\u001b[2J"',
}


@pytest.mark.parametrize("altered", [*ALTERED, "brackets without end"])
async def test_i7_an_altered_line_in_quarantine_costs_that_entry_alone(path: Path, altered: str) -> None:
    path.write_bytes(HEADER + line(1))
    quarantine_of(path).mkdir()
    good = b'{"store":"x","offset":0,"length":3,"reason":"garbage","sha256":"%s","bytes":"YWJj"}\n'
    bad = b'{"sha256":"aa","length":3,%s}\n' % ALTERED.get(altered, b"")
    if altered not in ALTERED:
        bad = b"[" * 200_000 + b"\n"
    entries = quarantine_of(path) / "quarantine.ndjson"
    entries.write_bytes(bad + good % hashlib.sha256(b"abc").hexdigest().encode())
    report = await restored(path)
    *others, last = report.entries
    assert (last.entry.preview, last.entry.is_intact) == (b"abc", True)
    assert not any(one.entry.is_intact for one in others)
    outcome = restore_outcome(report, is_list=True, export=None)
    document = json.loads(outcome.to_json(command="restore", store="x", spell=str))
    assert len(document["restore"]["entries"]) == len(report.entries)
    assert "\x1b" not in outcome.to_text(store="x", spell=str)


async def test_a_pipe_where_bytes_should_lie_is_not_waited_for(path: Path) -> None:
    path.write_bytes(HEADER + line(1))
    quarantine_of(path).mkdir()
    digest = hashlib.sha256(b"abc").hexdigest()
    os.mkfifo(quarantine_of(path) / f"{digest}.bin")
    entry = {"sha256": digest, "length": 3, "file": f"{digest}.bin"}
    (quarantine_of(path) / "quarantine.ndjson").write_text(json.dumps(entry) + "\n")
    report = await restored(path)
    assert report.damaged_entries == 1


class HidingBackend(FaultyBackend):
    """Shows all but the first four records of each page."""

    async def read(self, query: RecordQuery) -> Page[Record]:
        page = await super().read(query)
        return replace(page, records=page.records[4:])


@pytest.mark.parametrize(
    "policy", [RetentionPolicy(), RetentionPolicy(audits=RetentionPolicy(max_records=0))]
)
async def test_i3_what_is_counted_and_not_read_is_told(path: Path, policy: RetentionPolicy) -> None:
    path.write_bytes(HEADER + b"".join(line(seq) for seq in range(1, 11)))
    async with JsonFilePersistence(path, policy) as store:
        report = await verify(HidingBackend(store))
    assert (report.unread, report.is_proven) == (4, False)


async def test_what_retention_hides_is_not_taken_for_unread(path: Path) -> None:
    path.write_bytes(HEADER + b"".join(line(seq) for seq in range(1, 11)))
    async with JsonFilePersistence(path, RetentionPolicy(max_records=3)) as store:
        report = await verify(store)
    assert (report.kinds[RecordKind.EVENT].records, report.unread, report.is_proven) == (3, 0, True)
