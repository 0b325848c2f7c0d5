"""`papyra persistence verify` and `restore`: what a store holds, and what lies beside it."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from papyra.cli.documents import plain, scan_document
from papyra.cli.exit_codes import ExitCode
from papyra.cli.listing import NOUNS
from papyra.cli.outcome import NextStep, Outcome, Table
from papyra.cli.rendering import scan_outcome
from papyra.cli.text import clipped, counted, sized, timed
from papyra.exceptions import ConfigurationError
from papyra.persistence.quarantined import Fate
from papyra.persistence.restoring import restore, verify
from papyra.persistence.stores import NewFile

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.query import ProgressCallback
    from papyra.persistence.restoring import EntryReport, RestoreReport, VerifyReport

Lines = list[str | Table]
SHOWN_ENTRIES = 50
_SHOWN_LOSSES = 20
_SHOWN_BYTES = 60
_FATES: Mapping[Fate, str] = {
    Fate.RESTORABLE: "can go back",
    Fate.PRESENT: "in the store",
    Fate.CONFLICTING: "in conflict with the store's",
    Fate.RETIRED: "past retention",
    Fate.NAMELESS: "without identity",
}


async def run_verify(
    args: Namespace, backend: PersistenceBackend, progress: ProgressCallback | None = None
) -> Outcome:
    """Prove what is there; changes nothing."""
    return verify_outcome(await verify(backend, folder=args.quarantine_dir, progress=progress))


async def run_restore(
    args: Namespace, backend: PersistenceBackend, progress: ProgressCallback | None = None
) -> Outcome:
    """List what lies in quarantine; with entries, put back what can go back."""
    if args.export and not args.entries:
        raise ConfigurationError("--export: name the entries to restore, or all")
    with NewFile(args.export) if args.export and not args.dry_run else nullcontext() as file:
        report = await restore(
            backend,
            args.entries,
            folder=args.quarantine_dir,
            keep=None if file is None else file.write,
            dry_run=args.dry_run,
            progress=progress,
        )
    return restore_outcome(report, is_list=not args.entries, export=args.export)


def verify_outcome(report: VerifyReport) -> Outcome:
    """Say what was proven, and what was not."""
    found = scan_outcome(report.scan)
    records = sum(kind.records for kind in report.kinds.values())
    words = f"{counted(records, 'record')} of {counted(report.incarnations, 'incarnation')} read and decoded."
    lines: Lines = [*found.lines, words, _kinds(report)]
    if report.unread:
        lines.append(f"{counted(report.unread, 'record')} counted by the store and not shown by reads.")
    if report.losses:
        lines.append(f"{counted(report.lost_records, 'record')} are known to be lost, by loss notes:")
        rows = tuple(
            (note.kind, note.incarnation, f"{note.first} to {note.last}", note.cause)
            for note in report.losses[:_SHOWN_LOSSES]
        )
        lines.append(Table(("kind", "incarnation", "seq", "cause"), rows))
    steps = found.next_steps
    if report.quarantine is not None and report.quarantine.listed:
        lines.append(_quarantined(report.quarantine))
        steps = (*steps, NextStep("persistence restore", "lists what lies in quarantine"))
    is_sound = report.is_proven
    return Outcome(
        verdict="proven" if is_sound else ("damage" if found.exit_code is ExitCode.OK else found.verdict),
        exit_code=ExitCode.OK if is_sound else ExitCode.DAMAGE,
        document={
            **found.document,
            "kinds": plain(report.kinds),
            "incarnations": report.incarnations,
            "unread": report.unread,
            "lost_records": report.lost_records,
            "losses": [note.to_payload() for note in report.losses],
            "quarantine": None if report.quarantine is None else _restore_document(report.quarantine),
        },
        lines=lines,
        next_steps=steps,
    )


def _kinds(report: VerifyReport) -> Table:
    rows = tuple(
        (
            NOUNS[kind] + "s",
            f"{one.records:,}",
            sized(one.bytes),
            timed(one.oldest),
            timed(one.newest),
            one.fingerprint if one.records else "-",
        )
        for kind, one in report.kinds.items()
    )
    return Table(("kind", "records", "size", "oldest", "newest", "fingerprint"), rows)


def _quarantined(report: RestoreReport) -> str:
    words = f"{counted(report.listed, 'entry')} in quarantine"
    if report.damaged_entries:
        words += f", {report.damaged_entries:,} of them not as they were put there"
    return f"{words}: {_told(report.fates)}, {sized(report.unreadable_bytes)} that are no record."


def _told(fates: Mapping[Fate, int]) -> str:
    parts = [f"{counted(fates[fate], 'record')} {words}" for fate, words in _FATES.items() if fates.get(fate)]
    return ", ".join(parts) or "no record"


def restore_outcome(report: RestoreReport, *, is_list: bool, export: str | None) -> Outcome:
    """Say what lies there, and what was put back."""
    document: dict[str, object] = {
        "restore": _restore_document(report),
        "rescan": scan_document(report.rescan),
    }
    if not report.listed:
        words = "Nothing lies in quarantine."
        return Outcome(verdict="ok", exit_code=ExitCode.OK, document=document, lines=[words])
    lines: Lines = [_quarantined(report), _entries(report.entries)]
    steps: tuple[NextStep, ...] = ()
    if report.listed > SHOWN_ENTRIES:
        lines.append(f"… and {report.listed - SHOWN_ENTRIES:,} more; --json lists the first thousand.")
    if is_list:
        if report.fates.get(Fate.RESTORABLE):
            steps = (NextStep("persistence restore", "puts back what is missing", ("all",)),)
    elif report.dry_run:
        lines.append("Dry run: nothing was changed.")
    else:
        lines.append(f"{counted(report.restored, 'record')} put back; quarantine is as it was.")
        if export:
            lines.append(f"{sized(report.exported_bytes)} that cannot go back were written to {export}.")
    is_clean = report.rescan is None or not report.rescan.has_damage
    is_sound = is_clean and not report.refused and not report.damaged_entries
    done = "listed" if is_list or report.dry_run else "restored"
    return Outcome(
        verdict=done if is_sound else "damage",
        exit_code=ExitCode.OK if is_sound else ExitCode.DAMAGE,
        document=document,
        lines=lines,
        next_steps=steps,
    )


def _entries(entries: tuple[EntryReport, ...]) -> Table:
    rows = tuple(
        (
            one.entry.name,
            one.entry.reason,
            timed(one.entry.found_at),
            one.entry.store if one.entry.offset is None else f"{one.entry.store} at {one.entry.offset}",
            sized(one.entry.length),
            "altered since" if not one.entry.is_intact else _told(one.fates),
            clipped(one.entry.preview.decode("utf-8", "backslashreplace"), _SHOWN_BYTES),
        )
        for one in entries[:SHOWN_ENTRIES]
    )
    return Table(("entry", "why", "when", "out of", "size", "records", "begins with"), rows)


def _restore_document(report: RestoreReport) -> dict[str, object]:
    return {
        "entries": [
            {
                "name": one.entry.name,
                "reason": one.entry.reason,
                "store": one.entry.store,
                "found_at": one.entry.found_at,
                "offset": one.entry.offset,
                "length": one.entry.length,
                "is_intact": one.entry.is_intact,
                "preview": one.entry.preview.decode("utf-8", "backslashreplace"),
                "fates": plain(one.fates),
                "unreadable_bytes": one.unreadable_bytes,
                "restored": one.restored,
            }
            for one in report.entries
        ],
        "listed": report.listed,
        "fates": plain(report.fates),
        "restored": report.restored,
        "refused": report.refused,
        "damaged_entries": report.damaged_entries,
        "exported_bytes": report.exported_bytes,
        "unreadable_bytes": report.unreadable_bytes,
        "dry_run": report.dry_run,
    }
