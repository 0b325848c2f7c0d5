"""A thread of a store that is long at work lets others run; how much they wait is for the benchmarks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from papyra.persistence._files import fs, giving_way
from papyra.persistence._files.giving_way import PAUSE_SECONDS, SHARE_SECONDS, give_way
from papyra.persistence.models import RecordKind, ScanDepth
from papyra.persistence.query import RecordQuery
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.records import event
from tests.unit.files import sets
from tests.unit.files.stores import HEADER, QUARANTINE, QuickFs, line, opened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from papyra.persistence.backends.rotating import RotatingFilePersistence
    from papyra.persistence.json import JsonFilePersistence

RECORDS, TEXT = 300, "x" * 10_000
"""Three megabytes."""


class Reads(QuickFs):
    """Counts the bytes that are read with no chance for others between."""

    def __init__(self) -> None:
        self.chances = 0
        self.most = 0
        self._held = 0

    def give_way(self) -> None:
        self.chances += 1
        self._held = 0

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        data = super().pread(fd, length, offset)
        self._held += len(data)
        self.most = max(self.most, self._held)
        return data


async def read_all(store: JsonFilePersistence | RotatingFilePersistence) -> None:
    found = [record async for record in store.iterate(RecordQuery(kind=RecordKind.EVENT))]
    assert len(found) >= RECORDS - 1


async def read_quarantine(store: JsonFilePersistence | RotatingFilePersistence) -> None:
    await store.recover(QUARANTINE)
    entries = [entry async for entry in store.quarantined()]
    assert entries
    for entry in entries:
        assert [page async for page in store.read_quarantined(entry)]


WORKS: dict[str, Callable[[Any], Awaitable[object]]] = {
    "append": lambda store: store.append([event(1)]),
    "scan": lambda store: store.scan(ScanDepth.FULL),
    "read": read_all,
    "stats": lambda store: store.stats(),
    "compact": lambda store: store.compact(RetentionPolicy(max_records=RECORDS // 2)),
    "recover": read_quarantine,
}


@pytest.mark.parametrize("work", WORKS)
async def test_i8_no_work_on_a_file_reads_long_without_a_chance_for_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    path, reads = tmp_path / "log.ndjson", Reads()
    lines = [line(seq, payload={"text": TEXT}) for seq in range(1, RECORDS + 1)]
    lines[RECORDS // 2] = b"{" + TEXT.encode() * 200 + b"\n"
    path.write_bytes(HEADER + b"".join(lines))
    async with opened(path, fs=reads) as store:
        monkeypatch.setattr(fs, "give_way", reads.give_way)
        await WORKS[work](store)
    assert reads.most <= fs.COPY_BYTES
    assert reads.chances > 0


@pytest.mark.parametrize("work", [work for work in WORKS if work != "recover"])
async def test_i8_nor_does_work_on_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    reads = Reads()
    async with sets.opened(tmp_path / "set", max_bytes=200_000) as store:
        for seq in range(1, RECORDS + 1):
            await store.append([event(seq, payload={"text": TEXT})])
    async with sets.opened(tmp_path / "set", max_bytes=200_000, fs=reads) as store:
        monkeypatch.setattr(fs, "give_way", reads.give_way)
        await WORKS[work](store)
    assert reads.most <= fs.COPY_BYTES
    assert reads.chances > 0


def test_a_thread_pauses_once_it_was_at_work_for_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, pauses = 0.0, list[float]()
    monkeypatch.setattr(giving_way, "seconds_at_work", lambda: at_work)
    monkeypatch.setattr(giving_way, "pause", pauses.append)

    def work() -> None:
        nonlocal at_work
        at_work = 100.0
        for _ in range(12):
            give_way()
            at_work += SHARE_SECONDS / 3

    for count in (4, 8):  # each thread has a share of its own
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert pauses == [PAUSE_SECONDS] * count
