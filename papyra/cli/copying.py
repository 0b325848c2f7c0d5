"""`papyra copy`: one store into another, out of a pipe, or into one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra.cli.documents import plain, scan_document
from papyra.cli.ends import PIPE, Ends
from papyra.cli.exit_codes import ExitCode
from papyra.cli.listing import NOUNS
from papyra.cli.outcome import NextStep, Outcome, Table
from papyra.cli.pipes import PipeReader, PipeWriter
from papyra.cli.text import counted
from papyra.exceptions import ConfigurationError, StoreUnavailableError
from papyra.persistence.copied import CopySelection
from papyra.persistence.copying import copy, copy_stream, export
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from argparse import Namespace

    from papyra.persistence.copied import CopyReport
    from papyra.persistence.query import ProgressCallback

SHOWN_DIFFERENCES = 20


async def run_copy(args: Namespace, backend: Ends, progress: ProgressCallback | None = None) -> Outcome:
    """Copy, compare, and say what came of it."""
    selection = CopySelection(
        kinds=tuple(RecordKind(kind) for kind in dict.fromkeys(args.kinds))
        if args.kinds
        else tuple(RecordKind),
        since=args.since,
        until=args.until,
    )
    try:
        report = await _copied(args, backend, selection, progress)
    except StoreUnavailableError as error:
        if PIPE in {args.origin, args.target}:
            raise
        raise type(error)(
            f"{error}; what is copied stays, and the same command goes on from there"
        ) from error
    outcome = copy_outcome(report, target=args.target)
    if isinstance(backend.target, PipeWriter):
        words = " ".join(line for line in outcome.lines if isinstance(line, str))
        return Outcome(verdict=outcome.verdict, exit_code=outcome.exit_code, has_headline=False, note=words)
    return outcome


async def _copied(
    args: Namespace, ends: Ends, selection: CopySelection, progress: ProgressCallback | None
) -> CopyReport:
    source, target = ends.source, ends.target
    if isinstance(target, PipeWriter):
        if isinstance(source, PipeReader):
            raise ConfigurationError("one end of a copy has to be a store")
        return await export(source, target, selection, dry_run=args.dry_run, progress=progress)
    if isinstance(source, PipeReader):
        return await copy_stream(source, target, selection, dry_run=args.dry_run, progress=progress)
    return await copy(
        source, target, selection, dry_run=args.dry_run, recheck=args.recheck, progress=progress
    )


def copy_outcome(report: CopyReport, *, target: str) -> Outcome:
    """Say what was copied, what differs, and what the source could not give."""
    verdict, code = _verdict(report)
    steps: tuple[NextStep, ...] = ()
    if report.late and not report.dry_run:
        steps = (NextStep("persistence recover", "puts records in order", ("--store", target)),)
    lines = [_summary(report), *_remarks(report)]
    document: dict[str, object] = {
        "dry_run": report.dry_run,
        "verified": report.is_verified and not report.dry_run,
        "kinds": plain(report.kinds),
        "differences": plain(report.differences),
        "left_out": {"unknown": report.unknown, "no_record": report.left_out},
        "scan": scan_document(report.scan),
    }
    return Outcome(
        verdict=verdict,
        exit_code=code,
        document=document,
        lines=[*lines, _table(report), *_differences(report)],
        next_steps=steps,
    )


def _verdict(report: CopyReport) -> tuple[str, ExitCode]:
    if report.differs:
        return "differs", ExitCode.DAMAGE
    if report.lacks_source_records:
        return "incomplete", ExitCode.DAMAGE
    if report.late:
        return "unordered", ExitCode.DAMAGE
    return ("would_copy" if report.dry_run else "copied"), ExitCode.OK


def _summary(report: CopyReport) -> str:
    new = sum(kind.copied for kind in report.kinds.values())
    there = sum(kind.present for kind in report.kinds.values())
    if report.dry_run:
        words = f"{counted(new, 'record')} would be copied, {there:,} are there already."
        return f"{words} Dry run: nothing was changed."
    words = f"{counted(new, 'record')} copied"
    if not report.is_verified:
        return f"{words}; what a pipe took cannot be read back, each line carries its checksum."
    words += f", {there:,} were there already"
    if report.differs:
        return f"{words}; see below what differs."
    return f"{words}; what was copied was read back and is equal."


def _remarks(report: CopyReport) -> list[str]:
    remarks = []
    if any(kind.resumed_after for kind in report.kinds.values()):
        remarks.append("An earlier copy was gone on with; --recheck compares what it brought, too.")
    numbered = sum(kind.numbered for kind in report.kinds.values())
    if numbered:
        remarks.append(
            f"{counted(numbered, 'record')} of papyra 0.3 had no identity and got one in the copy."
        )
    if report.late:
        remarks.append(f"{counted(report.late, 'record')} came behind later ones of the same incarnation.")
    if report.scan is not None and report.scan.has_damage:
        found = counted(sum(report.scan.counts.values()) or len(report.scan.anomalies), "anomaly")
        remarks.append(f"The source is damaged ({found}): what cannot be read there was left out.")
    if report.unknown:
        noun = counted(report.unknown, "record")
        remarks.append(f"{noun} of a newer version's kind left out: copy with the version that wrote them.")
    if report.left_out:
        remarks.append(f"{counted(report.left_out, 'line')} left out: not a record.")
    return remarks


def _table(report: CopyReport) -> Table:
    rows = tuple(
        (
            NOUNS[kind] + "s",
            f"{one.selected:,}",
            f"{one.copied:,}",
            f"{one.present:,}",
            f"{one.conflicting + one.refused + one.missing:,}",
            one.source_fingerprint if one.compared else "-",
        )
        for kind, one in report.kinds.items()
    )
    return Table(
        ("kind", "selected", "copied", "there already", "differ", "fingerprint of what was compared"), rows
    )


def _differences(report: CopyReport) -> list[str | Table]:
    if not report.differences:
        return []
    rows = tuple(
        (one.what, one.id.kind, one.id.incarnation or "-", f"{one.id.seq}", one.detail)
        for one in report.differences[:SHOWN_DIFFERENCES]
    )
    lines: list[str | Table] = ["", Table(("what", "kind", "incarnation", "seq", "why"), rows)]
    if len(report.differences) > SHOWN_DIFFERENCES:
        lines.append("… and more; --json lists the first hundred.")
    return lines
