"""What a system under test has recorded, as records and as the answers folded from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from papyra import history
from papyra.persistence.models import PersistedAudit, PersistedDeadLetter, PersistedEvent
from papyra.persistence.query import RecordQuery

if TYPE_CHECKING:
    from papyra.system import ActorSystem

R = TypeVar("R", PersistedEvent, PersistedAudit, PersistedDeadLetter)

FLUSH_SECONDS = 5.0


class History:
    """The records of one system, oldest first; each method waits until what happened so far is stored."""

    def __init__(self, system: ActorSystem) -> None:
        self._system = system

    async def events(
        self, event_type: str | None = None, *, actor: str | None = None
    ) -> list[PersistedEvent]:
        """Return the events: all, or those of one type, of one actor (path or address)."""
        return await self._read(PersistedEvent, type_=event_type, actor=actor)

    async def letters(
        self, reason: str | None = None, *, actor: str | None = None
    ) -> list[PersistedDeadLetter]:
        """Return the dead letters: all, or those of one reason, to one actor."""
        return await self._read(PersistedDeadLetter, reason=reason, actor=actor)

    async def audits(self) -> list[PersistedAudit]:
        """Return the audits that were taken."""
        return await self._read(PersistedAudit)

    async def timeline(self, path: str) -> history.Timeline:
        """Return the lives of one actor."""
        return history.timeline(self._system.system_id, path, await self.events(), await self.letters())

    async def running_at(self, at: float | None = None) -> history.RunningAt:
        """Return the tree at ``at``, by default as the newest event left it."""
        events = await self.events()
        newest = max((event.timestamp for event in events), default=0.0)
        return history.running_at(events, newest if at is None else at)

    async def accounting(self) -> tuple[history.Accounting, ...]:
        """Return the last recorded accounting of each incarnation."""
        return history.accounting(await self.audits(), await self.events())

    async def letters_by_reason(self) -> dict[str, int]:
        """Return how many messages died for each reason, those included that a storm left only counted."""
        return history.letters_by_reason(await self.letters(), await self.events())

    async def _read(
        self,
        cls: type[R],
        *,
        type_: str | None = None,
        reason: str | None = None,
        actor: str | None = None,
    ) -> list[R]:
        if not await self._system.flush(FLUSH_SECONDS):
            raise AssertionError(f"the store did not take what was recorded within {FLUSH_SECONDS:g} s")
        found: list[R] = []
        cursor: str | None = None
        while True:
            page = await self._system.persistence.read(
                RecordQuery(
                    kind=cls.kind,
                    newest_first=False,
                    cursor=cursor,
                    system_id=self._system.system_id,
                    actor=actor,
                    type=type_,
                    reason=reason,
                )
            )
            found += [record for record in page.records if isinstance(record, cls)]
            cursor = page.cursor
            if cursor is None:
                return found
