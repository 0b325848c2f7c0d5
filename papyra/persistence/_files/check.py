"""Judge the pieces of one file in order: what each finding is, and what a repair would do about it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files.damage import claimed_identity, is_torn
from papyra.persistence._files.edits import Edits, Span
from papyra.persistence._files.ledger import Gap, Ledger, Sample
from papyra.persistence._files.lines import Block, Piece, Sort
from papyra.persistence.footers import decode_footer
from papyra.persistence.integrity import Placement, Stream
from papyra.persistence.models import PersistenceAnomaly, PersistenceAnomalyType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from papyra.persistence.footers import Footer
    from papyra.persistence.integrity import HistoryCheck

MAX_REPORTED = 1000

_FRAME_OF_ITS_OWN = b'{"seq":0,'
_LEAST_RECORD_BYTES = 100  # so many records at most can have stood where so many bytes are damaged


class Findings:
    """Anomalies of one file or store: the first thousand, and how many there are of each type."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.anomalies: list[PersistenceAnomaly] = []
        self.counts: dict[PersistenceAnomalyType, int] = {}

    def add(
        self,
        type_: PersistenceAnomalyType,
        detail: str,
        *,
        path: str = "",
        offset: int | None = None,
        length: int = 0,
    ) -> None:
        self.counts[type_] = self.counts.get(type_, 0) + 1
        if len(self.anomalies) < MAX_REPORTED:
            place = path or self._path
            self.anomalies.append(
                PersistenceAnomaly(type_, place, detail, offset=offset, length=length or None)
            )

    def join(self, others: Findings) -> None:
        """Take in what ``others`` has."""
        self.anomalies += others.anomalies[: MAX_REPORTED - len(self.anomalies)]
        for type_, count in others.counts.items():
            self.counts[type_] = self.counts.get(type_, 0) + count


