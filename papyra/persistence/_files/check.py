"""Judge the pieces of one file in order: what each finding is, and what a repair would do about it. Pure."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files.damage import claimed_identity, is_torn
from papyra.persistence._files.edits import Edits, Span
from papyra.persistence._files.lines import Piece, Sort
from papyra.persistence.integrity import HistoryCheck, Placement, Stream
from papyra.persistence.models import LossNote, PersistenceAnomaly, PersistenceAnomalyType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MAX_REPORTED = 1000
CAUSE_DAMAGED = "damaged"
CAUSE_MISSING = "missing"

_LEAST_RECORD_BYTES = 100  # so many records at most can have stood where so many bytes are damaged


class Findings:
    """Anomalies of one scan: the first thousand, and how many there are of each type."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.anomalies: list[PersistenceAnomaly] = []
        self.counts: dict[PersistenceAnomalyType, int] = {}

    def add(
        self, type_: PersistenceAnomalyType, detail: str, *, offset: int | None = None, length: int = 0
    ) -> None:
        self.counts[type_] = self.counts.get(type_, 0) + 1
        if len(self.anomalies) < MAX_REPORTED:
            self.anomalies.append(
                PersistenceAnomaly(type_, self._path, detail, offset=offset, length=length or None)
            )


class _Gap(NamedTuple):
    """Numbers that a record skipped; ``is_explained`` where damage lies in the place they would have."""

    first: int
    last: int
    offset: int
    is_explained: bool


