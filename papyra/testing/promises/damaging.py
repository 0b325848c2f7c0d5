"""I2 to I7 for stores of files: whatever happens to the bytes, no record is altered and each loss is told."""

from __future__ import annotations

import base64
import json
import os
import random
import zlib
from abc import ABC, abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from papyra.exceptions import NewerFormatError, PersistenceError
from papyra.persistence import codec
from papyra.persistence._files.fs import LOCAL_FS
from papyra.persistence.models import (
    PersistenceAnomalyType,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    RecordKind,
    ScanDepth,
)
from papyra.testing.promises.harness import everything
from papyra.testing.records import INCARNATION, MAKERS, event, letter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence.base import BasePersistence
    from papyra.persistence.models import Record

HISTORY: tuple[Record, ...] = tuple(
    make(number, incarnation=INCARNATION, seq=number) for number in range(1, 6) for make in MAKERS.values()
)
AFTER = event(77, actor_path="/after", incarnation="01JDGH5Q7W000000000000AFTR", seq=1)
REPAIR = PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
QUARANTINE = PersistenceRecoveryConfig(PersistenceRecoveryMode.QUARANTINE)
NOISE = b"\x9cnoise that stands nowhere else \xff\x00\xfe"


class FileHarness(ABC):
    """What a test class brings: where the newest file of the store is, and how to open it."""

    pytestmark: ClassVar[Any] = pytest.mark.asyncio

    history: ClassVar[tuple[Record, ...]] = HISTORY
    """What is stored before the damage, all of it in one file."""

    @abstractmethod
    def file(self) -> Path:
        """Return the newest file, the one that is damaged."""

    def root(self) -> Path:
        """Return the folder that belongs to the test, and all of the store is in."""
        return self.file().parent

    @abstractmethod
    async def open(self, fs: FileSystem = LOCAL_FS) -> BasePersistence:
        """Open the store, without retention, on this file system."""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[BasePersistence]:
        """Open the store for the time of a block."""
        backend = await self.open()
        try:
            yield backend
        finally:
            await backend.aclose()

    async def sound(self) -> bytes:
        """Store `history` and return the bytes of the file."""
        async with self.opened() as backend:
            await backend.append(self.history)
        return self.file().read_bytes()

    def put(self, content: bytes) -> None:
        """Make the store just this file, as after a copy from a broken disk."""
        for path in sorted(self.root().rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        self.file().parent.mkdir(exist_ok=True)
        self.file().write_bytes(content)

    async def stored(self, backend: BasePersistence) -> list[Record]:
        """Return what is read of `history` and `AFTER`, and not what a recovery wrote itself."""
        mine = {INCARNATION, AFTER.incarnation}
        return [
            record
            for kind in RecordKind
            for record in await everything(backend, kind)
            if record.incarnation in mine
        ]

    def _place(self, record: Record) -> int:
        return self.history.index(record) if record in self.history else -1

    def content(self) -> bytes:
        """Return the bytes of all files of the store that are like the newest."""
        newest = self.file()
        return b"".join(path.read_bytes() for path in sorted(newest.parent.glob(f"*{newest.suffix}")))

    def quarantined(self) -> bytes:
        """Return everything that lies in quarantine: as files, or as base64 in entries."""
        found = b""
        for path in self.root().rglob("*"):
            if path.is_file() and path.parent != self.file().parent:
                content = path.read_bytes()
                found += content + b"".join(_decoded(content))
        return found

    async def check_damage(self, damaged: bytes, *, may_lose: int) -> None:
        """Ask everything of a store whose file is ``damaged``."""
        self.put(damaged)
        before = self.file().stat()
        async with self.opened() as backend:
            kept = await self.stored(backend)
            assert set(map(_id, kept)) <= set(map(_id, self.history))
            assert [record for record in self.history if record in kept] == sorted(kept, key=self._place), (
                "altered"
            )
            assert len(self.history) - len(kept) <= may_lose
            found = await backend.scan(ScanDepth.FULL)
            assert found.has_anomalies
            assert all(anomaly.path for anomaly in found.anomalies)
        assert (self.file().read_bytes(), self.file().stat().st_mtime_ns) == (damaged, before.st_mtime_ns)
        async with self.opened() as backend:
            await backend.append([AFTER])
        line = codec.encode_record(AFTER, incarnation=AFTER.incarnation, seq=AFTER.seq)
        lines = self.file().read_bytes().splitlines(keepends=True)
        assert line in lines, "it stands in a line of its own, for readers of lines"
        async with self.opened() as backend:
            assert AFTER in await self.stored(backend), "what follows the damage survives"
            await backend.recover(REPAIR)
            assert (await backend.scan(ScanDepth.FULL)).anomalies == ()
            assert await self.stored(backend) == _in_order([*kept, AFTER])
        after = self.file().read_bytes()
        async with self.opened() as backend:
            assert (await backend.recover(REPAIR)).scan.anomalies == ()
            assert await self.stored(backend) == _in_order([*kept, AFTER])
        assert self.file().read_bytes() == after, "once is enough"


class Damaging(FileHarness):
    """Bytes that are not as they were written."""

    async def test_i2_i3_i7_a_flipped_bit_costs_at_most_its_record_and_is_told(self) -> None:
        sound = await self.sound()
        chosen = random.Random(7)  # noqa: S311  # the same places each time
        for _ in range(60):
            damaged = bytearray(sound)
            place = chosen.randrange(len(sound) - 1)
            damaged[place] ^= 1 << chosen.randrange(8)
            await self.check_damage(bytes(damaged), may_lose=1)

    @pytest.mark.parametrize(
        "fill", [b"\x00", b"\xff", b"\n", b"{", NOISE], ids=["nul", "ff", "newline", "brace", "noise"]
    )
    async def test_i7_an_overwritten_range_costs_at_most_the_records_it_touches(self, fill: bytes) -> None:
        sound = await self.sound()
        chosen = random.Random(8)  # noqa: S311  # the same places each time
        for size in (4, 64, 512):
            for _ in range(4):
                start = chosen.randrange(len(sound) - size - 1)
                damaged = sound[:start] + (fill * size)[:size] + sound[start + size :]
                touched = sound[start : start + size].count(b"\n") + 1
                await self.check_damage(damaged, may_lose=touched)

    async def test_i1_i5_torn_at_any_byte_the_rest_is_whole_and_so_is_what_follows(self) -> None:
        sound = await self.sound()
        start = sound.rindex(b"\n", 0, -1) + 1
        for end in [start + 1, start + 7, *range(start + 20, len(sound), 17), len(sound) - 2, len(sound) - 1]:
            await self.check_damage(sound[:end], may_lose=0 if end == len(sound) - 1 else 1)

    @pytest.mark.parametrize(
        "tail", [bytes(1), bytes(512), bytes(100_000), b"\n\n", NOISE, b'{"seq":', b"{}", b"[1]\n"]
    )
    async def test_a_tail_that_is_no_record_costs_none(self, tail: bytes) -> None:
        await self.check_damage(await self.sound() + tail, may_lose=0)

    async def test_lines_that_went_missing_are_told(self) -> None:
        lines = (await self.sound()).splitlines(keepends=True)
        first = len(lines) - len(self.history)
        for place in (first + 4, first + 7):
            await self.check_damage(b"".join(lines[:place] + lines[place + 1 :]), may_lose=1)

    async def test_lines_that_stand_twice_are_read_once_and_told(self) -> None:
        lines = (await self.sound()).splitlines(keepends=True)
        first = len(lines) - len(self.history)
        for place in (first, first + 5, len(lines) - 1):
            await self.check_damage(b"".join([*lines[: place + 1], *lines[place:]]), may_lose=0)
            await self.check_damage(b"".join([*lines, lines[place]]), may_lose=0)

    async def test_what_an_editor_does_to_lines_costs_none(self) -> None:
        sound = await self.sound()
        for damaged in (
            sound.replace(b"\n", b"\r\n"),
            sound.replace(b"\n", b"\n\n"),
            b"\xef\xbb\xbf" + sound,
        ):
            await self.check_damage(damaged, may_lose=0)

    @pytest.mark.parametrize(
        "line",
        [
            *(b"\xff\xfe\xfd\n", b"null\n", b'{"kind":5}\n', b"[" * 200_000 + b"\n", b'{"a":1e400}\n'),
            *(b'{"kind":"event","payload":"unframed"}\n', b"x" * 3_000_000 + b"\n", b"\xe2\x82\n"),
        ],
        ids=lambda line: f"{line[:12]!r} {len(line)}",
    )
    async def test_i7_a_line_that_is_no_record_costs_no_other(self, line: bytes) -> None:
        lines = (await self.sound()).splitlines(keepends=True)
        await self.check_damage(b"".join([*lines[:-3], line, *lines[-3:]]), may_lose=0)

    async def test_i2_a_payload_that_looks_like_a_record_is_never_read_as_one(self) -> None:
        inner = json.loads(codec.encode_record(letter(66), incarnation=INCARNATION, seq=66))
        texts = [json.dumps(inner, separators=(",", ":")), "\n" + json.dumps(inner) + "\n"]
        seq = 1 + max(record.seq for record in self.history)
        forged = event(
            seq,
            incarnation=INCARNATION,
            seq=seq,
            payload=[inner, {"deep": inner}, *texts],
            actor_type=texts[0],
        )
        await self.sound()
        async with self.opened() as backend:
            await backend.append([forged])
        content = self.file().read_bytes()
        start = content.rindex(b"\n", 0, -1) + 1
        for cut in range(start, len(content), 13):
            for damaged in (content[:cut], content[:cut] + b"\n", content[:start] + content[cut:]):
                self.put(damaged)
                async with self.opened() as backend:
                    read = await self.stored(backend)
                    assert {_id(record) for record in read} <= {
                        _id(record) for record in (*self.history, forged)
                    }


class Quarantining(FileHarness):
    """Bytes that are taken out."""

    @pytest.mark.parametrize("config", [REPAIR, QUARANTINE], ids=["repair", "quarantine"])
    @pytest.mark.parametrize("place", [-1, -4, 2])
    async def test_i4_what_is_taken_out_lies_in_quarantine(
        self, place: int, config: PersistenceRecoveryConfig
    ) -> None:
        lines = (await self.sound()).splitlines(keepends=True)
        torn = lines[place][:-30]
        self.put(b"".join([*lines[:place], NOISE + b"\n", torn, b"\n", *lines[place:][1:]]))
        async with self.opened() as backend:
            report = await backend.recover(config)
            assert report.quarantined_bytes > 0
            assert (await backend.scan()).anomalies == ()
        assert NOISE not in self.file().read_bytes()
        kept_aside = self.quarantined()
        assert NOISE in kept_aside
        assert torn in kept_aside

    async def test_ignoring_changes_no_byte(self) -> None:
        lines = (await self.sound()).splitlines(keepends=True)
        damaged = b"".join([*lines[:3], NOISE, *lines[4:]])[:-9]
        self.put(damaged)
        async with self.opened() as backend:
            report = await backend.recover(PersistenceRecoveryConfig(PersistenceRecoveryMode.IGNORE))
            assert report.scan.has_damage
            assert report.left == report.scan.anomalies
        assert self.file().read_bytes() == damaged

    async def test_a_newer_format_is_refused_and_left_alone(self) -> None:
        header = b'{"seq":0,"kind":"header","format":99'
        newer = b'%b,"crc":"%08x"}\n' % (header, zlib.crc32(header)) + b"not for us\n"
        self.put(newer)
        async with self.opened() as backend:
            found = await backend.scan()
            assert {anomaly.type for anomaly in found.anomalies} == {PersistenceAnomalyType.NEWER_FORMAT}
            with pytest.raises(NewerFormatError):
                await backend.append([AFTER])
            with pytest.raises(PersistenceError):
                await backend.recover(REPAIR)
        assert self.file().read_bytes() == newer

    async def test_looking_leaves_every_byte_and_time_alone(self) -> None:
        await self.sound()
        self.file().write_bytes(self.file().read_bytes()[:-20])
        os.utime(self.file(), ns=(1, 1))
        before = {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in self._files()}
        async with self.opened() as backend:
            await self.stored(backend)
            for depth in ScanDepth:
                await backend.scan(depth)
            await backend.stats()
            await backend.compact(dry_run=True)
        assert {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in self._files()} == before

    def _files(self) -> list[Path]:
        return sorted(self.root().rglob("*"))


def _id(record: Record) -> tuple[str, str, int]:
    return record.incarnation, record.kind, record.seq


def _in_order(records: list[Record]) -> list[Record]:
    return [record for kind in RecordKind for record in records if record.kind is kind]


def _decoded(content: bytes) -> Iterator[bytes]:
    for line in content.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        for value in entry.values() if isinstance(entry, dict) else ():
            if isinstance(value, str):
                try:
                    yield base64.b64decode(value, validate=True)
                except ValueError:
                    continue
