"""The only door to the disk: few calls, each one system call wide, so that a test can fail any of them."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from papyra.exceptions import StoreFailedError, StoreFullError, StoreUnavailableError
from papyra.persistence._files.giving_way import give_way
from papyra.persistence._files.mounts import kind_of_mount, mount_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from papyra.exceptions import PersistenceError

COPY_BYTES = 1024 * 1024
_HAS_SYNCED_WRITES = hasattr(os, "RWF_DSYNC")
_NO_SUCH_CALL = frozenset({errno.EOPNOTSUPP, errno.ENOSYS})
_HEEDING = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs"})
"""File systems known to sync a write that asks for it; a daemon of FUSE may never hear of the wish."""


class Access(Enum):
    """What a file is opened for; the value is the flags of open(2)."""

    READ = os.O_RDONLY
    APPEND = os.O_RDWR | os.O_APPEND
    CREATE = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL
    LOCK = os.O_RDWR | os.O_APPEND | os.O_CREAT


class FileInfo(NamedTuple):
    """What stat(2) says."""

    device: int
    inode: int
    size: int
    modified: float
    mode: int
    owner: int
    group: int

    @property
    def key(self) -> tuple[int, int]:
        """Which file this is, whatever its name."""
        return self.device, self.inode

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.mode)


class FileSystem(Protocol):
    """What the store asks of a disk. Calls raise ``OSError``; above this door `translated` makes it ours.

    Those that change something are ``open`` for `Access.CREATE` and `Access.LOCK`, ``write``,
    ``write_synced``, ``truncate``, ``sync``, ``sync_all``, ``sync_folder``, ``replace``, ``remove``,
    ``make_folder`` and ``copy_access``.
    """

    def open(self, path: Path, access: Access) -> int: ...
    def close(self, fd: int) -> None: ...

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        """Read up to ``length`` bytes; fewer at the end of the file."""
        ...

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """Write at the end and return how much was written: it may be less than all; see `write_all`."""
        ...

    def kind(self, fd: int) -> str:
        """Return the kind of file system ``fd`` is in, as a mount names it; empty where that is not known."""
        ...

    def has_synced_writes(self, fd: int) -> bool:
        """Whether `write_synced` on ``fd`` may be believed."""
        ...

    def write_synced(self, fd: int, data: bytes | memoryview) -> int:
        """Do `write` and `sync` in one: after an error what was written is there, but not known to last."""
        ...

    def truncate(self, fd: int, size: int) -> None: ...

    def sync(self, fd: int) -> None:
        """Make the content durable; after an error nothing written to ``fd`` is known to be."""
        ...

    def sync_all(self, fd: int) -> None:
        """Make content, mode and owner durable."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Make names created, replaced or removed in ``folder`` durable."""
        ...

    def replace(self, source: Path, target: Path) -> None: ...
    def remove(self, path: Path) -> None: ...
    def make_folder(self, path: Path, mode: int) -> None: ...
    def names(self, folder: Path) -> list[str]: ...
    def stat(self, path: Path) -> FileInfo: ...

    def lstat(self, path: Path) -> FileInfo:
        """Look at ``path`` itself, where it is a symbolic link."""
        ...

    def fstat(self, fd: int) -> FileInfo: ...

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        """Take the advisory lock of an open file without waiting; it ends with the last copy of ``fd``."""
        ...

    def copy_access(self, like: FileInfo, fd: int) -> None:
        """Give ``fd`` the mode of ``like`` and, as far as this process may, its owner and group."""
        ...

    def resolve(self, path: Path) -> Path:
        """Return ``path`` absolute and free of symbolic links."""
        ...


class LocalFs:
    """The operating system's own file calls."""

    def open(self, path: Path, access: Access) -> int:
        flags = access.value | os.O_CLOEXEC
        try:
            return os.open(path, flags | os.O_NONBLOCK, 0o666)  # a pipe would hold us up for ever
        except BlockingIOError:  # a file that another program has a lease on
            return os.open(path, flags, 0o666)

    def close(self, fd: int) -> None:
        os.close(fd)

    def pread(self, fd: int, length: int, offset: int) -> bytes:
        return os.pread(fd, length, offset)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        return os.write(fd, data)

    def kind(self, fd: int) -> str:
        try:
            about = Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii")
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
        return kind_of_mount(mounts, mount_of(about))

    def has_synced_writes(self, fd: int) -> bool:
        return _HAS_SYNCED_WRITES and self.kind(fd) in _HEEDING

    def write_synced(self, fd: int, data: bytes | memoryview) -> int:
        # One call, and not for its own sake: between two, a busy interpreter may keep this thread waiting.
        try:
            return os.pwritev(fd, (data,), 0, os.RWF_DSYNC | os.RWF_APPEND)
        except OSError as error:
            if error.errno not in _NO_SUCH_CALL:  # else refused as a whole, and nothing was written
                raise
        return write_and_sync(self, fd, data)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:
        full = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: fsync alone stops at the drive's cache
        if full is not None:
            fcntl.fcntl(fd, full)
        else:
            os.fdatasync(fd)

    def sync_all(self, fd: int) -> None:
        os.fsync(fd)
        if hasattr(fcntl, "F_FULLFSYNC"):
            self.sync(fd)

    def sync_folder(self, folder: Path) -> None:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        source.replace(target)

    def remove(self, path: Path) -> None:
        path.unlink()

    def make_folder(self, path: Path, mode: int) -> None:
        path.mkdir(mode, parents=True, exist_ok=True)

    def names(self, folder: Path) -> list[str]:
        return sorted(entry.name for entry in folder.iterdir())

    def stat(self, path: Path) -> FileInfo:
        return _info(path.stat())

    def lstat(self, path: Path) -> FileInfo:
        return _info(path.lstat())

    def fstat(self, fd: int) -> FileInfo:
        return _info(os.fstat(fd))

    def lock(self, fd: int, *, shared: bool = False) -> bool:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def copy_access(self, like: FileInfo, fd: int) -> None:
        for owner, group in ((like.owner, -1), (-1, like.group)):
            with suppress(PermissionError):
                os.fchown(fd, owner, group)
        os.fchmod(fd, stat.S_IMODE(like.mode))

    def resolve(self, path: Path) -> Path:
        return Path(os.path.realpath(path))


