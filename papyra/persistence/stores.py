"""Open a store by URL or by path; what cannot be opened here is refused with what does open it."""

from __future__ import annotations

import errno
import inspect
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
    from collections.abc import Callable, Mapping

    from papyra.persistence._files.fs import FileInfo
    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.retention import RetentionPolicy

_FORMS = "ndjson:PATH, segments:PATH, redis://HOST/DB or memory:"
_CLASSES = {
    "ndjson": "papyra.persistence.json:JsonFilePersistence",
    "segments": "papyra.persistence.backends.rotating:RotatingFilePersistence",
    "memory": "papyra.persistence.backends.memory:InMemoryPersistence",
}
_REDIS = "papyra.persistence.backends.redis"
_NO_OPTIONS = frozenset({"clock", "fs"})
"""What only code can give."""
_PATHS = frozenset({"ndjson", "segments"})
_SERVERS = frozenset({"redis", "rediss", "unix"})
_UNBOUNDED: dict[str, object] = {"max_files": None}
_BESIDE = {"ndjson": r"\.lock", "segments": r"\.(lock|segments|[0-9]+)"}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_NO_SUCH_PATH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
_NOT_HERE = {
    "django": "a Django database is opened by manage.py, which knows the settings: "
    "python manage.py papyra_doctor, papyra_scan, papyra_recover, papyra_copy and others",
    "file": "write ndjson:PATH",
}


def open_store(  # noqa: PLR0913  # each is for some stores
    url: str,
    *,
    retention_policy: RetentionPolicy | None = None,
    quarantine_dir: str | None = None,
    options: Mapping[str, object] | None = None,
    must_exist: bool = False,
    is_bounded: bool = True,
    system_id: str | None = None,
) -> PersistenceBackend:
    """Return the backend that ``url`` names; raises `ConfigurationError` for one that names none.

    What follows ``ndjson:`` or ``segments:`` is a path as it stands (no percent escapes), a leading ``~`` is
    a home folder. With ``must_exist`` a missing store is refused, else the first append creates it.
    ``quarantine_dir`` takes the place of the folder beside the store. ``options`` are keyword arguments of
    its class, see `option_names`. Not ``is_bounded``: a tool, which lets no segment go that it does not know
    to be too many. ``system_id`` is whose history is meant on a server that holds several, where the URL does
    not say.
    """
    check_options(url, options or {})
    given: dict[str, object] = {"quarantine_dir": quarantine_dir, **(options or {})}
    scheme, rest = _parts(url)
    match scheme:
        case "ndjson":
            path = _path_in(rest, scheme)
            return _open_file(path, retention_policy, given, must_exist=must_exist)
        case "segments":
            path = _path_in(rest, scheme)
            given = given if is_bounded else _UNBOUNDED | given
            return _open_segments(path, retention_policy, given, must_exist=must_exist)
        case server if server in _SERVERS:
            config = _adapter(f"{_REDIS}:RedisStreamsConfig").from_url(
                url, system_id=system_id, options=options
            )
            opening = cast("Callable[..., PersistenceBackend]", _adapter(f"{_REDIS}:open_redis"))
            return opening(config, retention_policy, must_exist=must_exist)
        case "memory":
            if rest.strip("/"):
                raise ConfigurationError(f"memory: takes no name, but got {masked(url)!r}")
            return _backend("memory")(retention_policy, **(options or {}))
        case known if known in _NOT_HERE:
            raise ConfigurationError(f"{known}: stores: {_NOT_HERE[known]}")
        case unknown:
            raise ConfigurationError(f"no kind of store is called {unknown!r}; write {_FORMS}")


def option_names(url: str) -> tuple[str, ...]:
    """Return the options that the store of ``url`` takes; raises `ConfigurationError` for no URL."""
    scheme, _ = _parts(url)
    if scheme in _SERVERS:
        return cast("tuple[str, ...]", _adapter(f"{_REDIS}:RedisStreamsConfig").option_names())
    if scheme not in _CLASSES:
        return ()
    taken = inspect.signature(_backend(scheme).__init__).parameters.values()
    return tuple(one.name for one in taken if one.kind is one.KEYWORD_ONLY and one.name not in _NO_OPTIONS)


def check_options(url: str, options: Mapping[str, object]) -> None:
    """Raise `ConfigurationError` for an option that the store of ``url`` does not take."""
    known = option_names(url)
    for name in options:
        if name not in known:
            raise ConfigurationError(
                f"{masked(url)}: there is no option {name!r}; "
                + (f"there are {', '.join(known)}" if known else "this store takes none")
            )


def _parts(url: str) -> tuple[str, str]:
    scheme, separator, rest = url.partition(":")
    if not separator or not _SCHEME.match(scheme):
        raise ConfigurationError(
            f"not a store URL: {masked(url)!r}; write {_FORMS} (a path alone goes with --path)"
        )
    return scheme.lower(), rest


def store_from_path(path: str) -> PersistenceBackend:
    """Return the backend of what lies at ``path``, for a tool: a file is one store, a folder is segments."""
    expanded = _expanded(path, "ndjson")
    if _is_set(expanded):
        return _open_segments(expanded, None, _UNBOUNDED, must_exist=True)
    return _open_file(expanded, None, {}, must_exist=True)


def is_same_place(one: str, other: str) -> bool:
    """Whether two URLs name one store, or one a part of the other, as far as names, links and files tell.

    ``memory:`` never does.
    """
    (scheme, _, rest), (other_scheme, _, other_rest) = (url.partition(":") for url in (one, other))
    scheme, other_scheme = scheme.lower(), other_scheme.lower()
    if {scheme, other_scheme} <= _SERVERS:
        of_url = _adapter(f"{_REDIS}:RedisStreamsConfig").from_url
        return len({of_url(url).target.place for url in (one, other)}) == 1
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
    path: Path, policy: RetentionPolicy | None, options: Mapping[str, object], *, must_exist: bool
) -> PersistenceBackend:
    found = _look(path)
    if found is None:
        if must_exist:
            raise ConfigurationError(f"there is no store at {path}; name the file that a system writes to")
    elif found.is_folder:
        raise ConfigurationError(f"{path} is a folder; segments:{path} opens a set of segments")
    elif not found.is_file:
        raise ConfigurationError(f"{path} is neither a file nor a folder, so it holds no store")
    return _backend("ndjson")(path, policy, **options)


def _open_segments(
    path: Path, policy: RetentionPolicy | None, options: Mapping[str, object], *, must_exist: bool
) -> PersistenceBackend:
    found = _look(path)
    beside = _look(path.with_name(f"{path.name}.segments"))
    if must_exist and found is None and beside is None:
        raise ConfigurationError(f"there is no store at {path}; name the folder that a system writes to")
    if found is not None and not (found.is_file or found.is_folder):
        raise ConfigurationError(f"{path} is neither a file nor a folder, so it holds no store")
    with translated(path):
        is_shared = find_folder("", LOCAL_FS, path.absolute(), SYSTEM_CLOCK).is_shared()
    return _backend("segments")(path, policy, **{"shared": is_shared, **options})


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


def _backend(scheme: str) -> Callable[..., PersistenceBackend]:
    return cast("Callable[..., PersistenceBackend]", _adapter(_CLASSES[scheme]))


def _adapter(name: str) -> Any:
    """Import an adapter when it is opened, so that none costs anything or is missed before."""
    module, _, member = name.partition(":")
    return getattr(import_module(module), member)
