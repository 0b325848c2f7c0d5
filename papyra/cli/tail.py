"""`papyra inspect tail`: the newest records, and with ``--follow`` those that come, one line for each."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from papyra.cli.documents import record_document
from papyra.cli.exit_codes import ExitCode
from papyra.cli.inspect import run_query, tail_query
from papyra.cli.listing import record_line
from papyra.cli.outcome import Outcome
from papyra.cli.text import printable
from papyra.persistence.following import POLL_SECONDS, follow

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.models import Record
    from papyra.persistence.query import ProgressCallback, RecordQuery


async def run_tail(
    args: Namespace,
    backend: PersistenceBackend,
    progress: ProgressCallback | None = None,
    *,
    poll_seconds: float = POLL_SECONDS,
) -> Outcome:
    """List the newest, or print them and what comes until an interrupt, which is the normal end of that."""
    del progress
    query = tail_query(args)
    if not args.follow:
        return await run_query(args, backend, query)
    shown = _Shown(_as_json if args.json else record_line)
    with suppress(asyncio.CancelledError, BrokenPipeError):
        await _print(backend, query, args.limit, shown, poll_seconds)
    return Outcome(
        verdict="ok", exit_code=ExitCode.OK, document={"followed": shown.count}, has_headline=False
    )


async def _print(
    backend: PersistenceBackend, query: RecordQuery, limit: int, shown: _Shown, poll_seconds: float
) -> None:
    newest = await backend.read(replace(query, limit=limit + 1))
    older = 0 if newest.cursor else max(len(newest.records) - limit, 0)
    start = replace(query, cursor=newest.cursor)
    async for record in follow(backend, start, poll_seconds=poll_seconds, from_now=False):
        if older:
            older -= 1
        else:
            shown(record)


class _Shown:
    """Prints each record at once, for whoever reads along."""

    def __init__(self, line_of: Callable[[Record], str]) -> None:
        self._line_of = line_of
        self.count = 0

    def __call__(self, record: Record) -> None:
        stream = sys.stdout
        encoding = stream.encoding or "utf-8"
        text = printable(self._line_of(record)).encode(encoding, "backslashreplace").decode(encoding)
        stream.write(f"{text}\n")
        stream.flush()
        self.count += 1


def _as_json(record: Record) -> str:
    return json.dumps(record_document(record), allow_nan=False)
