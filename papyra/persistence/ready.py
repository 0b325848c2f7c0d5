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


class ReadyRun(msgspec.Struct, gc=False):
    """Neighbouring events that are their lines already, newlines included; ``seq`` is the first one's number.

    A run is one object on its way to the store. Where positions in a batch are named it counts as so many
    records as it holds.
    """

    kind: ClassVar[RecordKind] = RecordKind.EVENT

    seq: int
    incarnation: str
    timestamps: list[float]
    lines: bytes
    checksums: list[int]

    def __len__(self) -> int:
        return len(self.checksums)

    @property
    def timestamp(self) -> float:
        """The time of the first."""
        return self.timestamps[0]

    def singles(self) -> list[ReadyRun]:
        """Return each event as a run of its own."""
        lines = self.lines.splitlines(keepends=True)
        each = zip(self.timestamps, lines, self.checksums, strict=True)
        return [
            ReadyRun(seq, self.incarnation, [timestamp], line, [checksum])
            for seq, (timestamp, line, checksum) in enumerate(each, self.seq)
        ]
