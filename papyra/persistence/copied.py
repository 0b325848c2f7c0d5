"""What a copy is asked for and what it came to, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from papyra.exceptions import ConfigurationError
from papyra.persistence.models import Record, RecordId, RecordKind

if TYPE_CHECKING:
    from papyra.persistence.models import PersistenceScanReport

MAX_DIFFERENCES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySelection:
    """Which records to copy: of these kinds, not before ``since``, and before ``until``."""

    kinds: tuple[RecordKind, ...] = tuple(RecordKind)
    since: float | None = None
    until: float | None = None

    def __post_init__(self) -> None:
        if self.since is not None and self.until is not None and self.since >= self.until:
            raise ConfigurationError("--since is not before --until, so nothing can match")

    @property
    def is_unbounded(self) -> bool:
        """Whether no time is asked for."""
        return self.since is None and self.until is None

    def includes(self, record: Record) -> bool:
        """Whether the time of ``record`` is asked for."""
        return (self.since is None or record.timestamp >= self.since) and (
            self.until is None or record.timestamp < self.until
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A record that the target has not as the source has it: ``conflicting``, ``refused`` or ``missing``."""

    what: str
    id: RecordId
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedKind:
    """What became of one kind.

    ``selected`` records were asked for; of these ``copied`` are new in the target, ``present`` were there
    already. ``late`` of the new ones came after higher numbers of their incarnation. ``resumed_after`` is the
    record behind which reading began, if not at the first. The fingerprints are of what was compared.
    """

    selected: int = 0
    copied: int = 0
    present: int = 0
    conflicting: int = 0
    refused: int = 0
    missing: int = 0
    late: int = 0
    numbered: int = 0
    compared: int = 0
    source_fingerprint: str = ""
    target_fingerprint: str = ""
    resumed_after: RecordId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyReport:
    """What a copy did. ``differences`` holds the first hundred.

    ``unknown`` records are of a kind that only a newer version knows, ``left_out`` lines of a pipe no record
    at all. Without ``is_verified`` the target could not be read back.
    """

    kinds: dict[RecordKind, CopiedKind]
    dry_run: bool
    is_verified: bool
    differences: tuple[Difference, ...] = ()
    scan: PersistenceScanReport | None = None
    unknown: int = 0
    left_out: int = 0

    @property
    def differs(self) -> bool:
        """Whether the target does not hold everything that was read, as it was read."""
        return any(kind.conflicting or kind.refused or kind.missing for kind in self.kinds.values()) or any(
            kind.source_fingerprint != kind.target_fingerprint
            for kind in self.kinds.values()
            if self.is_verified
        )

    @property
    def lacks_source_records(self) -> bool:
        """Whether the source has, or had, records that could not be read."""
        return bool(self.unknown or self.left_out or (self.scan is not None and self.scan.has_damage))

    @property
    def late(self) -> int:
        """How many records stand behind later ones in the target now."""
        return sum(kind.late for kind in self.kinds.values())
