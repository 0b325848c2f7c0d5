"""Which records there are, by identity and checksum, at four bytes each; and a fingerprint of them. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

from papyra.persistence.integrity import HistoryCheck, Placement

if TYPE_CHECKING:
    from papyra.persistence.models import RecordId

_DIGEST_BYTES = 16
_MODULUS = 1 << (8 * _DIGEST_BYTES)


class Fingerprint:
    """A checksum over records in any order: equal for equal records, whatever store they lie in."""

    def __init__(self) -> None:
        self._sum = 0

    def add(self, identity: RecordId, checksum: int) -> None:
        """Take one record in; the same one twice counts twice."""
        text = f"{identity.incarnation} {identity.kind} {identity.seq} {checksum:08x}"
        digest = blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()
        self._sum = (self._sum + int.from_bytes(digest, "big")) % _MODULUS

    def __str__(self) -> str:
        return f"{self._sum:0{2 * _DIGEST_BYTES}x}"


class Census:
    """The identities of one store, or of a part of it."""

    def __init__(self) -> None:
        self._history = HistoryCheck()
        self.records = 0

    def add(self, identity: RecordId, checksum: int) -> Placement:
        """Take one record in, unless one of this identity is there; says where it stands."""
        placement = self._history.place((identity.incarnation, identity.kind), identity.seq, checksum)
        if placement in {Placement.NEXT, Placement.OUT_OF_ORDER}:
            self.records += 1
        return placement

    def checksum(self, identity: RecordId) -> int | None:
        """Return the checksum of the record of this identity, ``None`` where there is none."""
        found = self._history.checksum(identity.incarnation, identity.kind, identity.seq)
        return None if found is None else int(found, 16)

    def first_seq(self, identity: RecordId) -> int:
        """Return the lowest number of this incarnation and kind, 0 for none."""
        return self._history.first_seq(identity.incarnation, identity.kind)

    def last_seq(self, identity: RecordId) -> int:
        """Return the highest number of this incarnation and kind, 0 for none."""
        return self._history.last_seq(identity.incarnation, identity.kind)
