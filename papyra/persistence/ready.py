"""Events on their way from the recorder to a store, cheaper to make and to write than a record. Pure."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from papyra.payloads import Encoded, Fidelity
from papyra.persistence.models import PersistedEvent, RecordKind

NO_PAYLOAD = msgspec.Raw(b"{}")


class ReadyEvent(msgspec.Struct, omit_defaults=True, gc=False):
    """A `PersistedEvent` with its identity, as its line says it and in the line's order; read like one.

    Only for events whose every text the runtime made: nothing about it is checked, and no member inside its
    payload may be named ``seq`` or ``crc``, the words of a line's frame.
    """

    seq: int
    kind: RecordKind
    incarnation: str
    system_id: str
    timestamp: float
    actor_address: str
    event_type: str
    payload: msgspec.Raw = NO_PAYLOAD
    actor_path: str = ""
    actor_type: str = ""
    message_id: str = ""
    cause_id: str = ""
    root_id: str = ""

    def to_record(self) -> PersistedEvent:
        """Return the same as a record, for a store that takes no other."""
        return PersistedEvent(
            self.system_id,
            self.actor_address,
            self.event_type,
            Encoded(bytes(self.payload), Fidelity.EXACT),
            self.timestamp,
            incarnation=self.incarnation,
            seq=self.seq,
            actor_path=self.actor_path,
            actor_type=self.actor_type,
            message_id=self.message_id,
            cause_id=self.cause_id,
            root_id=self.root_id,
        )


class ReadyLine(msgspec.Struct, gc=False):
    """An event that is its line already, newline included; `papyra.persistence.codec` reads it."""

    kind: ClassVar[RecordKind] = RecordKind.EVENT

    seq: int
    incarnation: str
    timestamp: float
    line: bytes
    checksum: int
