"""What a file does at best: the bare loops that the figures of the file store stand beside."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec

from benchmarks.meter import Meter, expect, percentile
from benchmarks.stores import folder, made

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.meter import Figures

LINE = b'{"seq":1042,"kind":"event",' + b"x" * 340 + b',"crc":"19c773f0"}\n'
CHUNK = 256 * 1024
FEW = 50


def durable_many(lines: int) -> Figures:
    """Write and fdatasync 64 lines at a time."""
    return _durable(lines, 64)


def durable_one(lines: int) -> Figures:
    """Write and fdatasync each line."""
    return _durable(lines, 1)


def _durable(lines: int, each: int) -> Figures:
    block, took = LINE * each, []
    with folder() as place:
        file = os.open(place / "floor.ndjson", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        with Meter() as meter:
            for _ in range(lines // each):
                began = time.perf_counter()
                os.write(file, block)
                os.fdatasync(file)
                took.append(time.perf_counter() - began)
        os.close(file)
    return {**meter.rates(lines), "p99 ms": percentile(took, 99) * 1000}


def checksums(records: int) -> Figures:
    """Read a store's file in chunks, cut it into lines, and compute and compare the checksum of each."""
    path, seen = made(records), 0
    file, at, held = os.open(path, os.O_RDONLY), 0, b""
    with Meter() as meter:
        while chunk := os.pread(file, CHUNK, at):
            at += len(chunk)
            lines = chunk.split(b"\n")
            lines[0] = held + lines[0]
            held = lines.pop()
            for line in lines:
                if b"%08x" % crc32(line[:-18]) != line[-10:-2]:
                    raise SystemExit(f"{path} is damaged")
            seen += len(lines)
    os.close(file)
    expect(seen, records + 1)
    return meter.rates(records)


def last_lines(records: int) -> Figures:
    """Read the file's last 64 KiB and decode its last 50 lines, again and again."""
    path, took = made(records), []
    file = os.open(path, os.O_RDONLY)
    for _ in range(300):
        began = time.perf_counter()
        size = os.fstat(file).st_size
        lines = os.pread(file, size, max(size - 64 * 1024, 0)).split(b"\n")
        found = [msgspec.json.decode(line) for line in lines[-FEW - 1 : -1]]
        took.append(time.perf_counter() - began)
        expect(len(found), min(FEW, records))
    os.close(file)
    return {"p50 ms": percentile(took, 50) * 1000, "p99 ms": percentile(took, 99) * 1000}


def copy(records: int) -> Figures:
    """Copy a store's file and sync the copy."""
    path = made(records)
    with folder() as place:
        with Meter() as meter:
            shutil.copyfile(path, place / "copy")
            with (place / "copy").open("rb") as file:
                os.fsync(file.fileno())
        return meter.rates(path.stat().st_size)


MEASURES: Mapping[str, object] = {
    function.__name__: function for function in (durable_many, durable_one, checksums, last_lines, copy)
}
