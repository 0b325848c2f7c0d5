"""One writer for each store: an advisory lock beside the file, with a note for humans about who holds it."""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
from contextlib import suppress
from shlex import quote
from typing import TYPE_CHECKING
from weakref import WeakSet

from papyra.clock import pause
from papyra.exceptions import StoreLockedError
from papyra.node import this_node
from papyra.persistence._files.fs import Access, opened, stat_or_none, write_all

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence._files.fs import FileSystem

_TRIES = 5
_PAUSE_SECONDS = 0.02
_NOTE_BYTES = 8192

_log = logging.getLogger(__name__)
_held: WeakSet[StoreLock] = WeakSet()
_fork_guard = threading.Event()


class StoreLock:
    """``<store>.lock``, held through an open file and never deleted: its end is the end of its process."""

    def __init__(self, fs: FileSystem, store: Path, *, shown: Path | None = None) -> None:
        self._fs = fs
        self._store = shown or store
        self._path = store.with_name(f"{store.name}.lock")
        self._fd: int | None = None
        self._key: tuple[int, int] | None = None
        self._doubtful_from: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def acquire(self) -> int | None:
        """Take the lock; returns from which byte on the last holder left the store in doubt, if it did.

        Raises `StoreLockedError` with the holder's name, ``OSError`` where there can be no lock file.
        """
        if self._fd is not None:
            return None
        while True:  # until it is the file that others will find: somebody may just be removing it
            fd = self._fs.open(self._path, Access.LOCK)
            try:
                is_ours = self._take(fd)
                note = _read_note(self._fs, fd)
                key = self._fs.fstat(fd).key
                is_in_place = self._is_in_place(key)
            except BaseException:
                self._fs.close(fd)
                raise
            if is_ours and is_in_place:
                break
            self._fs.close(fd)
            if is_in_place:
                raise StoreLockedError(self._refusal(note))
        self._fd, self._key = fd, key
        _close_after_fork(self)
        doubtful = note.get("doubtful_from")
        return doubtful if isinstance(doubtful, int) else None

    @property
    def is_lost(self) -> bool:
        """Whether its file was deleted while it is held: others find another one, or none."""
        return self._fd is not None and not self._is_in_place(self._key)

    def regain(self, now: float) -> None:
        """Take a lost lock again, with what it told; raises `StoreLockedError` while somebody else has it."""
        doubtful_from = self._doubtful_from
        lost, self._fd = self._fd, None
        try:
            self.acquire()
        except BaseException:
            self._fd = lost
            raise
        if lost is not None:
            self._fs.close(lost)
        if doubtful_from is not None:  # first: there may be no room for more
            self.doubt(doubtful_from, now)
        self._add(_about_holder(now))
        _log.warning(
            "%s was deleted while it was held, which lets a second writer in; it is held anew", self._path
        )

    def _is_in_place(self, key: tuple[int, int] | None) -> bool:
        found = stat_or_none(self._fs, self._path)
        return found is not None and found.key == key

    def _take(self, fd: int) -> bool:
        for _ in range(_TRIES):  # a scan that asks whether somebody writes holds it for an instant
            if self._fs.lock(fd):
                return True
            pause(_PAUSE_SECONDS)
        return False

    def sign(self, now: float, *, is_beside_writers: bool = False) -> None:
        """Write down who holds the lock, and that nothing is in doubt.

        ``is_beside_writers``: for a while only, and those who have locks of their own may go on writing.
        """
        if self._fd is None:
            return
        self._doubtful_from = None
        with suppress(OSError):
            self._fs.truncate(self._fd, 0)
        self._add(_about_holder(now) | ({"beside_writers": True} if is_beside_writers else {}))

    def _add(self, note: dict[str, object]) -> None:
        """Add a line, behind what is there, which takes no room of a full disk, and may be torn."""
        if self._fd is not None:
            with suppress(OSError):  # no reason to refuse the lock
                start = b"\n" if self._fs.fstat(self._fd).size else b""
                write_all(self._fs, self._fd, start + json.dumps(note).encode() + b"\n")

    def doubt(self, start: int, now: float) -> None:
        """Tell the next holder from which byte on a sync has failed, in a new file where this one is lost."""
        self._doubtful_from = start
        with suppress(OSError, StoreLockedError):  # who holds it by now is told nothing any more
            if self.is_lost:
                self.regain(now)
            elif self._fd is not None:
                self._add({"doubtful_from": start})
                self._fs.sync(self._fd)

    def release(self) -> None:
        """Let the next writer in."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            self._fs.close(fd)

    def is_held_by_anybody(self) -> bool:
        """Whether some writer, this one included, holds the lock now; asks without waiting."""
        if self._fd is not None:
            return True
        with suppress(OSError), opened(self._fs, self._path) as fd:
            return not self._fs.lock(fd, shared=True)
        return False

    def doubtful_from(self) -> int | None:
        """Return from which byte on the last holder left the store in doubt, without taking the lock."""
        with suppress(OSError), opened(self._fs, self._path) as fd:
            doubtful = _read_note(self._fs, fd).get("doubtful_from")
            return doubtful if isinstance(doubtful, int) else None
        return None

    def refuse_exclusive(self) -> None:
        """Raise `StoreLockedError` where somebody holds the lock who lets nobody write beside."""
        note: dict[str, object] = {}
        for _ in range(_TRIES):  # who has just taken it has not signed yet
            if not self.is_held_by_anybody():
                return
            with opened(self._fs, self._path) as fd:
                note = _read_note(self._fs, fd)
            if note.get("beside_writers"):
                return
            pause(_PAUSE_SECONDS)
        raise StoreLockedError(self._refusal(note))

    def remove(self) -> None:
        """Let go of a lock that nobody will ever take again, its file too."""
        with suppress(OSError):
            self._fs.remove(self._path)
        self.release()

    def forget(self) -> None:
        """Close this process's copy of the lock, which its parent goes on holding."""
        if self._fd is not None:
            with suppress(OSError):
                self._fs.close(self._fd)
            self._fd = None

    def _refusal(self, note: dict[str, object]) -> str:
        holder = f"process {note.get('pid', '?')} on {note.get('host', '?')} ({note.get('command', '?')})"
        option = f"--path {quote(str(self._store))}"
        return (
            f"{self._store} is being written by {holder}; stop it first, or use what works meanwhile: "
            f"papyra persistence scan {option}, papyra persistence inspect {option}"
        )


def _about_holder(now: float) -> dict[str, object]:
    node = this_node()
    return {"pid": node.pid, "host": node.host, "command": " ".join(sys.argv)[:500], "since": now}


def _read_note(fs: FileSystem, fd: int) -> dict[str, object]:
    note: dict[str, object] = {}
    with suppress(OSError):
        for line in fs.pread(fd, _NOTE_BYTES, 0).splitlines():
            with suppress(ValueError):
                found = json.loads(line)
                note |= found if isinstance(found, dict) else {}
    return note


def _close_after_fork(lock: StoreLock) -> None:
    _held.add(lock)  # a child that kept its copy would hold the lock beyond its parent's end
    if not _fork_guard.is_set():
        _fork_guard.set()
        os.register_at_fork(after_in_child=_forget_all)


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()