class FileCheck:
    """Fed with every piece of a file, it tells records to ``on_record`` and keeps findings and edits."""

    def __init__(self, path: str, on_record: Callable[[Piece], None] | None = None) -> None:
        self.history = HistoryCheck()
        self.findings = Findings(path)
        self.edits = Edits()
        self.header: codec.Header | None = None
        self.newer = 0
        """The format of a header of a newer version, after which nothing was judged."""
        self.is_foreign = False
        self.records = 0
        self.unordered: set[Stream] = set()
        self.samples: dict[str, Span] = {}
        """Where one record of each incarnation stands."""
        self._on_record = on_record
        self.has_lost_header = False
        self._remains: Piece | None = None
        self._incarnation = ""
        self._unended_at = -1
        self._junk_end = -1
        self._crlf_lines = 0
        self._crlf_at = 0
        self._damage = 0
        self._damage_seen: dict[Stream, int] = {}
        self._gaps: dict[Stream, list[_Gap]] = {}
        self._claims: dict[Stream, set[int]] = {}

    def feed(self, pieces: Iterable[Piece]) -> None:
        """Judge ``pieces``; stops at a header of a newer format, after which nothing can be judged."""
        handlers = {
            Sort.RECORD: self._record,
            Sort.LEGACY: self._accept,
            Sort.HEADER: self._header,
            Sort.BLANK: self._blank,
            Sort.BOM: self._bom,
            Sort.JUNK: self._unreadable,
        }
        for piece in pieces:
            if self._remains is not None:
                self._settle(piece)
            handlers[piece.sort](piece)
            if self.newer:
                return

    def _blank(self, piece: Piece) -> None:
        self._remove(piece, PersistenceAnomalyType.BLANK_LINE, "nothing but white space")

    def _bom(self, piece: Piece) -> None:
        self._remove(piece, PersistenceAnomalyType.BOM, "a byte order mark, as some editors write")

    def _record(self, piece: Piece) -> None:
        head = piece.head
        assert head is not None  # noqa: S101  # a record has one
        placement = self.history.add(head, checksum=codec.checksum_of(piece.text))
        if placement is Placement.NEXT:
            self._note_gap((head.incarnation, head.kind), head.seq, piece.offset)
            self._accept(piece)
            return
        name = f"{head.kind} {head.seq} of {head.incarnation}"
        if placement is Placement.OUT_OF_ORDER:
            self.unordered.add((head.incarnation, head.kind))
            self._find(piece, PersistenceAnomalyType.OUT_OF_ORDER, f"{name} comes after a later one")
            self._accept(piece)
        elif placement is Placement.DUPLICATE:
            self._remove(piece, PersistenceAnomalyType.DUPLICATE_RECORD, f"{name} again, with the same bytes")
        else:
            self._remove(piece, PersistenceAnomalyType.CONFLICTING_RECORD, f"{name} again, with other bytes")

    def _note_gap(self, stream: Stream, seq: int, offset: int) -> None:
        skipped = self.history.skipped
        if skipped:
            since = self._damage - self._damage_seen.get(stream, 0)
            gap = _Gap(seq - skipped, seq - 1, offset, is_explained=skipped <= since)
            self._gaps.setdefault(stream, []).append(gap)
        if self._damage:
            self._damage_seen[stream] = self._damage

    def _accept(self, piece: Piece) -> None:
        self.records += 1
        self._incarnation = piece.head.incarnation if piece.head else ""
        if self._incarnation not in self.samples:
            self.samples[self._incarnation] = Span(piece.offset, len(piece.text))
        self._end_line(piece)
        if self._on_record is not None:
            self._on_record(piece)

    def _end_line(self, piece: Piece) -> None:
        if piece.offset == self._unended_at:
            self._find(piece, PersistenceAnomalyType.MISSING_NEWLINE, "two records in one line")
        if piece.ending == 0:
            self._unended_at = piece.end
            self.edits.insert(piece.end, b"\n")
            if piece.is_last:
                detail = "the last record is whole, its line is not ended"
                self._find(piece, PersistenceAnomalyType.MISSING_NEWLINE, detail)
        elif piece.ending == len(b"\r\n"):
            self.edits.remove(piece.end, 1, PersistenceAnomalyType.CRLF)
            self._crlf_at = self._crlf_at if self._crlf_lines else piece.end
            self._crlf_lines += 1

    def _header(self, piece: Piece) -> None:
        try:
            header = codec.decode_header(piece.text)
        except RecordDecodeError as error:
            self._remove(piece, PersistenceAnomalyType.BAD_HEADER, str(error))
            return
        if header.format > codec.FORMAT:
            detail = f"format {header.format}, and this version reads up to {codec.FORMAT}"
            self._find(piece, PersistenceAnomalyType.NEWER_FORMAT, detail)
            self.newer = header.format
        elif self.header is None and self.records == 0:
            self.header = header
            self._end_line(piece)
        elif self.header is not None and self.header.store != header.store:
            detail = f"lines of store {header.store!r:.100} follow those of {self.header.store!r:.100}"
            self._find(piece, PersistenceAnomalyType.FOREIGN_FILE, detail)
            self.is_foreign = True
        else:
            self._remove(
                piece, PersistenceAnomalyType.BAD_HEADER, "a header that is not at the top of the file"
            )

    def _unreadable(self, piece: Piece) -> None:
        if piece.offset == self._junk_end and not piece.is_line:  # the next part of an endless line
            self.edits.remove(piece.offset, len(piece.text) + piece.ending, PersistenceAnomalyType.GARBAGE)
        elif not piece.text.strip(b"\0") or (piece.is_line and is_torn(piece.text)):
            self._remains = piece
        elif piece.offset == 0 and b'"kind":"header"' in piece.text:
            self.has_lost_header = True
            self._damaged(piece, PersistenceAnomalyType.BAD_HEADER, "the first line was a header once")
        elif codec.is_framed(piece.text):
            self._damaged(piece, PersistenceAnomalyType.BAD_CHECKSUM, "not the bytes that were written")
        else:
            self._damaged(piece, PersistenceAnomalyType.GARBAGE, "not a record")
        self._junk_end = piece.end

    def _settle(self, following: Piece | None) -> None:
        """Call zeros or a fragment a crash's remains where the file ends in them, or another life goes on."""
        piece, self._remains = self._remains, None
        assert piece is not None  # noqa: S101  # the caller asked
        if not self._is_crash_before(following, piece.text):
            self._damaged(piece, PersistenceAnomalyType.GARBAGE, "half a record, or zeros in place of one")
        elif piece.text.startswith(b"{"):
            detail = "the beginning of a line whose end was never written"
            self._remove(piece, PersistenceAnomalyType.TORN_TAIL, detail)
        else:
            self._remove(
                piece, PersistenceAnomalyType.NUL_TAIL, "zeros, as a crash leaves where data was due"
            )

    def _is_crash_before(self, following: Piece | None, remains: bytes) -> bool:
        if following is None or following.sort is Sort.LEGACY:
            return True
        head = following.head
        if head is None:  # another life may have ended in its first write
            claim = claimed_identity(following.text) if is_torn(following.text) else None
            return claim is not None and claim.incarnation != self._incarnation
        return head.incarnation != self._incarnation or following.text.startswith(remains)

    def _damaged(self, piece: Piece, type_: PersistenceAnomalyType, detail: str) -> None:
        claim = claimed_identity(piece.text)
        if claim is not None:
            self._claims.setdefault((claim.incarnation, claim.kind), set()).add(claim.seq)
            detail += f"; it says {claim.kind} {claim.seq} of {claim.incarnation}"
        self._damage += 1 + len(piece.text) // _LEAST_RECORD_BYTES
        self._remove(piece, type_, detail)

    def _remove(self, piece: Piece, type_: PersistenceAnomalyType, detail: str) -> None:
        self._find(piece, type_, detail)
        self.edits.remove(piece.offset, len(piece.text) + piece.ending, type_)

    def _find(self, piece: Piece, type_: PersistenceAnomalyType, detail: str) -> None:
        self.findings.add(type_, detail, offset=piece.offset, length=len(piece.text))

    def finish(self) -> None:
        """Say what only the end of the file shows: remains of a crash, missing records, an editor's work."""
        if self._remains is not None:
            self._settle(None)
        if self._crlf_lines:
            detail = f"{self._crlf_lines} lines end in CR LF, as some editors write"
            self.findings.add(PersistenceAnomalyType.CRLF, detail, offset=self._crlf_at, length=1)
        for hole in self.history.holes():
            gap = self._gap_of(hole)
            if gap is None or not gap.is_explained:
                detail = f"{hole.kind} {hole.first} to {hole.last} of {hole.incarnation} are not there"
                self.findings.add(
                    PersistenceAnomalyType.MISSING_RECORDS, detail, offset=gap.offset if gap else None
                )

    def _gap_of(self, hole: LossNote) -> _Gap | None:
        gaps = self._gaps.get((hole.incarnation, hole.kind), ())
        after = bisect_right(gaps, hole.first, key=_first_of)
        gap = gaps[after - 1] if after else None
        return gap if gap is not None and hole.first <= gap.last else None

    def losses(self) -> list[LossNote]:
        """Return every range that is gone and not yet noted, damaged last records included."""
        found = []
        for hole in self.history.holes():
            gap = self._gap_of(hole)
            found.append(hole._replace(cause=CAUSE_DAMAGED if gap and gap.is_explained else CAUSE_MISSING))
        for (incarnation, kind), claims in self._claims.items():
            last = self.history.last_seq(incarnation, kind)
            lost = last
            while lost + 1 in claims:
                lost += 1
            if last and lost > last and not self.history.is_noted(incarnation, kind, last + 1):
                found.append(LossNote(incarnation, kind, last + 1, lost, CAUSE_DAMAGED))
        return found


def _first_of(gap: _Gap) -> int:
    return gap.first
