"""The writer's side of an index: rows added as lines are written, and put beside the file now and then."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from papyra.persistence._files.blocks import BLOCK_BYTES, Blocks
from papyra.persistence._files.fs import opened, read_all
from papyra.persistence._files.sidecar import StaleSidecarError, ends_as_indexed, load, save

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from papyra.persistence._files.lines import Source
    from papyra.persistence._files.scan import Place
    from papyra.persistence.entries import Entry

SAVE_BYTES = 16 * 1024 * 1024
"""After so much has been written the index is put beside the file again: what a reader has to pass over."""
CATCH_UP_BYTES = 2 * SAVE_BYTES
"""A writer reads so much to complete an index; beyond that it has none until somebody has read everything."""

_SAVED_ROW_BYTES = 128
_WRITES_PER_BYTE = 16
_log = logging.getLogger(__name__)


class IndexKeeper:
    """Belongs to the writer thread, which holds the store's lock. Nothing here can fail a write."""

    def __init__(self) -> None:
        self._blocks: Blocks | None = None
        self._saved = 0

    def begin(self, place: Place, end: int) -> None:
        """Know a file of ``end`` bytes that was just opened to add to it; no more than its end is read."""
        if self._blocks is None or self._blocks.position != end:
            self._blocks, self._saved = None, 0
            _guarded(place, lambda source: self._load(place, source, end))

    def _load(self, place: Place, source: Source, end: int) -> None:
        try:
            blocks = load(place.fs, place.path, source, end) or Blocks()
        except StaleSidecarError:
            blocks = Blocks()
        if end - blocks.position <= CATCH_UP_BYTES:
            self._blocks, self._saved = blocks, blocks.position
        if end - blocks.position <= BLOCK_BYTES:
            blocks.feed(source, end)

    def add(self, place: Place, entries: Sequence[Entry], data: bytes, end: int) -> None:
        """Take in ``data``, the lines of ``entries``, with which the file has grown to ``end``."""
        blocks = self._blocks
        if blocks is None:
            return
        if blocks.position == end - len(data) and not (blocks.newer or blocks.is_midline):
            blocks.add_written(entries, data)
        if end - self._saved >= max(SAVE_BYTES, len(blocks) * _SAVED_ROW_BYTES * _WRITES_PER_BYTE):
            self.save(place, end)

    def save(self, place: Place, end: int) -> None:
        """Put the index of ``end`` bytes beside the file: at a seal, at a clean end, now and then."""
        blocks = self._blocks

        def write(source: Source) -> None:
            if blocks is None or not ends_as_indexed(blocks, source):  # another program was here
                return
            if end - blocks.position <= CATCH_UP_BYTES:
                blocks.feed(source, end)
            if blocks.position > self._saved:
                save(place.fs, place.path, blocks, source)

        if blocks is not None and end > self._saved:
            if not _guarded(place, write):
                self._blocks = None
            self._saved = end

    def forget(self) -> None:
        """Begin anew with what is in the file then, which changes elsewhere than at its end."""
        self._blocks, self._saved = None, 0


def rebuild(place: Place) -> None:
    """Read the file as it is now, and put its index beside it, for good."""

    def build(source: Source) -> None:
        blocks = Blocks()
        blocks.feed(source, place.fs.stat(place.path).size)
        save(place.fs, place.path, blocks, source, is_lasting=True)

    _guarded(place, build)


def _guarded(place: Place, job: Callable[[Source], None]) -> bool:
    try:
        with opened(place.fs, place.path) as fd:
            job(partial(read_all, place.fs, fd))
    except OSError as error:
        _log.warning("%s: its index is not kept: %s", place.path, error)
        return False
    return True
