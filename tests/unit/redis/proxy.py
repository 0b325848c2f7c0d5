"""A door in front of a server that loses replies when it is told to."""

from __future__ import annotations

import socket
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.redis.conftest import Server


class Proxy:
    """Passes bytes on; the next replies it was told to drop end their connection instead."""

    def __init__(self, behind: str) -> None:
        self._behind = behind
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self.drop_after: bytes | None = None
        self.skip = self.times = 0
        self._open: list[socket.socket] = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._behind)
            self._open += [client, server]
            threading.Thread(target=self._serve, args=(client, server), daemon=True).start()

    def _serve(self, client: socket.socket, server: socket.socket) -> None:
        is_marked = threading.Event()

        def answer() -> None:
            while data := _received(server):
                if is_marked.is_set():
                    break
                client.sendall(data)
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=answer, daemon=True).start()
        while data := _received(client):
            if self.drop_after is not None and self.drop_after in data and self.times:
                if self.skip:
                    self.skip -= 1
                else:
                    self.times -= 1
                    is_marked.set()
            server.sendall(data)
        server.close()

    def close(self) -> None:
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(1 << 20)
    except OSError:
        return b""


@contextmanager
def proxied(server: Server) -> Iterator[Proxy]:
    proxy = Proxy(str(server.folder / "socket"))
    try:
        yield proxy
    finally:
        proxy.close()
