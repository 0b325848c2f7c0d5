"""Loss notes that are about to go with the segment they stand in, though they still explain something."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files.appending import read_history
from papyra.persistence._files.fs import COPY_BYTES, opened, read_all
from papyra.persistence.integrity import loss_note_of
from papyra.persistence.models import PersistedEvent, RecordKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from papyra.persistence._files.lines import Source
    from papyra.persistence._files.scan import Place
    from papyra.persistence.models import LossNote

_WORDS = (b'"RecordsLost"', b'"RecordsDropped"')


def find_notes(source: Source, size: int) -> Iterator[tuple[bytes, LossNote]]:
    """Yield the line and the content of each loss note in a file of events; other lines cost little."""
    rest = b""
    for offset in range(0, size, COPY_BYTES):
        block, newline, tail = (rest + source(min(COPY_BYTES, size - offset), offset)).rpartition(b"\n")
        rest = tail if newline else block + tail
        if newline and any(word in block for word in _WORDS):
            yield from _notes_in(block)
    yield from _notes_in(rest)


def _notes_in(block: bytes) -> Iterator[tuple[bytes, LossNote]]:
    for line in block.split(b"\n"):
        if any(word in line for word in _WORDS) and codec.is_framed(line) and codec.has_sound_checksum(line):
            try:
                note = loss_note_of(codec.decode_head(line))
            except RecordDecodeError:
                continue
            if note is not None:
                yield line, note


def notes_to_carry(going: Sequence[Place], staying: dict[str, list[Place]]) -> list[PersistedEvent]:
    """Return the notes in ``going``, segments of events, that explain a gap in what stays of another kind.

    A gap in the events themselves lies before its note, and goes with it.
    """
    found = []
    for place in going:
        with opened(place.fs, place.path) as fd:
            pairs = find_notes(partial(read_all, place.fs, fd), place.fs.fstat(fd).size)
            found += [pair for pair in pairs if pair[1].kind != RecordKind.EVENT]
    carried = []
    for kind in sorted({note.kind for _, note in found}):
        history = read_history(*staying.get(kind, ()))
        for line, note in found:
            first = history.first_seq(note.incarnation, note.kind)
            last = history.last_seq(note.incarnation, note.kind)
            if note.kind == kind and first and first <= note.last and last + 1 >= note.first:
                event = codec.decode_record(line)
                assert isinstance(event, PersistedEvent)  # noqa: S101  # only an event is a note
                carried.append(replace(event, incarnation="", seq=0))
    return carried
