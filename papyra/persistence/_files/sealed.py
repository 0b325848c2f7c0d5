"""One segment in a scan: whether its header, its footer and its name agree with what is in it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from papyra.persistence._files.fs import COPY_BYTES
from papyra.persistence._files.scan import FileScan
from papyra.persistence._files.segments import SegmentName, parse_name
from papyra.persistence.models import PersistenceAnomalyType, ScanDepth

if TYPE_CHECKING:
    from papyra.persistence import codec
    from papyra.persistence._files.lines import Source
    from papyra.persistence._files.tally import Seal
    from papyra.persistence.footers import Footer

_OF_THE_END = {PersistenceAnomalyType.BAD_FOOTER, PersistenceAnomalyType.UNCLEAN_SEAL}
_OF_A_CRASH = {PersistenceAnomalyType.TORN_TAIL, PersistenceAnomalyType.NUL_TAIL}
SMALL_BYTES = 64 * 1024
_WORTH = 4


@dataclass(slots=True, kw_only=True)
class SegmentScan(FileScan):
    """What was seen of one segment; ``following`` is the next in its family."""

    name: SegmentName
    following: SegmentScan | None = None
    header_line: codec.Header | None = None
    footer_line: Footer | None = None
    is_copy: bool = False
    is_held: bool = False
    """Whether another living process writes to it."""

    def follow(self, following: SegmentScan) -> None:
        """Let ``following`` be the next of the family."""
        self.following = following
        header, footer = following.header_line, self.footer_line
        is_sealed_since = footer is not None and footer.records + footer.removed == self.span
        if header is not None and self.span is not None and not is_sealed_since:
            self.void_from = header.doubtful_from

    @property
    def right_name(self) -> SegmentName | None:
        """The name that the header tells, ``None`` where it tells none."""
        header = self.header_line
        if header is None:
            return None
        kind, _, writer = header.family.partition(".")
        name = self.name._replace(kind=kind, writer=writer, number=header.segment)
        return parse_name(str(name._replace(base=header.base or name.base)))

    @property
    def told_records(self) -> int | None:
        """How many positions of its family it takes, as its footer or its records tell."""
        if self.footer_line is not None:
            return self.footer_line.records + self.footer_line.removed
        return self.check.records if self.is_whole else None

    @property
    def span(self) -> int | None:
        """How many positions of its family it takes, as the next name tells."""
        if self.following is None or self.following.name.number != self.name.number + 1:
            return None
        return self.following.name.base - self.name.base

    def seal(self) -> Seal | None:
        if not self.wants_footer or self.tally is None:
            return None
        span = self.told_records if self.span is None else self.span
        removed = max((span or 0) - self.tally.records, 0)
        old = self.footer_line
        sealed_at = old.sealed_at if old is not None else float(int(self.place.clock.now()))
        return partial(self.tally.footer, removed=removed, sealed_at=sealed_at)

    def is_worth_it(self, going_bytes: int, *, is_all: bool) -> bool:
        return not self.is_held and (is_all or self.end <= SMALL_BYTES or going_bytes * _WORTH >= self.end)


def judge_seal(file: SegmentScan, source: Source, depth: ScanDepth) -> None:
    """Compare the footer with what it tells of."""
    check = file.check
    if check.newer:
        return
    if file.is_read:
        file.footer_line = None if check.footer is None else check.footer[1]
    file.wants_footer = file.following is not None or _is_sealed(file)
    file.may_be_dropped = file.following is not None
    if file.is_whole and check.header is None and not check.has_lost_header and check.records:
        check.has_lost_header = True
        if not check.findings.counts.keys() & _OF_A_CRASH:
            check.findings.add(PersistenceAnomalyType.BAD_HEADER, "no header in the first line", offset=0)
    has_told = bool(check.findings.counts)  # what is wrong inside makes a footer wrong too
    if file.footer_line is not None and not has_told:
        _judge_footer(file, file.footer_line, source, depth)
    elif file.wants_footer and file.footer_line is None:
        _tell_of_none(file, has_told=has_told)


def _is_sealed(file: SegmentScan) -> bool:
    """Whether it has a footer that stands where it says; a writer adds to a file whose footer does not."""
    if file.footer_line is None or file.check.footer is None:
        return file.footer_line is not None
    return file.check.footer[0].offset == file.footer_line.bytes


def _judge_footer(file: SegmentScan, footer: Footer, source: Source, depth: ScanDepth) -> None:
    told = footer.records + footer.removed
    if file.span is not None and told < file.span:
        _refuse(file, f"it tells of {told} records where the names tell of {file.span}")
    elif file.is_whole and footer.records != file.check.records:
        _refuse(file, f"it tells of {footer.records} records, and there are {file.check.records}")
    elif file.is_whole and depth is ScanDepth.FULL and footer.sha256 != _digest(source, footer.bytes):
        _refuse(file, "what is before it is not what was sealed")


def _tell_of_none(file: SegmentScan, *, has_told: bool) -> None:
    file.lacks_footer = True
    findings = file.check.findings
    if not findings.counts.keys() & _OF_THE_END:
        detail = "another segment follows, and this one has no footer"
        findings.add(PersistenceAnomalyType.UNCLEAN_SEAL, detail, offset=file.end)
    span = file.span
    if span is not None and file.is_whole and span > file.check.records and not has_told:
        last = file.name.base + span - 1
        missing = span - file.check.records
        detail = f"{missing} of the records {file.name.base} to {last} of the family are not there"
        findings.add(PersistenceAnomalyType.MISSING_RECORDS, detail)


def _refuse(file: SegmentScan, detail: str) -> None:
    file.lacks_footer = True
    if file.check.footer is not None:
        file.check.refuse_footer(detail)
    else:
        file.check.findings.add(PersistenceAnomalyType.BAD_FOOTER, detail)


def _digest(source: Source, size: int) -> str:
    digest = hashlib.sha256()
    for offset in range(0, size, COPY_BYTES):
        digest.update(source(min(COPY_BYTES, size - offset), offset))
    return digest.hexdigest()