LOCAL_FS = LocalFs()


def _info(found: os.stat_result) -> FileInfo:
    return FileInfo(
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime,
        found.st_mode,
        found.st_uid,
        found.st_gid,
    )


def write_all(fs: FileSystem, fd: int, data: bytes) -> None:
    """Write all of ``data``: a full disk, a quota or a signal may take only a part at a time."""
    for _ in parts_written(fs.write, fd, data):
        pass


def write_and_sync(fs: FileSystem, fd: int, data: bytes | memoryview) -> int:
    """Do in two calls what `FileSystem.write_synced` does in one."""
    written = fs.write(fd, data)
    fs.sync(fd)
    return written


def parts_written(write: Callable[[int, bytes | memoryview], int], fd: int, data: bytes) -> Iterator[int]:
    """Have ``write`` take all of ``data``; yield after each part how much it has taken altogether."""
    written = write(fd, data)
    yield written
    while written < len(data):
        done = write(fd, memoryview(data)[written:])
        if done == 0:
            raise OSError(errno.ENOSPC, "the disk takes nothing more")
        written += done
        yield written


def read_all(fs: FileSystem, fd: int, length: int, offset: int) -> bytes:
    """Read ``length`` bytes, or up to the end of the file; others may run first."""
    give_way()
    data = fs.pread(fd, length, offset)
    if len(data) == length or not data:
        return data
    parts = [data]
    missing = length - len(data)
    while missing and (data := fs.pread(fd, missing, offset + length - missing)):
        parts.append(data)
        missing -= len(data)
    return b"".join(parts)


def stat_or_none(fs: FileSystem, path: Path) -> FileInfo | None:
    """Return what is at ``path``, ``None`` where nothing is."""
    try:
        return fs.stat(path)
    except FileNotFoundError:
        return None


@contextmanager
def opened(fs: FileSystem, path: Path, access: Access = Access.READ) -> Iterator[int]:
    """Open ``path`` for the time of a ``with`` block."""
    fd = fs.open(path, access)
    try:
        yield fd
    finally:
        fs.close(fd)


_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_BROKEN = frozenset({errno.EIO, errno.EBADF, errno.ESTALE, errno.ENXIO, errno.EINVAL})
_ADVICE = {
    errno.ENOENT: "create the folder first, or correct the path",
    errno.ENOTDIR: "a part of the path is a file; correct the path",
    errno.EISDIR: "this is a folder; name a file in it",
    errno.ESPIPE: "this is a pipe or a device; move it away, or name a file",
    errno.EACCES: "give this user read and write permission on the file and its folder",
    errno.EPERM: "give this user read and write permission on the file and its folder",
    errno.EROFS: "the file system is read-only; scan and inspect still work",
    errno.EMFILE: "this process has too many open files; raise its limit (ulimit -n)",
    errno.ELOOP: "symbolic links run in a circle; correct the path",
    errno.ENAMETOOLONG: "shorten the path",
}


def store_error(error: OSError, path: Path) -> PersistenceError:
    """Return the error of ours that says what ``error`` means for the store at ``path``, and what to do."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in _FULL:
        return StoreFullError(f"{path}: {reason}: nothing was stored; it works again once there is room")
    if error.errno in _BROKEN:
        return StoreFailedError(f"{path}: {reason}: the medium does not do what it should; check the disk")
    advice = _ADVICE.get(error.errno or 0)
    return StoreUnavailableError(f"{path}: {reason}" + (f": {advice}" if advice else ""))


class GivenUp(Exception):  # noqa: N818  # no error of ours
    """Carries what a caller's callback raised past everything that handles ``OSError``."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn an ``OSError`` out of the block into ours, cause kept; a callback's error comes out as it was."""
    try:
        yield
    except GivenUp as given_up:
        raise given_up.reason from None
    except OSError as error:
        raise store_error(error, path) from error