class FileCheck:
    """Fed with every piece of a file, it tells records to ``on_record``, and keeps findings and edits.

    ``ledger`` is what the other files of the store told; ``family``: the run of files this one goes on with.
    """

    def __init__(
        self,
        path: str,
        on_record: Callable[[Piece | Block], None] | None = None,
        *,
        ledger: Ledger | None = None,
        family: str = "",
    ) -> None:
        self.ledger = ledger or Ledger()
        self.findings = Findings(path)
        self.edits = Edits()
        self.header: codec.Header | None = None
        self.newer = 0
        """The format of a header of a newer version, after which nothing was judged."""
        self.is_foreign = False
        self.records = 0
        self.unordered: set[Stream] = set()
        self.footer: tuple[Piece, Footer] | None = None
        """The footer, where the file ends in a sound one."""
        self.on_record = on_record
        self._path = path
        self._damage = self.ledger.damage_in(family)
        self._lasts: dict[Stream, int] = {}
        self.has_lost_header = False
        self._remains: Piece | None = None
        self._incarnation = ""
        self._unended_at = -1
        self._junk_end = -1
        self._crlf_lines = 0
        self._crlf_at = 0
        self._handlers: dict[Sort, Callable[[Piece], None]] = {
            Sort.RECORD: self._record,
            Sort.LEGACY: self._accept,
            Sort.HEADER: self._header,
            Sort.FOOTER: self._footer,
            Sort.BLANK: self._blank,
            Sort.BOM: self._bom,
            Sort.JUNK: self._unreadable,
        }

    @property
    def history(self) -> HistoryCheck:
        return self.ledger.history

    def feed(self, parts: Iterable[Piece | Block]) -> None:
        """Judge what a file consists of; stops at a header of a newer format, after which nothing can be."""
        for part in parts:
            if isinstance(part, Block):
                self._block(part)
            else:
                self._piece(part)
                if self.newer:
                    return

    def _block(self, block: Block) -> None:
        if self._has_taken(block):
            return
        for part in block.parts():
            if not self._has_taken(part):
                for piece in part.pieces():
                    self._piece(piece)

    def _piece(self, piece: Piece) -> None:
        if self._remains is not None:
            self._settle(piece)
        if self.footer is not None and piece.is_sound:
            self.refuse_footer("a footer that is not at the end of the file")
        self._handlers[piece.sort](piece)

    def _has_taken(self, block: Block) -> bool:
        """Accept records that only go on, of which `_record` would find nothing to say."""
        if self._remains is not None or self.footer is not None or block.offset == self._unended_at:
            return False
        streams = self.history.add_all(block.heads, block.checksums)
        if not streams:
            return False
        for stream in streams:
            self._damage.saw(stream)
        if self.ledger.is_set:
            self._lasts.update({(head.incarnation, head.kind): head.seq for head in block.heads})
        self.records += len(block.heads)
        self._incarnation = block.heads[-1].incarnation
        if self.on_record is not None:
            self.on_record(block)
        return True

    def _blank(self, piece: Piece) -> None:
        self._remove(piece, PersistenceAnomalyType.BLANK_LINE, "nothing but white space")

    def _bom(self, piece: Piece) -> None:
        self._remove(piece, PersistenceAnomalyType.BOM, "a byte order mark, as some editors write")

    def _record(self, piece: Piece) -> None:
        head = piece.head
        assert head is not None  # noqa: S101  # a record has one
        stream = (head.incarnation, head.kind)
        placement = self.history.add(head, checksum=codec.checksum_of(piece.text))
        if placement is Placement.NEXT:
            self._note_gap(stream, head.seq, piece.offset)
            if self.ledger.is_set:
                self._lasts[stream] = head.seq
            self._accept(piece)
            return
        name = f"{head.kind} {head.seq} of {head.incarnation}"
        is_after = self.ledger.is_set and head.seq > self._lasts.get(stream, 0)
        if placement is Placement.OUT_OF_ORDER and is_after:
            self._lasts[stream] = head.seq
            self._accept(piece)
        elif placement is Placement.OUT_OF_ORDER:
            self.unordered.add(stream)
            self._find(piece, PersistenceAnomalyType.OUT_OF_ORDER, f"{name} comes after a later one")
            self._accept(piece)
        elif placement is Placement.DUPLICATE:
            self._remove(piece, PersistenceAnomalyType.DUPLICATE_RECORD, f"{name} again, with the same bytes")
        else:
            self._remove(piece, PersistenceAnomalyType.CONFLICTING_RECORD, f"{name} again, with other bytes")

    def _note_gap(self, stream: Stream, seq: int, offset: int) -> None:
        skipped = self.history.skipped
        if skipped:
            is_explained = self._damage.explains(stream, skipped)
            gap = Gap(seq - skipped, seq - 1, self._path, offset, is_explained=is_explained)
            self.ledger.note_gap(stream, gap)
        self._damage.saw(stream)

    def _accept(self, piece: Piece) -> None:
        self.records += 1
        self._incarnation = piece.head.incarnation if piece.head else ""
        if self._incarnation not in self.ledger.samples:
            span = Span(piece.offset, len(piece.text))
            self.ledger.samples[self._incarnation] = Sample(self._path, span)
        self._end_line(piece)
        if self.on_record is not None:
            self.on_record(piece)

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

    def _footer(self, piece: Piece) -> None:
        try:
            self.footer = piece, decode_footer(piece.text)
        except RecordDecodeError as error:
            self._remove(piece, PersistenceAnomalyType.BAD_FOOTER, str(error))
        else:
            self._end_line(piece)

    def refuse_footer(self, detail: str) -> None:
        """Take the footer for one that tells nothing true."""
        piece = self.leave_footer_out(PersistenceAnomalyType.BAD_FOOTER)
        self._find(piece, PersistenceAnomalyType.BAD_FOOTER, detail)

    def leave_footer_out(self, reason: str) -> Piece:
        """Let a repair take the footer away, with the end that its line was to get where it has none."""
        assert self.footer is not None  # noqa: S101  # the caller asked
        (piece, _), self.footer = self.footer, None
        self.edits.remove_line(piece.offset, len(piece.text), piece.ending, reason)
        if not piece.ending:
            self.edits.withdraw_inserts({piece.end})
        return piece

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
        head, text = following.head, following.text
        is_own = remains.startswith(_FRAME_OF_ITS_OWN)
        is_again = text.startswith(remains)  # what a copy left unfinished is sent by the next one
        if head is not None:
            return is_own or is_again or head.incarnation != self._incarnation
        claim = claimed_identity(text)  # another life may have ended in its first write, if not before it
        is_same = claim is not None and claim.incarnation == self._incarnation
        return is_torn(text) and (is_own or is_again or remains.startswith(text) or not is_same)

    def _damaged(self, piece: Piece, type_: PersistenceAnomalyType, detail: str) -> None:
        claim = claimed_identity(piece.text)
        if claim is not None:
            self.ledger.claim((claim.incarnation, claim.kind), claim.seq)
            detail += f"; it says {claim.kind} {claim.seq} of {claim.incarnation}"
        self._damage.most += 1 + len(piece.text) // _LEAST_RECORD_BYTES
        self._remove(piece, type_, detail)

    def _remove(self, piece: Piece, type_: PersistenceAnomalyType, detail: str) -> None:
        self._find(piece, type_, detail)
        self.edits.remove(piece.offset, len(piece.text) + piece.ending, type_)

    def _find(self, piece: Piece, type_: PersistenceAnomalyType, detail: str) -> None:
        self.findings.add(type_, detail, offset=piece.offset, length=len(piece.text))

    def finish(self) -> None:
        """Say what only the end of the file shows: remains of a crash, an editor's work."""
        if self._remains is not None:
            self._settle(None)
        if self._crlf_lines:
            detail = f"{self._crlf_lines} lines end in CR LF, as some editors write"
            self.findings.add(PersistenceAnomalyType.CRLF, detail, offset=self._crlf_at, length=1)
