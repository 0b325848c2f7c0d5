"""A store that does what a test says, and a recorder on it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from papyra._runtime.recorder import Recorder
from papyra.exceptions import AppendError, PersistenceError
from papyra.payloads import MessageRegistry
from papyra.persistence import codec
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.base import BasePersistence
from papyra.persistence.integrity import HistoryCheck, Placement
from papyra.persistence.models import (
    EventType,
    LossNote,
    PersistedAudit,
    PersistedDeadLetter,
    PersistedEvent,
    Record,
    RecordKind,
)
from papyra.persistence.retention import RetentionPolicy
from papyra.supervision import Backoff
from papyra.testing.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INCARNATION = "01HZZZZZZZZZZZZZZZZZZZZZZZ"
Store_co = TypeVar("Store_co", bound=BasePersistence, covariant=True)
NO_PAUSE = Backoff(first_seconds=0.0, last_seconds=0.0)


class ScriptedStore(InMemoryPersistence):
    """Raises what its script says, one step for each append, and waits while its gate is closed.

    It stores before it raises if ``takes_first``, and refuses the records that ``refuses`` has an error for.
    """

    def __init__(self, *script: BaseException) -> None:
        super().__init__(RetentionPolicy())
        self.script = deque(script)
        self.takes_first = False
        self.refuses: Callable[[Record], PersistenceError | None] = lambda _: None
        self.gate = asyncio.Event()
        self.gate.set()
        self.batches: list[tuple[Record, ...]] = []
        self._news = asyncio.Event()

    async def append(self, records: Sequence[Record]) -> None:
        self.batches.append(tuple(records))
        self._news.set()
        await self.gate.wait()
        trouble = self.script.popleft() if self.script else None
        if trouble is not None and not self.takes_first:
            raise trouble
        refused = [(place, error) for place, each in enumerate(records) if (error := self.refuses(each))]
        places = {place for place, _ in refused}
        await super().append([each for place, each in enumerate(records) if place not in places])
        if trouble is not None:
            raise trouble
        if refused:
            raise AppendError(refused)

    async def called(self, times: int) -> None:
        """Wait until `append` was called so often."""
        async with asyncio.timeout(5):
            while len(self.batches) < times:
                self._news.clear()
                await self._news.wait()

    def stored(self) -> list[Record]:
        """Return every record, kind by kind."""
        return [*self.events, *self.audits, *self.dead_letters]

    def seqs(self, kind: RecordKind) -> list[int]:
        """Return the numbers of one kind in the order of the store."""
        return [record.seq for record in self.stored() if record.kind is kind]

    def notes(self) -> list[tuple[LossNote, str]]:
        """Return the loss notes and the type of their events."""
        found = [(LossNote.from_payload(event.payload), event.event_type) for event in self.events]
        kinds = {EventType.RECORDS_DROPPED, EventType.RECORDS_LOST}
        return [(note, type_) for note, type_ in found if note is not None and type_ in kinds]

    def check(self) -> HistoryCheck:
        """Return what a scan knows of this history; any placement but the next is a failure here."""
        check = HistoryCheck()
        for record in self.stored():
            line = codec.encode_record(record, incarnation=record.incarnation, seq=record.seq)[:-1]
            placement = check.add(codec.decode_head(line), checksum=codec.checksum_of(line))
            assert placement is Placement.NEXT
        return check


class Problems:
    """What the recorder told."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.errors: list[BaseException | None] = []

    def __call__(self, text: str, error: BaseException | None) -> None:
        self.texts.append(text)
        self.errors.append(error)


class Desk(Generic[Store_co]):
    """A recorder that has begun, on a scripted store, a manual clock and short pauses."""

    def __init__(
        self,
        store: Store_co,
        *,
        max_records: int = 1000,
        max_bytes: int = 1 << 20,
        messages: Sequence[type] = (),
        backoff: Backoff = NO_PAUSE,
    ) -> None:
        self.store = store
        self.clock = ManualClock()
        self.problems = Problems()
        self.recorder = Recorder(
            store,
            system_id="orders",
            clock=self.clock,
            registry=MessageRegistry(messages),
            on_problem=self.problems,
            max_records=max_records,
            max_bytes=max_bytes,
            backoff=backoff,
        )
        self.recorder.begin(INCARNATION)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.recorder.aclose(0.0)


def is_degraded(desk: Desk[Any]) -> bool:
    """Return what health shows now."""
    return desk.recorder.is_degraded


def event(payload: object = None, *, type_: str = "ActorStarted", timestamp: float = 0.0) -> PersistedEvent:
    return PersistedEvent("orders", "orders:1", type_, payload, timestamp, actor_path="/desk")


def audit(details: object = None) -> PersistedAudit:
    return PersistedAudit("orders", 0.0, 1, 1, 0, 0, 1, (), (), 0, details=details)


def letter(
    payload: object = None, *, error: str = "", headers: dict[str, str] | None = None
) -> PersistedDeadLetter:
    return PersistedDeadLetter(
        "orders",
        "orders:1",
        "shop.Order",
        payload,
        0.0,
        target_path="/desk",
        reason="handler_failed",
        error=error,
        headers=headers or {},
    )
