"""What scans, recoveries, startup checks and compactions came to, in words and as objects; pure."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from papyra.cli.documents import anomaly_document, plain, scan_document
from papyra.cli.exit_codes import BY_STARTUP_VERDICT, ExitCode
from papyra.cli.outcome import NextStep, Outcome, Table
from papyra.cli.repairs import REPAIRS, WHAT_A_MODE_ADDS
from papyra.cli.text import counted, sized, timed
from papyra.persistence.models import (
    PersistenceAnomalyType,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    PersistenceScanReport,
    Severity,
)
from papyra.persistence.verdict import PersistenceStartupMode, StartupVerdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from papyra.persistence.models import CompactionReport, PersistenceAnomaly, PersistenceRecoveryReport
    from papyra.persistence.retention import RetentionPolicy
    from papyra.persistence.verdict import StartupReport

SHOWN_ANOMALIES = 20
RECOVER = NextStep("persistence recover", "repairs; removed bytes lie in quarantine first")
QUARANTINE = NextStep(
    "persistence recover", "also sets the damaged original aside whole", ("--mode", "quarantine")
)
REPAIR = PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR)
Lines = list[str | Table]


def scan_outcome(report: PersistenceScanReport) -> Outcome:
    """Say whether a store is sound, and if not, what is wrong and what a repair would do."""
    if not report.has_anomalies:
        return Outcome(
            verdict="healthy",
            exit_code=ExitCode.OK,
            document={"scan": scan_document(report)},
            lines=[f"Persistence is healthy: {_checked(report)}, no anomaly.", *_warnings(report)],
        )
    words: Lines = [f"{_found(report)} in {_checked(report)}.", *_findings(report.anomalies), *_plan(report)]
    return Outcome(
        verdict=_word_for(report),
        exit_code=ExitCode.DAMAGE,
        document={"scan": scan_document(report), "repair": _plan_document(report)},
        lines=[*words, *_warnings(report)],
        next_steps=(RECOVER,) if _can_be_repaired(report) else (),
    )


def recovery_plan_outcome(report: PersistenceScanReport, mode: PersistenceRecoveryMode) -> Outcome:
    """Say what a recovery in ``mode`` would do; nothing was changed."""
    found = scan_outcome(report)
    document = {**found.document, "mode": mode.value, "dry_run": True}
    words: Lines = [*found.lines, WHAT_A_MODE_ADDS[mode], "Dry run: nothing was changed."]
    step = QUARANTINE if mode is PersistenceRecoveryMode.QUARANTINE else RECOVER
    return Outcome(
        verdict=found.verdict,
        exit_code=found.exit_code,
        document=document,
        lines=words,
        next_steps=(step,) if found.next_steps else (),
    )


def recovery_outcome(
    report: PersistenceRecoveryReport, rescan: PersistenceScanReport, config: PersistenceRecoveryConfig
) -> Outcome:
    """Say what a recovery did and whether the scan after it is clean."""
    document: dict[str, object] = {
        "mode": config.mode.value,
        "dry_run": False,
        "recovery": _recovery_document(report),
        "rescan": scan_document(rescan),
    }
    if rescan.has_anomalies:
        return Outcome(
            verdict="unrecovered",
            exit_code=ExitCode.DAMAGE,
            document=document,
            lines=_unrecovered(report, rescan, config),
            next_steps=_after_failure(rescan, config.mode),
        )
    if not report.scan.has_anomalies:
        words = [f"Persistence is healthy: {_checked(rescan)}, nothing to recover."]
        return Outcome(verdict="healthy", exit_code=ExitCode.OK, document=document, lines=words)
    return Outcome(
        verdict="recovered",
        exit_code=ExitCode.OK,
        document=document,
        lines=_recovered(report, rescan),
    )


def startup_outcome(report: StartupReport) -> Outcome:
    """Say whether a system may start on this store, and why."""
    recovery = report.config.recovery
    document = {
        "mode": report.config.mode.value,
        "recovery_mode": recovery.mode.value if recovery else None,
        "depth": report.config.depth.value,
        "may_start": report.may_start,
        "reason": report.reason,
        "scan": scan_document(report.scan),
        "recovery": None if report.recovery is None else _recovery_document(report.recovery),
        "rescan": scan_document(report.rescan),
    }
    lines, next_steps = _startup_words(report)
    return Outcome(
        verdict=report.verdict.value,
        exit_code=BY_STARTUP_VERDICT[report.verdict.value],
        document=document,
        lines=[*lines, *_warnings(report.rescan or report.scan)],
        next_steps=next_steps,
    )


def compaction_outcome(
    report: CompactionReport, rescan: PersistenceScanReport, policy: RetentionPolicy
) -> Outcome:
    """Say what retention removed, or would, and whether damage is left."""
    left = "" if not rescan.has_damage else f"{_found(rescan)} in what is left."
    removed = {kind.value: number for kind, number in report.removed.items()}
    document = {
        "compaction": {
            **_object(plain(report)),
            "removed": removed,
            "removed_records": report.removed_records,
            "reclaimed_bytes": report.reclaimed_bytes,
        },
        "retention": plain(policy),
        "scan": scan_document(rescan),
    }
    findings: Lines = [left, *_findings(rescan.anomalies)] if left else []
    return Outcome(
        verdict="damage" if left else ("dry_run" if report.dry_run else "compacted"),
        exit_code=ExitCode.DAMAGE if left else ExitCode.OK,
        document=document,
        lines=[*_compaction_words(report, policy), *findings],
        next_steps=(RECOVER,) if left and _can_be_repaired(rescan) else (),
    )


def _object(value: object) -> dict[str, object]:
    assert isinstance(value, dict)  # noqa: S101  # plain() of a dataclass
    return value


def _compaction_words(report: CompactionReport, policy: RetentionPolicy) -> Lines:
    if policy.is_unlimited:
        return ["No retention is set, so nothing has to go.", _size_after(report)]
    verb = "would go" if report.dry_run else "went"
    if not report.removed_records:
        return ["Everything is within retention: nothing " + verb + ".", _size_after(report)]
    kinds = ", ".join(
        f"{number:,} {kind.value.replace('_', ' ')}" for kind, number in report.removed.items() if number
    )
    span = f", from {timed(report.oldest_removed)} to {timed(report.newest_removed)}"
    words = f"{counted(report.removed_records, 'record')} {verb}" + (f" ({kinds})" if kinds else "")
    return [words + (span if report.oldest_removed is not None else "") + ".", _size_after(report)]


def _size_after(report: CompactionReport) -> str:
    words = f"{counted(report.after_records, 'record')} {'would stay' if report.dry_run else 'stay'}"
    if report.before_bytes is None or report.after_bytes is None:
        return f"{words}."
    verb = "would shrink" if report.dry_run else "went"
    return f"{words}; the store {verb} from {sized(report.before_bytes)} to {sized(report.after_bytes)}."


def _startup_words(report: StartupReport) -> tuple[Lines, tuple[NextStep, ...]]:
    scan, mode = report.scan, report.config.mode
    config = report.config.recovery or REPAIR
    match report.verdict:
        case StartupVerdict.HEALTHY if scan is not None:
            return [f"Persistence is healthy: {_checked(scan)}, no anomaly."], ()
        case StartupVerdict.RECOVERED if report.recovery is not None and report.rescan is not None:
            return _recovered(report.recovery, report.rescan), ()
        case StartupVerdict.UNRECOVERED if report.recovery is not None and report.rescan is not None:
            lines = _unrecovered(report.recovery, report.rescan, config)
            return lines, _after_failure(report.rescan, config.mode)
        case StartupVerdict.TOLERATED if mode is PersistenceStartupMode.IGNORE:
            return ["Mode ignore does not look at the store: nothing was checked."], ()
    because = [f"Reason: {report.reason}"] if report.reason else []
    if scan is None:
        return [_STARTUP_SENTENCES[report.verdict], *because], ()
    is_unfinished = report.verdict is StartupVerdict.UNPROVEN
    sentence = _UNFINISHED if is_unfinished else _STARTUP_SENTENCES[report.verdict]
    lines = [sentence, *because, f"{_found(scan)} in {_checked(scan)}."]
    if scan.has_anomalies:
        lines += [*_findings(scan.anomalies), *_plan(scan)]
    return lines, (RECOVER,) if _can_be_repaired(scan) else ()


_UNFINISHED = "The check could not be finished: it is not known whether what it found is repaired."
_STARTUP_SENTENCES = {
    StartupVerdict.HEALTHY: "Persistence is healthy.",
    StartupVerdict.TOLERATED: "A start would go ahead, and nothing would be changed.",
    StartupVerdict.RECOVERED: "Recovery successful.",
    StartupVerdict.UNRECOVERED: "The store could not be recovered: a start is refused.",
    StartupVerdict.REFUSED: "A start is refused: no actor would run on this store.",
    StartupVerdict.UNPROVEN: "The check could not be carried out, so nothing is known of the store's state.",
}


def _recovered(report: PersistenceRecoveryReport, rescan: PersistenceScanReport) -> Lines:
    found = _found(report.scan)
    return [
        f"Recovery successful: {found} before, none now ({_checked(rescan)}).",
        *_findings(report.scan.anomalies),
        *_what_was_moved(report),
    ]


def _unrecovered(
    report: PersistenceRecoveryReport, rescan: PersistenceScanReport, config: PersistenceRecoveryConfig
) -> Lines:
    is_idle = config.mode is PersistenceRecoveryMode.IGNORE
    what = "Nothing was changed (mode ignore)" if is_idle else "Recovery failed"
    return [
        f"{what}: {_found(rescan)} left in {_checked(rescan)}.",
        *_findings(rescan.anomalies),
        *_what_was_moved(report),
    ]


def _after_failure(rescan: PersistenceScanReport, mode: PersistenceRecoveryMode) -> tuple[NextStep, ...]:
    if not _can_be_repaired(rescan) or mode is PersistenceRecoveryMode.QUARANTINE:
        return ()
    return (RECOVER,) if mode is PersistenceRecoveryMode.IGNORE else (QUARANTINE,)


def _what_was_moved(report: PersistenceRecoveryReport) -> Lines:
    lines: Lines = []
    if report.quarantined_bytes:
        where = f"in {report.quarantine}" if report.quarantine else "in the store's quarantine"
        lines.append(f"{sized(report.quarantined_bytes)} that were taken out lie {where}.")
    lines += [f"Repaired: {path}" for path in report.repaired_files]
    lines += [f"In quarantine: {path}" for path in report.quarantined_files]
    for note in report.losses[:SHOWN_ANOMALIES]:
        number = note.last - note.first + 1
        which = f"seq {note.first}" if number == 1 else f"seq {note.first} to {note.last}"
        what = counted(number, note.kind.replace("_", " "))
        lines.append(f"Lost: {what} of {note.incarnation}, {which} ({note.cause})")
    if len(report.losses) > SHOWN_ANOMALIES:
        lines.append(
            f"… and {counted(len(report.losses) - SHOWN_ANOMALIES, 'more lost range')}; --json has them all."
        )
    return lines


def _recovery_document(report: PersistenceRecoveryReport) -> dict[str, object]:
    return {
        "scan": scan_document(report.scan),
        "repaired_files": list(report.repaired_files),
        "quarantined_files": list(report.quarantined_files),
        "quarantined_bytes": report.quarantined_bytes,
        "quarantine": report.quarantine,
        "losses": [note.to_payload() for note in report.losses],
        "left": [anomaly_document(anomaly) for anomaly in report.left],
    }


def _warnings(report: PersistenceScanReport | None) -> Lines:
    return [] if report is None else [f"Warning: {warning}" for warning in report.warnings]


def _counts(report: PersistenceScanReport) -> Counter[PersistenceAnomalyType]:
    return Counter(report.counts or Counter(anomaly.type for anomaly in report.anomalies))


def _word_for(report: PersistenceScanReport) -> str:
    return (Severity.DAMAGE if report.has_damage else Severity.CRASH_TRACE).value


def _found(report: PersistenceScanReport) -> str:
    severities: Counter[Severity] = Counter()
    for type_, number in _counts(report).items():
        severities[type_.severity] += number
    parts = [
        f"{severities[severity]:,} {severity.value.replace('_', ' ')}"
        for severity in Severity
        if severities[severity]
    ]
    words = counted(severities.total(), "anomaly")
    return f"{words} ({', '.join(reversed(parts))})" if parts else words


def _checked(report: PersistenceScanReport) -> str:
    size = f" ({sized(report.checked_bytes)})" if report.checked_bytes else ""
    return f"{counted(report.checked_records, 'record')}{size} checked at depth {report.depth.value}"


def _findings(anomalies: Sequence[PersistenceAnomaly]) -> Lines:
    rows = tuple(
        (anomaly.severity.value, anomaly.type.value, _place(anomaly), anomaly.detail or "")
        for anomaly in anomalies[:SHOWN_ANOMALIES]
    )
    lines: Lines = ["", Table(("severity", "type", "where", "what"), rows)]
    if len(anomalies) > SHOWN_ANOMALIES:
        lines.append(f"… and {len(anomalies) - SHOWN_ANOMALIES:,} more; --json lists the first thousand.")
    return [*lines, ""]


def _place(anomaly: PersistenceAnomaly) -> str:
    place = anomaly.path
    if anomaly.offset is not None:
        place += f" at {anomaly.offset}"
    return place if anomaly.length is None else f"{place} +{anomaly.length}"


def _plan(report: PersistenceScanReport) -> Lines:
    rows = tuple((type_.value, f"{number:,}", REPAIRS[type_]) for type_, number in _counts(report).items())
    return [Table(("type", "found", "what a repair would do"), rows), ""]


def _plan_document(report: PersistenceScanReport) -> list[dict[str, object]]:
    return [
        {"type": type_.value, "found": number, "repair": REPAIRS[type_]}
        for type_, number in _counts(report).items()
    ]


def _can_be_repaired(report: PersistenceScanReport) -> bool:
    counts = _counts(report)
    return bool(counts) and PersistenceAnomalyType.NEWER_FORMAT not in counts
