"""Records, summaries and store inspections in words and as objects; pure."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from papyra.cli.documents import plain, record_document, stored_form
from papyra.cli.exit_codes import ExitCode
from papyra.cli.outcome import NextStep, Outcome, Table
from papyra.cli.text import counted, sized, spanned, timed
from papyra.persistence.models import (
    PersistedAudit,
    PersistedDeadLetter,
    PersistedEvent,
    Record,
    RecordKind,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from papyra.persistence.inspection import InspectionReport, Summary
    from papyra.persistence.models import StoreStats
    from papyra.persistence.query import Page

NOUNS = {RecordKind.EVENT: "event", RecordKind.AUDIT: "audit", RecordKind.DEAD_LETTER: "dead letter"}
_COLUMNS = {
    RecordKind.EVENT: ("time", "type", "actor", "payload"),
    RecordKind.AUDIT: (
        "time",
        "system",
        "alive",
        "accepted",
        "handled",
        "failed",
        "dead",
        "expired",
        "pending",
        "dropped",
    ),
    RecordKind.DEAD_LETTER: ("time", "reason", "target", "message type", "error", "payload"),
}
_SHOWN_GROUPS = 10
_CENTURIES = 1e10
Lines = list[str | Table]


def records_outcome(
    page: Page[Record], kind: RecordKind, *, oldest_first: bool, is_filtered: bool
) -> Outcome:
    """List a page that was read newest first."""
    records = page.records[::-1] if oldest_first else page.records
    noun = NOUNS[kind]
    document = {
        "kind": kind.value,
        "has_more": page.cursor is not None,
        "records": [record_document(record) for record in records],
    }
    lines: Lines = []
    if records:
        lines.append(Table(_COLUMNS[kind], tuple(_row_of(record) for record in records)))
    else:
        lines.append(f"No {noun}s match." if is_filtered else f"No {noun}s recorded.")
    return Outcome(
        verdict="ok",
        exit_code=ExitCode.OK,
        document=document,
        lines=lines,
        has_headline=False,
        note=f"The newest {counted(len(records), noun)}; older ones match too (--limit)."
        if page.cursor
        else "",
    )


def record_line(record: Record) -> str:
    """Return a record as one line of its own, with the cells of its row."""
    return "  ".join(_row_of(record))


def _row_of(record: Record) -> tuple[str, ...]:
    match record:
        case PersistedEvent():
            return (
                timed(record.timestamp, "milliseconds"),
                record.event_type,
                _actor(record.system_id, record.actor_path, record.actor_address),
                _payload(record.payload),
            )
        case PersistedAudit():
            return _audit_row(record)
        case PersistedDeadLetter():
            return (
                timed(record.timestamp, "milliseconds"),
                record.reason or "-",
                _actor(record.system_id, record.target_path, record.target),
                record.message_type,
                record.error or "-",
                _payload(record.payload),
            )


def _audit_row(audit: PersistedAudit) -> tuple[str, ...]:
    numbers = (
        audit.accepted,
        audit.handled,
        audit.failed,
        audit.dead,
        audit.expired,
        audit.pending,
        audit.records_dropped,
    )
    alive = f"{audit.alive_actors:,} of {audit.total_actors:,}"
    return (
        timed(audit.timestamp, "milliseconds"),
        audit.system_id,
        alive,
        *(f"{number:,}" for number in numbers),
    )


def _actor(system_id: str, path: str, address: str) -> str:
    return f"{system_id}{path}" if path else (address or system_id)


def _payload(payload: object) -> str:
    return json.dumps(stored_form(payload), ensure_ascii=False)


def inspection_outcome(report: InspectionReport, metrics: Mapping[str, int] | None) -> Outcome:
    """Say how much a store holds, and of what."""
    document = {"inspection": plain(report)}
    lines: Lines = [
        _stored(report.stats),
        *_kinds(report.stats),
        _scope(report.looked_at, report.is_complete),
    ]
    if report.incarnations:
        lines.append(
            f"They come from {counted(report.incarnations, 'incarnation')} of {_named(report.systems)}."
        )
    lines += _divided("event type", report.event_types) + _divided("letter reason", report.letter_reasons)
    if not report.retention.is_unlimited:
        lines.append(f"Retention: {_limits(report)}")
    if metrics is not None:
        document["metrics"] = plain(metrics)
        lines.append("Counters of this command's own process, not of a running system:")
        lines.append(
            Table(("counter", "value"), tuple((name, f"{value:,}") for name, value in metrics.items()))
        )
    return Outcome(verdict="ok", exit_code=ExitCode.OK, document=document, lines=lines)


def _limits(report: InspectionReport) -> str:
    parts = []
    for kind in RecordKind:
        policy = report.retention.for_kind(kind)
        limits = [
            *([f"{policy.max_records:,} records"] if policy.max_records is not None else []),
            *([f"{spanned(policy.max_age_seconds)}"] if policy.max_age_seconds is not None else []),
            *([sized(policy.max_total_bytes)] if policy.max_total_bytes is not None else []),
        ]
        parts.append(f"{NOUNS[kind]}s {' and '.join(limits) or 'without limit'}")
    return "; ".join(parts)


def summary_outcome(summary: Summary, *, now: float) -> Outcome:
    """Say who ran, why actors stopped, which messages died and where the others went."""
    document = {
        "summary": {
            "stats": plain(summary.stats),
            "looked_at": plain(summary.looked_at),
            "is_complete": summary.is_complete,
            "event_types": plain(summary.event_types),
            "incarnations": plain(summary.incarnations),
            "stop_reasons": plain(summary.stop_reasons),
            "stops": plain(summary.stops),
            "letters": plain(summary.letters),
            "audits": [record_document(audit) for audit in summary.audits],
            "last_check": None if summary.last_check is None else record_document(summary.last_check),
        }
    }
    if not any(summary.looked_at.values()):
        lines: Lines = [_stored(summary.stats), "No events recorded."]
        return Outcome(verdict="ok", exit_code=ExitCode.OK, document=document, lines=lines)
    lines = [
        _stored(summary.stats),
        *_kinds(summary.stats),
        _scope(summary.looked_at, summary.is_complete),
        *_divided("event type", summary.event_types),
        *_incarnation_lines(summary, now),
        *_stop_lines(summary),
        *_letter_lines(summary),
        *_accounting(summary, now),
        *_check_line(summary, now),
    ]
    steps = (NextStep("inspect dead-letters", "the letters one by one"),) if summary.letters else ()
    return Outcome(verdict="ok", exit_code=ExitCode.OK, document=document, lines=lines, next_steps=steps)


def _incarnation_lines(summary: Summary, now: float) -> Lines:
    if not summary.incarnations:
        return []
    rows = []
    for one in summary.incarnations[:_SHOWN_GROUPS]:
        end = f"{one.ended} at {timed(one.ended_at)}" if one.ended else "no end on record"
        began = (
            "before these records"
            if one.started is None
            else f"{timed(one.started)} ({_ago(one.started, now)})"
        )
        rows.append((one.system_id, one.incarnation or "-", began, end))
    return ["", Table(("system", "incarnation", "started", "ended"), tuple(rows))]


def _stop_lines(summary: Summary) -> Lines:
    if not summary.stops:
        return []
    total = sum(summary.stop_reasons.values())
    rows = tuple(
        (timed(stop.timestamp), _actor(stop.system_id, stop.actor, ""), stop.reason or "-", stop.error or "-")
        for stop in summary.stops
    )
    words = f"{counted(total, 'actor')} stopped: {_named(summary.stop_reasons)}."
    more = [f"… and {total - len(rows):,} earlier."] if total > len(rows) else []
    return ["", words, Table(("stopped", "actor", "why", "error"), rows), *more]


def _letter_lines(summary: Summary) -> Lines:
    if not summary.letters:
        return ["", "No dead letters."]
    total = sum(group.count for group in summary.letters)
    rows = tuple(
        (f"{group.count:,}", group.reason or "-", group.target, group.message_type, timed(group.newest))
        for group in summary.letters[:_SHOWN_GROUPS]
    )
    left = len(summary.letters) - len(rows)
    more = [f"… and {counted(left, 'more group')}; --json has them all."] if left else []
    return [
        "",
        f"{counted(total, 'dead letter')}.",
        Table(("letters", "reason", "target", "message type", "newest"), rows),
        *more,
    ]


def _accounting(summary: Summary, now: float) -> Lines:
    if not summary.audits:
        return []
    return [
        "",
        f"Accounting by the last audit ({_ago(summary.audits[0].timestamp, now)}).",
        Table(_COLUMNS[RecordKind.AUDIT], tuple(_audit_row(audit) for audit in summary.audits)),
    ]


def _check_line(summary: Summary, now: float) -> Lines:
    check = summary.last_check
    if check is None:
        return []
    return ["", f"Last startup check {_ago(check.timestamp, now)}: {_payload(check.payload)}"]


def _stored(stats: StoreStats) -> str:
    records = sum(kind.records for kind in stats.kinds.values())
    about = "about " if stats.is_estimate else ""
    words = f"{about}{counted(records, 'record')} in {sized(stats.total_bytes)}"
    return words + (
        f", {sized(stats.quarantine_bytes)} of it in quarantine." if stats.quarantine_bytes else "."
    )


def _kinds(stats: StoreStats) -> Lines:
    rows = tuple(
        (
            NOUNS[kind] + "s",
            f"{stored.records:,}",
            sized(stored.bytes),
            timed(stored.oldest),
            timed(stored.newest),
        )
        for kind, stored in stats.kinds.items()
    )
    return [Table(("kind", "records", "size", "oldest", "newest"), rows)] if rows else []


def _scope(looked_at: Mapping[RecordKind, int], is_complete: bool) -> str:  # noqa: FBT001  # a claim of the report
    parts = ", ".join(counted(number, NOUNS[kind]) for kind, number in looked_at.items())
    return f"What follows is from {'all' if is_complete else 'the newest'} {parts}."


def _divided(what: str, counts: Mapping[str, int]) -> Lines:
    if not counts:
        return []
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [Table((what, "records"), tuple((name or "-", f"{number:,}") for name, number in ordered))]


def _named(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name or '-'} ({number:,})" for name, number in ordered[:_SHOWN_GROUPS])


def _ago(timestamp: float, now: float) -> str:
    return f"{spanned(now - timestamp)} ago" if 0 <= now - timestamp < _CENTURIES else timed(timestamp)
