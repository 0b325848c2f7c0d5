"""Redis's protocol, as far as telling where one message ends and the next begins."""

from __future__ import annotations

_STRINGS = b"$!="
_LISTS = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2}
PUSH = b">"


class Messages:
    """Cuts a stream of bytes, as it arrives, into whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._at = 0
        self._open: list[int] = []
        """How many elements each list around the place has left."""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the messages that ``data`` completes."""
        self._buffer += data
        whole = []
        while self._step():
            while self._open and self._open[-1] == 0:
                self._open.pop()
            if not self._open:
                whole.append(bytes(self._buffer[: self._at]))
                del self._buffer[: self._at]
                self._at = 0
        return whole

    def _step(self) -> bool:
        """Go past one element, or into one; False where it is not there yet."""
        line_end = self._buffer.find(b"\r\n", self._at)
        if line_end < 0:
            return False
        mark, end, inside = self._buffer[self._at], line_end + 2, 0
        if mark in _STRINGS and (length := int(self._buffer[self._at + 1 : line_end])) >= 0:
            end += length + 2
            if end > len(self._buffer):
                return False
        elif mark in _LISTS:
            inside = max(0, int(self._buffer[self._at + 1 : line_end])) * _LISTS[mark]
        if self._open:
            self._open[-1] -= 1
        self._open.append(inside)
        self._at = end
        return True


def command_of(request: bytes) -> str:
    """Return the name in a request, which a client sends as a list of strings."""
    return request.split(b"\r\n", 3)[2].decode().upper()
