"""`papyra inspect …`: the history itself, read-only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra.address import ActorAddress, split_reference
from papyra.cli.listing import records_outcome, summary_outcome
from papyra.clock import SYSTEM_CLOCK
from papyra.exceptions import ConfigurationError, InvalidNameError
from papyra.persistence.inspection import read_records, summarise
from papyra.persistence.models import RecordKind
from papyra.persistence.query import RecordQuery

if TYPE_CHECKING:
    from argparse import Namespace

    from papyra.cli.outcome import Outcome
    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.query import ProgressCallback

_ANY = "any"


async def run_events(
    args: Namespace, backend: PersistenceBackend, progress: ProgressCallback | None = None
) -> Outcome:
    """List events."""
    del progress
    return await run_query(args, backend, _query(args, RecordKind.EVENT, type_=args.event_type))


async def run_audits(
    args: Namespace, backend: PersistenceBackend, progress: ProgressCallback | None = None
) -> Outcome:
    """List audits."""
    del progress
    return await run_query(args, backend, _query(args, RecordKind.AUDIT))


async def run_dead_letters(
    args: Namespace, backend: PersistenceBackend, progress: ProgressCallback | None = None
) -> Outcome:
    """List dead letters."""
    del progress
    query = _query(args, RecordKind.DEAD_LETTER, type_=args.message_type, reason=args.reason)
    return await run_query(args, backend, query)


async def run_summary(
    args: Namespace, backend: PersistenceBackend, progress: ProgressCallback | None = None
) -> Outcome:
    """Fold the newest records into the answers an operator looks for first."""
    del progress
    summary = await summarise(backend, _query(args, RecordKind.EVENT), args.limit)
    return summary_outcome(summary, now=SYSTEM_CLOCK.now())


def tail_query(args: Namespace) -> RecordQuery:
    """Return what `inspect tail` was asked for."""
    return _query(args, RecordKind(args.kind.replace("-", "_")), type_=args.type)


async def run_query(args: Namespace, backend: PersistenceBackend, query: RecordQuery) -> Outcome:
    """List the newest records that ``query`` matches."""
    page = await read_records(backend, query, args.limit)
    is_filtered = query != RecordQuery(kind=query.kind)
    return records_outcome(page, query.kind, oldest_first=not args.reverse, is_filtered=is_filtered)


def _query(
    args: Namespace, kind: RecordKind, *, type_: str | None = None, reason: str | None = None
) -> RecordQuery:
    if args.since is not None and args.until is not None and args.since >= args.until:
        raise ConfigurationError("--since is not before --until, so nothing can match")
    system, actor = _subject(getattr(args, "actor", None), args.system)
    return RecordQuery(
        kind=kind,
        system_id=system,
        actor=actor,
        type=type_,
        reason=reason,
        since=args.since,
        until=args.until,
    )


def _subject(actor: str | None, system: str | None) -> tuple[str | None, str | None]:
    """Return the system and the actor to look for; ``system/path`` names both."""
    if actor is None:
        return system, None
    try:
        return system, str(ActorAddress.parse(actor))
    except InvalidNameError:
        named, path = split_reference(actor, system_id=_ANY)
    if "/" not in actor.removeprefix("/") or actor.startswith("/"):
        return system, path
    if system not in {None, named}:
        raise ConfigurationError(f"{actor!r} is an actor of {named!r}, but --system says {system!r}")
    return named, path
