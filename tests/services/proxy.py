"""A stretch of network that does harm at the very moment a test names."""

from __future__ import annotations

import socket
import threading
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit, urlunsplit

from tests.services.redisserver import HOST, free_port
from tests.services.resp import PUSH, Messages, command_of

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = 1 << 16
MEETING_SECONDS = 60.0


class Harm(Enum):
    LOSE_REQUEST = auto()
    LOSE_REPLY = auto()
    TEAR_REPLY = auto()
    HOLD_REPLY = auto()


@dataclass(slots=True, eq=False)
class Trouble:
    """What will happen to the next requests that have ``piece``, after ``spared`` of them passed."""

    harm: Harm
    piece: bytes
    spared: int
    left: int
    _met: threading.Event = field(default_factory=threading.Event)
    _released: threading.Event = field(default_factory=threading.Event)

    @property
    def is_met(self) -> bool:
        return self._met.is_set()

    def wait(self) -> None:
        """Return once it happened, for the first time; of a reply it means that the server has executed."""
        assert self._met.wait(MEETING_SECONDS), f"no request had {self.piece!r}"

    def release(self) -> None:
        """Let go what is held."""
        self._released.set()

    def happen(self) -> None:
        self._met.set()

    def hold(self) -> None:
        self._released.wait()


class Proxy:
    """Listens on a port of its own and speaks with the server at ``url``; nobody notices until told to."""

    def __init__(self, url: str) -> None:
        self._server = urlsplit(url)
        self.port = free_port()
        self.requests: Counter[str] = Counter()
        """How many of each command were passed on."""
        self.connections = 0
        """How many were ever accepted."""
        self._delay = 0.0
        self._is_silent = False
        self._troubles: list[Trouble] = []
        self._links: set[_Link] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._acceptor = threading.Thread()
        self.accept()

    @property
    def url(self) -> str:
        """The server's, by way of here."""
        login, at, _ = self._server.netloc.rpartition("@")
        return urlunsplit(self._server._replace(netloc=f"{login}{at}{HOST}:{self.port}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()

    def lose_request(self, piece: bytes, *, spared: int = 0, times: int = 1) -> Trouble:
        """Cut the connection before a request with ``piece`` reaches the server."""
        return self._arm(Trouble(Harm.LOSE_REQUEST, piece, spared, times))

    def lose_reply(self, piece: bytes, *, spared: int = 0, times: int = 1) -> Trouble:
        """Let the server execute a request with ``piece``, and cut the connection in place of its reply."""
        return self._arm(Trouble(Harm.LOSE_REPLY, piece, spared, times))

    def tear_reply(self, piece: bytes, *, spared: int = 0, times: int = 1) -> Trouble:
        """Pass half of the reply to a request with ``piece``, and cut the connection."""
        return self._arm(Trouble(Harm.TEAR_REPLY, piece, spared, times))

    def hold_reply(self, piece: bytes, *, spared: int = 0, times: int = 1) -> Trouble:
        """Keep the reply to a request with ``piece`` until it is released."""
        return self._arm(Trouble(Harm.HOLD_REPLY, piece, spared, times))

    def swallow(self) -> None:
        """Let connections stand and pass nothing, as behind a router that forgot them."""
        self._is_silent = True

    def delay(self, seconds: float) -> None:
        """Pass each reply so much later."""
        self._delay = seconds

    def lead_to(self, url: str) -> None:
        """Speak with another server from now on, as after a failover; connections that stand are cut."""
        self._server = urlsplit(url)
        self.cut()

    def cut(self) -> None:
        """End every connection there is now."""
        with self._lock:
            links = list(self._links)
        for link in links:
            link.cut()

    def refuse(self) -> None:
        """End every connection and accept none."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
            self._acceptor.join()
        self._forget_troubles()
        self.cut()

    def accept(self) -> None:
        """Accept connections, again, at the same port."""
        self._listener = socket.create_server((HOST, self.port))
        self._acceptor = threading.Thread(target=self._accept, args=(self._listener,), daemon=True)
        self._acceptor.start()

    def heal(self) -> None:
        """End all trouble; connections that were swallowed are cut."""
        self._delay = 0.0
        self._forget_troubles()
        if self._is_silent:
            self._is_silent = False
            self.cut()
        if self._listener is None:
            self.accept()

    def _arm(self, trouble: Trouble) -> Trouble:
        with self._lock:
            self._troubles.append(trouble)
        return trouble

    def _forget_troubles(self) -> None:
        with self._lock:
            troubles, self._troubles = self._troubles, []
        for trouble in troubles:
            trouble.release()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            link = _Link(self, client, (HOST, self._server.port or 0))
            with self._lock:
                self._links.add(link)
            link.start()

    def is_silent(self) -> bool:
        return self._is_silent

    def wait_as_told(self) -> None:
        if self._delay:
            threading.Event().wait(self._delay)

    def note(self, request: bytes) -> Trouble | None:
        """Count ``request`` and return the trouble it meets."""
        with self._lock:
            self.requests[command_of(request)] += 1
            for trouble in self._troubles:
                if trouble.left and trouble.piece in request:
                    if trouble.spared:
                        trouble.spared -= 1
                        continue
                    trouble.left -= 1
                    return trouble
        return None

    def lost(self, link: _Link) -> None:
        with self._lock:
            self._links.discard(link)


class _Link:
    """One connection and its other half; a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: tuple[str, int]) -> None:
        self._proxy = proxy
        self._client = client
        self._address = server
        self._server = socket.socket()
        self._awaited: deque[Trouble | None] = deque()

    def start(self) -> None:
        threading.Thread(target=self._run, daemon=True).start()

    def cut(self) -> None:
        for end in (self._client, self._server):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        replies = threading.Thread(
            target=self._pass_on, args=(self._server, self._client, self._reply), daemon=True
        )
        try:
            self._server.connect(self._address)
            for end in (self._client, self._server):  # the messages of a pipeline wait for no answer
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            replies.start()
            self._pass_on(self._client, self._server, self._request)
            replies.join()
        except OSError:
            pass  # the server is not there, which is for the client to see
        finally:
            self._proxy.lost(self)
            self._client.close()
            self._server.close()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, treat: Callable[[bytes], bytes | None]
    ) -> None:
        messages = Messages()
        try:
            while data := source.recv(CHUNK):
                for message in messages.feed(data):
                    passed = treat(message)
                    if self._proxy.is_silent():
                        continue
                    target.sendall(message if passed is None else passed)
                    if passed is not None:
                        return
        except OSError:
            pass  # cut, by whomever
        finally:
            self.cut()

    def _request(self, message: bytes) -> bytes | None:
        """Return ``None`` to pass ``message``, or what to pass in its place before the connection is cut."""
        if self._proxy.is_silent():
            return None
        trouble = self._proxy.note(message)
        if trouble is not None and trouble.harm is Harm.LOSE_REQUEST:
            trouble.happen()
            return b""
        self._awaited.append(trouble)
        return None

    def _reply(self, message: bytes) -> bytes | None:
        self._proxy.wait_as_told()
        trouble = None if message.startswith(PUSH) or not self._awaited else self._awaited.popleft()
        if trouble is None:
            return None
        trouble.happen()
        match trouble.harm:
            case Harm.HOLD_REPLY:
                trouble.hold()
                return None
            case Harm.TEAR_REPLY:
                return message[: len(message) // 2]
            case _:
                return b""
