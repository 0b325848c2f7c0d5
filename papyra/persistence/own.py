"""The records that the store itself writes: losses, ended incarnations, recoveries, dropped letters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra.persistence.entries import Entry
from papyra.persistence.models import EventType, LossNote, PersistedEvent

if TYPE_CHECKING:
    from papyra.clock import Clock
    from papyra.persistence.entries import WriterIdentity


class OwnRecords:
    """Makes them, under the process's writer incarnation; used only in the store's one ordered place."""

    def __init__(self, identity: WriterIdentity, clock: Clock) -> None:
        self._identity = identity
        self._clock = clock

    def entry(self, event_type: EventType, payload: object, system_id: str = "") -> Entry:
        """Return the event with the next number."""
        event = PersistedEvent(system_id, "", event_type.value, payload, self._clock.now())
        entry = Entry.of(event)
        identity = self._identity.next(event.kind.value)
        entry.encode(identity)
        self._identity.take(identity)
        return entry

    def loss(self, note: LossNote, system_id: str = "") -> Entry:
        """Return the event that explains a hole."""
        return self.entry(EventType.RECORDS_LOST, note.to_payload(), system_id)
