"""Go on reading as records come: oldest first, each once, over any store that gives pages with an end."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from papyra.exceptions import PersistenceError, PlaceLostError
from papyra.persistence.query import Page, RecordQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from papyra.persistence.models import Record

POLL_SECONDS = 0.5

_KEPT_STEPS = 8


class Reader(Protocol):
    """What can be followed."""

    async def read(self, query: RecordQuery) -> Page[Record]:
        """Return one page."""
        ...


class _Step(NamedTuple):
    """A place, and what was given between it and the next one."""

    cursor: str | None
    given: tuple[Record, ...]


class _Trail:
    """The last places, to go back to where a repair or a write that was taken back removed the newest."""

    def __init__(self, steps: Sequence[_Step]) -> None:
        self._steps = deque(steps, maxlen=_KEPT_STEPS)
        self._repeated: dict[tuple[str, int], list[Record]] = {}

    @property
    def cursor(self) -> str | None:
        return self._steps[-1].cursor

    def add(self, page: Page[Record]) -> list[Record]:
        """Go on behind ``page``; returns what of it is new."""
        cursor = page.end or page.cursor
        if cursor is None and page.records:
            raise PersistenceError("this store says of no page where it ends, so it cannot be followed")
        step = self._steps[-1]
        if page.records:
            self._steps[-1] = step._replace(given=(*step.given, *page.records))
            self._steps.append(_Step(cursor, ()))
        elif cursor is not None:
            self._steps[-1] = step._replace(cursor=cursor)
        fresh = [record for record in page.records if record not in self._repeated.get(_key_of(record), ())]
        if page.cursor is None:
            self._repeated = {}
        return fresh

    def go_back(self) -> bool:
        """Take the place before the last one, remembering what was given since; whether there is one."""
        if len(self._steps) == 1:
            return False
        del self._steps[-1]
        step = self._steps[-1]
        for record in step.given:
            self._repeated.setdefault(_key_of(record), []).append(record)
        self._steps[-1] = step._replace(given=())
        return True


def _key_of(record: Record) -> tuple[str, int]:
    return record.incarnation, record.seq


async def follow(
    store: Reader, query: RecordQuery, *, poll_seconds: float = POLL_SECONDS, from_now: bool = True
) -> AsyncIterator[Record]:
    """Yield what `BasePersistence.follow` says, of any store."""
    if not poll_seconds > 0:
        raise ValueError(f"poll_seconds must be above 0, not {poll_seconds!r:.50}")
    query = replace(query, newest_first=False)
    trail = _Trail(
        await _now(store, query) if from_now and query.cursor is None else [_Step(query.cursor, ())]
    )
    while True:
        try:
            page = await store.read(replace(query, cursor=trail.cursor))
        except PlaceLostError:
            if not trail.go_back():
                raise
            continue
        for record in trail.add(page):
            yield record
        if page.cursor is None:
            await asyncio.sleep(poll_seconds)


async def _now(store: Reader, query: RecordQuery) -> list[_Step]:
    """Return where the store ends, and a place before that to go back to."""
    steps: list[_Step] = []
    records: list[Record] = []
    for limit in (2, 1):
        newest = await store.read(RecordQuery(kind=query.kind, limit=limit))
        records += [record for record in newest.records if record not in records]
        steps.append(_Step(newest.end, ()))
    before, last = steps
    return [before._replace(given=tuple(records)), last] if before.cursor else [last]
