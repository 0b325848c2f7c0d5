"""Open a store by URL or by path; what cannot be opened here is refused with what does open it."""

from __future__ import annotations

import errno
import re
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast

from papyra.clock import SYSTEM_CLOCK
from papyra.exceptions import ConfigurationError
from papyra.persistence._files.folder import find_folder
from papyra.persistence._files.fs import LOCAL_FS, Access, opened, translated, write_all
from papyra.persistence.codec import FRAME_HEAD

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence._files.fs import FileInfo
    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.retention import RetentionPolicy

_FORMS = "ndjson:PATH, segments:PATH, redis://HOST/DB or memory:"
_PATHS = frozenset({"ndjson", "segments"})
_SERVERS = frozenset({"redis", "rediss", "unix"})
_BESIDE = {"ndjson": r"\.lock", "segments": r"\.(lock|segments|[0-9]+)"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_NO_SUCH_PATH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_NOT_HERE = {
    "django": "a Django database is opened by manage.py, which knows the settings: "
    "python manage.py papyra_doctor, papyra_scan, papyra_recover, papyra_copy and others",
    "file": "write ndjson:PATH",
}


def open_store(
    url: str,
    *,
    retention_policy: RetentionPolicy | None = None,
    quarantine_dir: str | None = None,
    must_exist: bool = False,
    system_id: str | None = None,
) -> PersistenceBackend:
    """Return the backend that ``url`` names; raises `ConfigurationError` for one that names none.

    What follows ``ndjson:`` or ``segments:`` is a path as it stands (no percent escapes), a leading ``~`` is
    a home folder. With ``must_exist`` a missing store is refused, else the first append creates it.
    ``quarantine_dir`` takes the place of the folder beside the store. ``system_id`` is whose history is meant
    on a server that holds several, where the URL does not say.
    """
    scheme, separator, rest = url.partition(":")
    if not separator or not _SCHEME.match(scheme):
        raise ConfigurationError(
            f"not a store URL: {masked(url)!r}; write {_FORMS} (a path alone goes with --path)"
        )
    match scheme.lower():
        case "ndjson":
            path = _path_in(rest, scheme.lower())
            return _open_file(path, retention_policy, quarantine_dir, must_exist=must_exist)
        case "segments":
            path = _path_in(rest, scheme.lower())
            return _open_segments(path, retention_policy, quarantine_dir, must_exist=must_exist)
        case server if server in _SERVERS:
            opening = _backend("papyra.persistence.backends.redis:open_redis")
            return opening(url, retention_policy=retention_policy, system_id=system_id, must_exist=must_exist)
        case "memory":
            if rest.strip("/"):
                raise ConfigurationError(f"memory: takes no name, but got {masked(url)!r}")
            return _backend("papyra.persistence.backends.memory:InMemoryPersistence")(retention_policy)
        case known if known in _NOT_HERE:
            raise ConfigurationError(f"{known}: stores: {_NOT_HERE[known]}")
        case unknown:
            raise ConfigurationError(f"no kind of store is called {unknown!r}; write {_FORMS}")


def store_from_path(path: str, *, retention_policy: RetentionPolicy | None = None) -> PersistenceBackend:
    """Return the backend of what lies at ``path``: a file holds one store, a folder a set of segments."""
    expanded = _expanded(path, "ndjson")
    opening = _open_segments if _is_set(expanded) else _open_file
    return opening(expanded, retention_policy, None, must_exist=True)


def is_same_place(one: str, other: str) -> bool:
    """Whether two URLs name one store, or one a part of the other, as far as names, links and files tell.

    ``memory:`` never does.
    """
    (scheme, _, rest), (other_scheme, _, other_rest) = (url.partition(":") for url in (one, other))
    scheme, other_scheme = scheme.lower(), other_scheme.lower()
    if {scheme, other_scheme} <= _SERVERS:
        place_of = cast("Callable[[str], str]", _adapter("papyra.persistence.backends.redis:place_of_url"))
        return place_of(one) == place_of(other)
    if not {scheme, other_scheme} <= _PATHS:
        return scheme != "memory" and (scheme, rest) == (other_scheme, other_rest)
    path, other_path = (LOCAL_FS.resolve(_path_in(text, scheme)) for text in (rest, other_rest))
    found, other_found = _look(path), _look(other_path)
    if found is not None and other_found is not None and found.key == other_found.key:
        return True
    return _is_part(other_path, scheme, path) or _is_part(path, other_scheme, other_path)


def _is_part(place: Path, scheme: str, whole: Path) -> bool:
    """Whether ``place`` is the store at ``whole``, lies in it, or is what stands beside it and is its own."""
    if place == whole or whole in place.parents:
        return True
    beside = next((path for path in (place, *place.parents) if path.parent == whole.parent), whole)
    return re.fullmatch(re.escape(whole.name) + _BESIDE[scheme], beside.name) is not None


class NewFile:
    """A file that was not there; durable after the ``with`` block, gone if that fails before a `write`."""

    def __init__(self, path: str) -> None:
        self._path = _expanded(path, "ndjson")
        self._fd = -1
        self._is_empty = True

    def __enter__(self) -> Self:
        with translated(self._path):
            try:
                self._fd = LOCAL_FS.open(self._path, Access.CREATE)
            except FileExistsError as error:
                raise ConfigurationError(f"{self._path} is there already; name a file that is not") from error
        return self

    def write(self, data: bytes) -> None:
        """Add ``data``."""
        with translated(self._path):
            self._is_empty = False
            write_all(LOCAL_FS, self._fd, data)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with translated(self._path):
            try:
                LOCAL_FS.sync_all(self._fd)
            finally:
                LOCAL_FS.close(self._fd)
            if kind is not None and self._is_empty:
                LOCAL_FS.remove(self._path)
            LOCAL_FS.sync_folder(self._path.absolute().parent)


def masked(url: str) -> str:
    """Return ``url`` without the user and password it may hold."""
    if url.lower().startswith(("ndjson:", "segments:")):
        return url
    return re.sub(r"((?:user|pass)\w*=)[^&#]*", r"\1…", re.sub(r"//.*@", "//…@", url))


def _open_file(
    path: Path, policy: RetentionPolicy | None, quarantine_dir: str | None, *, must_exist: bool
) -> PersistenceBackend:
    found = _look(path)
    if found is None:
        if must_exist:
            raise ConfigurationError(f"there is no store at {path}; name the file that a system writes to")
    elif found.is_folder:
        raise ConfigurationError(f"{path} is a folder; segments:{path} opens a set of segments")
    elif not found.is_file:
        raise ConfigurationError(f"{path} is neither a file nor a folder, so it holds no store")
    return _backend("papyra.persistence.json:JsonFilePersistence")(
        path, policy, quarantine_dir=quarantine_dir
    )


def _open_segments(
    path: Path, policy: RetentionPolicy | None, quarantine_dir: str | None, *, must_exist: bool
) -> PersistenceBackend:
    found = _look(path)
    beside = _look(path.with_name(f"{path.name}.segments"))
    if must_exist and found is None and beside is None:
        raise ConfigurationError(f"there is no store at {path}; name the folder that a system writes to")
    if found is not None and not (found.is_file or found.is_folder):
        raise ConfigurationError(f"{path} is neither a file nor a folder, so it holds no store")
    with translated(path):
        is_shared = find_folder("", LOCAL_FS, path.absolute(), SYSTEM_CLOCK).is_shared()
    return _backend("papyra.persistence.backends.rotating:RotatingFilePersistence")(
        path, policy, quarantine_dir=quarantine_dir, shared=is_shared
    )


def _is_set(path: Path) -> bool:
    """Whether what is at ``path`` is a folder, or a file that goes on in a folder or in ``NAME.1``."""
    found, beside = _look(path), _look(path.with_name(f"{path.name}.segments"))
    if found is None or not found.is_file:
        return any(folder is not None and folder.is_folder for folder in (found, beside))
    first = _look(path.with_name(f"{path.name}.1"))
    if beside is not None and beside.is_folder:
        return True
    if first is None or not first.is_file:
        return False
    with translated(path), opened(LOCAL_FS, path) as fd:  # of the published package, not one put aside
        return LOCAL_FS.pread(fd, len(FRAME_HEAD), 0) != FRAME_HEAD


def _look(path: Path) -> FileInfo | None:
    with translated(path):
        try:
            return LOCAL_FS.stat(path)
        except OSError as error:
            if error.errno in _NO_SUCH_PATH:
                return None
            raise


def _path_in(rest: str, scheme: str) -> Path:
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host or not slash:
            raise ConfigurationError(
                f"{scheme}: takes a path and no host; "
                f"write {scheme}:/{host}/{path} or {scheme}:./{host}/{path}"
            )
        rest = f"/{path}"
    return _expanded(rest, scheme)


def _expanded(path: str, scheme: str) -> Path:
    if not path.strip():
        raise ConfigurationError(f"the store's path is empty; write {scheme}:PATH")
    if "\0" in path:
        raise ConfigurationError("the store's path holds a zero byte, which no path can")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigurationError(f"{path}: there is no such home folder; write the path in full") from error


def _backend(name: str) -> Callable[..., PersistenceBackend]:
    return cast("Callable[..., PersistenceBackend]", _adapter(name))


def _adapter(name: str) -> Any:
    """Import an adapter when it is opened, so that none costs anything or is missed before."""
    module, _, member = name.partition(":")
    return getattr(import_module(module), member)
