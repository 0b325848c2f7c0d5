"""Store files to measure with: made once, kept in ``.venv/bench/stores``, the same on every run."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import AsyncExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from papyra.persistence import codec
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.models import (
    EventType,
    PersistedAudit,
    PersistedDeadLetter,
    PersistedEvent,
    RecordKind,
)
from papyra.persistence.ready import ReadyEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from papyra.persistence.models import Record

FOLDER = Path(__file__).resolve().parent.parent / ".venv" / "bench" / "stores"
LIFE = "01JDGH5Q7W0000000000000001"
BEGAN = 1_795_000_000.0
SECONDS_EACH = 0.01
WRITERS = 3
_LETTER_EVERY, _AUDIT_EVERY = 500, 2_000
_LINES_EACH_WRITE = 5_000


def one_event(number: int = 1) -> PersistedEvent:
    """Return an event whose line has some 360 bytes."""
    at = BEGAN + number * SECONDS_EACH
    return PersistedEvent("bench", "bench:1", "Measured", {"text": "x" * 150, "n": number}, at)


def ready_event(seq: int, life: str) -> ReadyEvent:
    """Return an event as the recorder hands it over, as long as `one_event`'s."""
    address = "bench:1-" + "x" * 130
    return ReadyEvent(seq, RecordKind.EVENT, life, "bench", BEGAN + seq, address, "Measured")


def _records(count: int) -> Iterator[Record]:
    yield PersistedEvent("bench", "", EventType.SYSTEM_STARTED.value, {}, BEGAN)
    for number in range(1, count - 1):
        at = BEGAN + number * SECONDS_EACH
        if number % _AUDIT_EVERY == 0:
            yield PersistedAudit("bench", at, 10, 10, 0, 0, 10, (), (), 0)
        elif number % _LETTER_EVERY == 0:
            yield PersistedDeadLetter("bench", "bench:1", "bench.Order", {"n": number}, at)
        else:
            yield one_event(number)
    yield PersistedEvent("bench", "", EventType.SYSTEM_STOPPED.value, {}, BEGAN + count * SECONDS_EACH)


def _lines(records: int) -> Iterator[bytes]:
    seqs: dict[str, int] = {}
    yield codec.encode_header(store="5f1c0e6e4d2b4a6f9f0a1b2c3d4e5f60", family="all", segment=1)
    for record in _records(records):
        kind = record.kind.value
        seqs[kind] = seqs.get(kind, 0) + 1
        yield codec.encode_record(record, incarnation=LIFE, seq=seqs[kind])


def made(records: int) -> Path:
    """Return a sound file with so many records, of one life that ended; nothing may write to it."""
    path = FOLDER / f"{records}.ndjson"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        lines = _lines(records)
        with unfinished.open("wb") as file:
            while some := list(islice(lines, _LINES_EACH_WRITE)):
                file.write(b"".join(some))
        unfinished.replace(path)
    return path


async def made_set(records: int, writers: int) -> Path:
    """Return a folder of segments with the same records: of one writer, or of several in turns."""
    path = _set_of(records, writers)
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}")
        async with AsyncExitStack() as stack:
            stores = [
                await stack.enter_async_context(
                    RotatingFilePersistence(unfinished, max_files=None, fsync="os", shared=writers > 1)
                )
                for _ in range(writers)
            ]
            made = _records(records)
            while some := list(islice(made, _LINES_EACH_WRITE)):
                for at, store in enumerate(stores):
                    await store.append(some[at::writers])
        unfinished.replace(path)
    return path


def forget(records: int) -> None:
    """Remove what was made of so many records: gigabytes."""
    (FOLDER / f"{records}.ndjson").unlink(missing_ok=True)
    for writers in (1, WRITERS):
        shutil.rmtree(_set_of(records, writers), ignore_errors=True)


def _set_of(records: int, writers: int) -> Path:
    return FOLDER / f"{records}-of-{writers}.segments"


@contextmanager
def copied(records: int) -> Iterator[Path]:
    """Lend a copy of `made` to write to."""
    with folder() as place:
        path = place / "store.ndjson"
        shutil.copyfile(made(records), path)
        with path.open("rb") as file:
            os.fsync(file.fileno())  # else the first sync that is measured writes the copy out
        yield path


@contextmanager
def folder() -> Iterator[Path]:
    """Lend an empty folder on the disk that holds this checkout."""
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent, prefix=".run-") as place:
        yield Path(place)
