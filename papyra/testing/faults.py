"""A disk that fails when told to, dies within a call, or loses its power and what it had not synced."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from papyra.persistence._files.fs import Access, LocalFs, write_and_sync

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence._files.fs import FileInfo

CHANGES = frozenset(
    {
        *("create", "open lock", "write", "truncate", "sync", "sync_all", "sync_folder"),
        *("replace", "remove", "make_folder", "copy_access"),
    }
)
"""The calls that change something; `FaultyFs.calls` counts these."""


class Crash(BaseException):
    """The process ended in this call: nothing it would have done afterwards happens, cleanups included."""


class PowerLoss(StrEnum):
    """What a disk without power may show of that which was not synced; what was synced is there in each."""

    ALL_GONE = "all_gone"
    """Neither contents nor names."""
    NAMES_KEPT = "names_kept"
    """Names as they were last, with synced contents only: the empty file behind a rename."""
    CONTENTS_KEPT = "contents_kept"
    """Contents as they were last, under the names that were synced."""
    CONTENTS_TORN = "contents_torn"
    """Names as they were last, and the first half of what was added to a file."""
    CONTENTS_ZEROED = "contents_zeroed"
    """Names and sizes as they were last, and zeros where contents were not synced."""


@dataclass(slots=True)
class _Fault:
    call: str | None
    error: int
    after: int
    times: int | None


@dataclass(slots=True)
class _Content:
    """One file's bytes as the medium has them, whatever its name is by now."""

    synced: bytes
    is_doubtful: bool = False
    """A sync of it failed: what was not synced by then is called clean, and no later sync writes it."""


