"""Put a new content in a file's place: either the old one is there or the new one, at any moment."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from papyra.persistence._files.edits import Span
from papyra.persistence._files.fs import COPY_BYTES, Access, opened, read_all, write_all
from papyra.persistence.query import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence._files.scan import Place
    from papyra.persistence._files.tally import Seal
    from papyra.persistence.query import ProgressCallback

_log = logging.getLogger(__name__)


def rewrite(
    place: Place,
    parts: Iterable[Span | bytes],
    progress: ProgressCallback | None = None,
    seal: Seal | None = None,
) -> None:
    """Replace the file by ``parts``, spans of it copied raw, and a ``seal``, with mode and owner kept.

    An error leaves the old file as it was, and nothing beside it. On return the new content is durable; the
    caller makes its name so, by syncing the folder.
    """
    fs = place.fs
    with opened(fs, place.path) as old:
        like = fs.fstat(old)
        new = fs.open(place.unfinished, Access.CREATE)
        try:
            try:
                fs.copy_access(like, new)
                done = 0
                digest = None if seal is None else hashlib.sha256()
                for chunk in _chunks(fs, old, parts):
                    write_all(fs, new, chunk)
                    done += len(chunk)
                    if digest is not None:
                        digest.update(chunk)
                    if progress is not None:
                        progress(Progress(records=0, bytes=done, total_bytes=max(like.size, done)))
                if seal is not None and digest is not None:
                    write_all(fs, new, seal(done, digest.hexdigest()))
                fs.sync_all(new)
            finally:
                fs.close(new)
            fs.replace(place.unfinished, place.path)
        except BaseException:
            with suppress(OSError):
                fs.remove(place.unfinished)
            raise


def make_name_durable(place: Place) -> None:
    """Sync the folder of what `rewrite` put in place; after a failure only a new name proves anything."""
    try:
        place.fs.sync_folder(place.path.parent)
    except OSError as error:
        _log.error("%s: %s: its name may not last; the file is written anew", place.path, error)  # says all
        renew(place)


def renew(place: Place) -> None:
    """Write the file anew, as it reads now: after a failed sync only that proves what the medium holds."""
    rewrite(place, (Span(0, place.fs.stat(place.path).size),))
    place.fs.sync_folder(place.path.parent)


def _chunks(fs: FileSystem, old: int, parts: Iterable[Span | bytes]) -> Iterator[bytes]:
    small: list[bytes] = []
    held = 0
    for part in parts:
        if held > COPY_BYTES:
            yield b"".join(small)
            small, held = [], 0
        if isinstance(part, bytes):
            small.append(part)
            held += len(part)
        elif part.length < COPY_BYTES:
            small.append(read_all(fs, old, part.length, part.offset))
            held += part.length
        else:
            yield b"".join(small)
            small, held = [], 0
            for done in range(0, part.length, COPY_BYTES):
                yield read_all(fs, old, min(COPY_BYTES, part.length - done), part.offset + done)
    yield b"".join(small)
