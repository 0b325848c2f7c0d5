"""What becomes of a record until it waits for the store: encoded, redacted, numbered, timed, bounded."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from contextvars import Context
from typing import TYPE_CHECKING, Final

import msgspec

from papyra._runtime.backlog import Backlog
from papyra._runtime.handled import MOST_NOTES, HandledLog
from papyra._runtime.sealing import BARE, Sealed, Sealing, stamped
from papyra._runtime.stamps import Stamps
from papyra.payloads import DEFAULT_LIMITS
from papyra.persistence.models import PersistedAudit, PersistedDeadLetter, PersistedEvent, RecordKind
from papyra.persistence.ready import ReadyEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from papyra.clock import Clock
    from papyra.payloads import MessageRegistry, PayloadLimits, Redaction
    from papyra.persistence.models import Record

_LOOK_AGAIN_SECONDS: Final = 0.002

_KINDS: Final[dict[type, RecordKind]] = {
    cls: cls.kind for cls in (PersistedEvent, PersistedAudit, PersistedDeadLetter)
}
_log = logging.getLogger(__name__)


class Intake(ABC):
    """The half of a recorder that takes; whoever writes is told by `_has_pushed`.

    ``handled`` takes notes of handled messages, of actors of the classes ``record_handled``; they end at
    ``time``.
    """

    def __init__(  # noqa: PLR0913  # one object wires it all, by name
        self,
        *,
        system_id: str,
        clock: Clock,
        registry: MessageRegistry,
        redaction: Redaction | None = None,
        limits: PayloadLimits = DEFAULT_LIMITS,
        max_records: int = 100_000,
        max_bytes: int = 64 * 1024 * 1024,
        record_handled: Collection[type] = (),
        time: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock
        self._sealing = Sealing(registry, redaction, limits)
        self._stamps = Stamps("", clock.now)
        self._backlog = Backlog(system_id, self._stamps, max_records=max_records, max_bytes=max_bytes)
        self._unwritable = dict.fromkeys(RecordKind, 0)
        self._is_asked_for_handled = False
        self.handled = HandledLog(system_id, time or clock.monotonic, self._hear_of_handled, record_handled)

    @property
    @abstractmethod
    def is_open(self) -> bool:
        """Whether records are taken; others are counted as lost."""

    @abstractmethod
    def _has_pushed(self, has_dropped: bool) -> None:  # noqa: FBT001  # what the backlog says
        """Hear that a record waits, and whether others were dropped for it."""

    @property
    def queued(self) -> int:
        """Records that are not durable yet, loss notes included."""
        return len(self._backlog) + len(self.handled)

    @property
    def queued_bytes(self) -> int:
        """About what they take in memory."""
        return self._backlog.bytes

    @property
    def dropped(self) -> dict[RecordKind, int]:
        """Records that were lost: to overflow, refused by the store for good, or emitted after the end."""
        return {kind: self._backlog.dropped[kind] + self._unwritable[kind] for kind in RecordKind}

    def begin(self, incarnation: str) -> None:
        """Open ``incarnation``; once, before the first emit. Emits belong into a running loop."""
        if self._stamps.incarnation:
            raise RuntimeError(f"the recorder writes for incarnation {self._stamps.incarnation} already")
        self._stamps.incarnation = incarnation

    def emit(self, record: Record) -> None:
        """Take ``record`` and give it identity, and a time where that is 0; never waits, never raises."""
        self._guarded(self._take, self._rescue, record)

    def emit_letter(self, record: PersistedDeadLetter, message: object) -> None:
        """Take a letter and wrap ``message`` into it, with its fidelity; never waits, never raises."""
        self._guarded(self._take_letter, self._rescue, record, message)

    def emit_event(self, event: ReadyEvent, payload: object = None) -> None:
        """Take an actor's event, with what it carries; gives it identity and time, never waits or raises."""
        self._guarded(self._take_event, self._rescue, event, payload)

    def take_handled(self) -> None:
        """Make events of what was handled so far; whatever is emitted later comes behind them."""
        self._guarded(self._push_handled, self._lose_handled)

    def _guarded(self, take: Callable[..., None], lose: Callable[..., None], *args: object) -> None:
        try:
            take(*args)
        except Exception as error:  # noqa: BLE001  # the recorder's firewall: an actor must not feel it
            lose(error, *args)

    def _take(self, record: Record) -> None:
        self._push(record, self._sealing.seal(record))

    def _take_letter(self, record: PersistedDeadLetter, message: object) -> None:
        self._push(record, self._sealing.seal_message(record, message))

    def _take_event(self, event: ReadyEvent, payload: object) -> None:
        if payload:
            event.payload = msgspec.Raw(self._sealing.seal_payload(event.event_type, payload).json)
        self._push_event(event)

    def _push_handled(self) -> None:
        if not self.is_open:
            self._discard_handled()
            return
        run = self.handled.take(self._stamps)
        if run is not None:
            self._has_pushed(self._backlog.push_run(run))

    def _lose_handled(self, error: Exception) -> None:
        _log.error("%d handled messages could not be recorded", len(self.handled), exc_info=error)
        self._discard_handled()

    def _discard_handled(self) -> None:
        self._unwritable[RecordKind.EVENT] += self.handled.discard()

    def _hear_of_handled(self) -> None:
        if len(self.handled) >= MOST_NOTES:
            self.take_handled()
        if not self._is_asked_for_handled:
            self._is_asked_for_handled = True
            asyncio.get_running_loop().call_soon(self._look_at_handled, context=Context())

    def _look_at_handled(self) -> None:
        self._is_asked_for_handled = bool(self.handled)
        self.take_handled()
        if self._is_asked_for_handled:
            loop = asyncio.get_running_loop()
            loop.call_later(_LOOK_AGAIN_SECONDS, self._look_at_handled, context=Context())

    def _push(self, record: Record, sealed: Sealed) -> None:
        if not self.is_open:
            self._unwritable[record.kind] += 1
            return
        if self.handled:
            self.take_handled()
        self._has_pushed(self._backlog.push(self._stamp(record, sealed), sealed.size))

    def _push_event(self, event: ReadyEvent) -> None:
        if not self.is_open:
            event.timestamp = self._clock.now()
            self._unwritable[RecordKind.EVENT] += 1
            return
        if self.handled:
            self.take_handled()
        self._begun_incarnation()
        self._stamps.stamp(event)
        self._has_pushed(self._backlog.push_event(event))

    def _stamp(self, record: Record, sealed: Sealed) -> Record:
        incarnation = self._begun_incarnation()
        timestamp = self._stamps.time(record.timestamp)
        seq = self._stamps.peek(record.kind)
        ready = stamped(record, sealed, incarnation, seq, timestamp)
        self._stamps.take(record.kind)  # last: what raises before leaves no hole
        return ready

    def _begun_incarnation(self) -> str:
        if not self._stamps.incarnation:
            raise RuntimeError("begin() comes before the first record")
        return self._stamps.incarnation

    def _rescue(self, error: Exception, record: Record | ReadyEvent, *_: object) -> None:
        _log.error("a record could not be taken as it is: %r", type(record), exc_info=error)
        self._guarded(self._take_bare, self._lose, record)

    def _take_bare(self, record: Record | ReadyEvent) -> None:
        if isinstance(record, ReadyEvent):
            record.payload = msgspec.Raw(BARE.payload.json)
            self._push_event(record)
        else:
            self._push(record, BARE)

    def _lose(self, error: Exception, record: Record | ReadyEvent) -> None:
        _log.error("a record was lost", exc_info=error)
        self._unwritable[_KINDS.get(type(record), RecordKind.EVENT)] += 1  # it may be no record at all