class FaultyFs(LocalFs):
    """The folder ``root`` on a disk that a test can break. Syncs are remembered and not waited for.

    Everything in ``root`` at the beginning is synced. After a crash every call raises `Crash`; `abandon` then
    closes what the process had open, as the kernel does, and `cut_power` leaves what the medium had.
    """

    def __init__(self, root: Path) -> None:
        self.calls: list[str] = []
        self.is_dead = False
        self._root = root.resolve()
        self._crash_at: int | None = None
        self._faults: list[_Fault] = []
        self._room: int | None = None
        self._most_at_once: int | None = None
        self._open: dict[int, _Content | None] = {}
        self._names: dict[Path, _Content] = {}
        self._folders = {self._root}
        for path in sorted(self._root.rglob("*")):
            if path.is_dir():
                self._folders.add(path)
            else:
                self._names[path] = _Content(path.read_bytes())
        self._synced_names = dict(self._names)
        self._synced_folders = set(self._folders)

    def fail(self, call: str | None, error: int, *, after: int = 0, times: int | None = None) -> None:
        """Let ``call`` (``None``: any that changes something, or ``"pread"``) fail with this ``errno``.

        The first ``after`` of them still work; ``times`` ends it.
        """
        if call is not None and call not in CHANGES | {"pread"}:
            raise ValueError(f"not a call that can fail: {call!r}; one of {sorted(CHANGES)} or 'pread'")
        self._faults.append(_Fault(call, error, after, times))

    def crash_at(self, number: int) -> None:
        """Die in the ``number``-th call that changes something, counted from 0; a write is then half done."""
        self._crash_at = number

    def fill(self, room: int | None) -> None:
        """Leave room for so many bytes more, then be full; ``None``: room for all."""
        self._room = room

    def write_at_most(self, count: int | None) -> None:
        """Take no more than ``count`` bytes at once, as a disk under pressure may."""
        self._most_at_once = count

    def heal(self) -> None:
        """Forget every fault that was told; the dead stay dead."""
        self._faults.clear()
        self._crash_at = self._room = self._most_at_once = None

    def abandon(self) -> None:
        """End the process, if it has not ended: its files are closed and its locks free."""
        self.is_dead = True
        for fd in self._open:
            os.close(fd)
        self._open.clear()

    def cut_power(self, loss: PowerLoss) -> None:
        """End the process and put ``root`` into the state in which it is found after the power came back."""
        self.abandon()
        seen = self._after(loss)
        folders = (
            self._synced_folders if loss in {PowerLoss.ALL_GONE, PowerLoss.CONTENTS_KEPT} else self._folders
        )
        for entry in self._root.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        for folder in sorted(folders):
            folder.mkdir(exist_ok=True)
        for path, content in seen.items():
            if path.parent in folders:
                path.write_bytes(content)

    def _after(self, loss: PowerLoss) -> dict[Path, bytes]:
        latest = {id(content): path.read_bytes() for path, content in self._names.items()}
        match loss:
            case PowerLoss.ALL_GONE:
                return {path: content.synced for path, content in self._synced_names.items()}
            case PowerLoss.NAMES_KEPT:
                return {path: content.synced for path, content in self._names.items()}
            case PowerLoss.CONTENTS_KEPT:
                return {
                    path: latest.get(id(content), content.synced)
                    for path, content in self._synced_names.items()
                }
            case PowerLoss.CONTENTS_TORN:
                return {
                    path: _torn(content.synced, latest[id(content)]) for path, content in self._names.items()
                }
            case PowerLoss.CONTENTS_ZEROED:
                return {
                    path: _zeroed(content.synced, latest[id(content)])
                    for path, content in self._names.items()
                }

    def _call(self, name: str) -> None:
        if self.is_dead:
            raise Crash(name)
        if self._crash_at == len(self.calls):
            self.is_dead = True
            raise Crash(name)
        self.calls.append(name)
        self._check(name)

    def _check(self, name: str) -> None:
        for fault in self._faults:
            if fault.call != name and (fault.call is not None or name not in CHANGES):
                continue
            if fault.after:
                fault.after -= 1
            elif fault.times is None or fault.times > 0:
                fault.times = None if fault.times is None else fault.times - 1
                raise OSError(fault.error, os.strerror(fault.error))

    def open(self, path: Path, access: Access) -> int:
        if access in {Access.CREATE, Access.LOCK}:
            self._call("create" if access is Access.CREATE else "open lock")
        elif self.is_dead:
            raise Crash("open")
        fd = super().open(path, access)
        if access in {Access.CREATE, Access.LOCK}:
            self._names.setdefault(path.resolve(), _Content(b""))
        self._open[fd] = self._names.get(path.resolve())
        return fd

    def close(self, fd: int) -> None:
        if not self.is_dead:
            del self._open[fd]
            super().close(fd)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        if self.is_dead:
            raise Crash("pread")
        self._check("pread")
        return super().pread(fd, length, offset)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        try:
            self._call("write")
        except Crash:
            if self._crash_at == len(self.calls):
                self._crash_at = None
                super().write(fd, data[: len(data) // 2])
            raise
        if self._room is not None:
            if not self._room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            data = data[: self._room]
        done = super().write(fd, data[: self._most_at_once])
        if self._room is not None:
            self._room -= done
        return done

    def write_synced(self, fd: int, data: bytes | memoryview) -> int:
        """Fail or die in either half."""
        return write_and_sync(self, fd, data)

    def truncate(self, fd: int, size: int) -> None:
        self._call("truncate")
        super().truncate(fd, size)

    def sync(self, fd: int) -> None:
        self._sync("sync", fd)

    def sync_all(self, fd: int) -> None:
        self._sync("sync_all", fd)

    def _sync(self, call: str, fd: int) -> None:
        content = self._open.get(fd)
        try:
            self._call(call)
        except OSError:
            if content is not None:
                content.is_doubtful = True
            raise
        if content is not None and not content.is_doubtful:
            content.synced = super().pread(fd, os.fstat(fd).st_size, 0)

    def sync_folder(self, folder: Path) -> None:
        self._call("sync_folder")
        here = folder.resolve()
        others = {path: content for path, content in self._synced_names.items() if path.parent != here}
        self._synced_names = others | {
            path: content for path, content in self._names.items() if path.parent == here
        }
        self._synced_folders |= {path for path in self._folders if path.parent == here}

    def replace(self, source: Path, target: Path) -> None:
        self._call("replace")
        super().replace(source, target)
        self._names[target.resolve()] = self._names.pop(source.resolve())

    def remove(self, path: Path) -> None:
        self._call("remove")
        super().remove(path)
        self._names.pop(path.resolve(), None)

    def make_folder(self, path: Path, mode: int) -> None:
        self._call("make_folder")
        super().make_folder(path, mode)
        self._folders |= {folder for folder in (path, *path.parents) if folder.is_relative_to(self._root)}

    def copy_access(self, like: FileInfo, fd: int) -> None:
        self._call("copy_access")
        super().copy_access(like, fd)


def _torn(synced: bytes, latest: bytes) -> bytes:
    if not latest.startswith(synced):
        return latest
    return latest[: (len(synced) + len(latest)) // 2]


def _zeroed(synced: bytes, latest: bytes) -> bytes:
    if not latest.startswith(synced):
        return latest
    return synced + bytes(len(latest) - len(synced))
