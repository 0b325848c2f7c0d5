"""Records at rest and the reports about them; plain values, no IO."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Self, TypeVar

from papyra.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

Word = TypeVar("Word", bound=StrEnum)

NOTHING: Mapping[str, object] = MappingProxyType({})


def as_word(words: type[Word], what: str, value: str) -> Word:
    """Return the member that ``value`` names; raises `ConfigurationError` with those there are."""
    try:
        return words(value)
    except ValueError as error:
        known = ", ".join(words)
        raise ConfigurationError(f"{value!r:.100} is not a {what}; it is one of {known}") from error


class RecordKind(StrEnum):
    """What a record is about; retention, sequence numbers and reads are per kind."""

    EVENT = "event"
    AUDIT = "audit"
    DEAD_LETTER = "dead_letter"


class EventType(StrEnum):
    """The event types papyra itself records; users may record their own."""

    SYSTEM_STARTED = "SystemStarted"
    SYSTEM_STOPPED = "SystemStopped"
    INCARNATION_LOST = "IncarnationLost"
    ACTOR_STARTED = "ActorStarted"
    ACTOR_RESTARTED = "ActorRestarted"
    ACTOR_STOPPED = "ActorStopped"
    ACTOR_CRASHED = "ActorCrashed"
    ACTOR_ESCALATED = "ActorEscalated"
    MESSAGE_HANDLED = "MessageHandled"
    DEAD_LETTERS_SUPPRESSED = "DeadLettersSuppressed"
    DEAD_LETTERS_DROPPED = "DeadLettersDropped"
    LETTER_CHANGED = "LetterChanged"
    RECORDS_DROPPED = "RecordsDropped"
    RECORDS_LOST = "RecordsLost"
    STARTUP_CHECKED = "StartupChecked"
    RECOVERY_RUN = "RecoveryRun"
    COMPACTION_RUN = "CompactionRun"
    OPERATED = "Operated"


class RecordId(NamedTuple):
    """What identifies a record for ever."""

    incarnation: str
    kind: str
    seq: int


@dataclass(frozen=True, slots=True)
class PersistedEvent:
    """A fact about an actor's or the system's life; without incarnation and seq: not stored, or legacy."""

    kind: ClassVar[RecordKind] = RecordKind.EVENT

    system_id: str
    actor_address: str
    event_type: str
    payload: object
    timestamp: float
    _: KW_ONLY
    incarnation: str = ""
    seq: int = 0
    actor_path: str = ""
    actor_type: str = ""
    message_id: str = ""
    cause_id: str = ""
    root_id: str = ""
    trace_id: str = ""
    span_id: str = ""
    extra: Mapping[str, object] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class PersistedAudit:
    """A snapshot of the whole system; the accounting counts messages since the incarnation began."""

    kind: ClassVar[RecordKind] = RecordKind.AUDIT

    system_id: str
    timestamp: float
    total_actors: int
    alive_actors: int
    stopping_actors: int
    restarting_actors: int
    registry_size: int
    registry_orphans: tuple[str, ...]
    registry_dead: tuple[str, ...]
    dead_letters_count: int
    _: KW_ONLY
    incarnation: str = ""
    seq: int = 0
    accepted: int = 0
    handled: int = 0
    failed: int = 0
    dead: int = 0
    expired: int = 0
    pending: int = 0
    records_dropped: int = 0
    details: object = None
    extra: Mapping[str, object] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class PersistedDeadLetter:
    """A message that was not handled to its end; ``reason`` is one of `papyra.messages.DeadLetterReason`."""

    kind: ClassVar[RecordKind] = RecordKind.DEAD_LETTER

    system_id: str
    target: str
    message_type: str
    payload: object
    timestamp: float
    _: KW_ONLY
    incarnation: str = ""
    seq: int = 0
    target_path: str = ""
    target_type: str = ""
    reason: str = ""
    error: str = ""
    attempts: int = 0
    expects_reply: bool = False
    deadline: float | None = None
    message_id: str = ""
    cause_id: str = ""
    root_id: str = ""
    sender_path: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    trace_id: str = ""
    span_id: str = ""
    redelivered_from: str = ""
    fidelity: str = ""
    fidelity_detail: str = ""
    count: int = 1
    extra: Mapping[str, object] = field(default_factory=lambda: NOTHING)


Record = PersistedEvent | PersistedAudit | PersistedDeadLetter


class LossNote(NamedTuple):
    """Sequence numbers that are known not to be there, and why (``first`` and ``last`` inclusive)."""

    incarnation: str
    kind: str
    first: int
    last: int
    cause: str

    def to_payload(self) -> dict[str, object]:
        """Return the payload of the ``RecordsLost`` or ``RecordsDropped`` event that says so."""
        return dict(self._asdict())

    @classmethod
    def from_payload(cls, payload: object) -> LossNote | None:
        """Read `to_payload` back; ``None`` where it is not one."""
        if not isinstance(payload, dict):
            return None
        values = [payload.get(name) for name in cls._fields]
        incarnation, kind, first, last, cause = values
        if not (isinstance(incarnation, str) and isinstance(kind, str) and isinstance(cause, str)):
            return None
        if type(first) is not int or type(last) is not int or not 1 <= first <= last:
            return None
        return cls(incarnation, kind, first, last, cause)


class ScanDepth(StrEnum):
    """How far a scan looks: back to the last clean mark, at what files say of themselves, or at every byte.

    Where nothing is sealed, ``footers`` is ``full``.
    """

    TAIL = "tail"
    FOOTERS = "footers"
    FULL = "full"


class Severity(StrEnum):
    """``crash_trace``: harmless, or normal after a crash; ``damage``: something is wrong."""

    CRASH_TRACE = "crash_trace"
    DAMAGE = "damage"


class PersistenceAnomalyType(StrEnum):
    """What a scan can find; the published names are aliases of the nearest word."""

    TORN_TAIL = "torn_tail"
    NUL_TAIL = "nul_tail"
    MISSING_NEWLINE = "missing_newline"
    CRLF = "crlf"
    BOM = "bom"
    BLANK_LINE = "blank_line"
    UNCLEAN_SEAL = "unclean_seal"
    STALE_INDEX = "stale_index"
    LEFTOVER_FILE = "leftover_file"
    OPEN_INCARNATION = "open_incarnation"
    GARBAGE = "garbage"
    BAD_CHECKSUM = "bad_checksum"
    MISSING_RECORDS = "missing_records"
    DUPLICATE_RECORD = "duplicate_record"
    CONFLICTING_RECORD = "conflicting_record"
    OUT_OF_ORDER = "out_of_order"
    BAD_HEADER = "bad_header"
    BAD_FOOTER = "bad_footer"
    FOREIGN_FILE = "foreign_file"
    NEWER_FORMAT = "newer_format"

    TRUNCATED_LINE = "torn_tail"
    PARTIAL_WRITE = "torn_tail"
    CORRUPTED_LINE = "garbage"
    ORPHANED_ROTATED_FILE = "leftover_file"
    UNEXPECTED_FILE = "foreign_file"

    @property
    def severity(self) -> Severity:
        """Whether this is normal after a crash."""
        return Severity.CRASH_TRACE if self in _CRASH_TRACES else Severity.DAMAGE


_CRASH_TRACES = frozenset(
    {
        PersistenceAnomalyType.TORN_TAIL,
        PersistenceAnomalyType.NUL_TAIL,
        PersistenceAnomalyType.MISSING_NEWLINE,
        PersistenceAnomalyType.CRLF,
        PersistenceAnomalyType.BOM,
        PersistenceAnomalyType.BLANK_LINE,
        PersistenceAnomalyType.UNCLEAN_SEAL,
        PersistenceAnomalyType.STALE_INDEX,
        PersistenceAnomalyType.LEFTOVER_FILE,
        PersistenceAnomalyType.OPEN_INCARNATION,
    }
)


@dataclass(frozen=True, slots=True)
class PersistenceAnomaly:
    """One finding: what, in which file, stream or table (``path``), at which byte or row (``offset``)."""

    type: PersistenceAnomalyType
    path: str
    detail: str | None = None
    _: KW_ONLY
    offset: int | None = None
    length: int | None = None

    @property
    def severity(self) -> Severity:
        """Whether this is normal after a crash."""
        return self.type.severity


@dataclass(frozen=True, slots=True)
class PersistenceScanReport:
    """What a scan found. ``anomalies`` holds the first thousand, ``counts`` all of them by type.

    ``warnings`` are about the place and the state of the store, and no anomalies of its content.
    """

    backend: str
    anomalies: tuple[PersistenceAnomaly, ...]
    _: KW_ONLY
    depth: ScanDepth = ScanDepth.FULL
    checked_records: int = 0
    checked_bytes: int = 0
    counts: Mapping[PersistenceAnomalyType, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def has_anomalies(self) -> bool:
        """Whether anything at all was found."""
        return bool(self.anomalies)

    @property
    def has_damage(self) -> bool:
        """Whether any finding is more than a crash trace."""
        types = self.counts or {anomaly.type for anomaly in self.anomalies}
        return any(type_.severity is Severity.DAMAGE for type_ in types)


class PersistenceRecoveryMode(StrEnum):
    """What a recovery does about findings; in each mode no byte disappears."""

    IGNORE = "ignore"
    REPAIR = "repair"
    QUARANTINE = "quarantine"
    REBUILD = "repair"

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        return cls.REBUILD if value == "rebuild" else None  # the published word


@dataclass(frozen=True, slots=True)
class PersistenceRecoveryConfig:
    """How to recover; ``quarantine_dir`` overrides ``<store>.quarantine/`` where the store is a file.

    The mode is also taken as its word.
    """

    mode: PersistenceRecoveryMode = PersistenceRecoveryMode.IGNORE
    quarantine_dir: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "mode", as_word(PersistenceRecoveryMode, "recovery mode", self.mode))


@dataclass(frozen=True, slots=True)
class PersistenceRecoveryReport:
    """What a recovery did, after the scan it acted on.

    ``left`` is what it cannot repair. ``quarantine`` is the folder or table where removed bytes lie, empty
    where none were removed.
    """

    backend: str
    scan: PersistenceScanReport
    repaired_files: tuple[str, ...] = ()
    quarantined_files: tuple[str, ...] = ()
    _: KW_ONLY
    quarantined_bytes: int = 0
    quarantine: str = ""
    losses: tuple[LossNote, ...] = ()
    left: tuple[PersistenceAnomaly, ...] = ()


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What retention removed, or with ``dry_run`` would remove; ``removed`` counts records by kind."""

    backend: str
    before_records: int
    after_records: int
    before_bytes: int | None = None
    after_bytes: int | None = None
    _: KW_ONLY
    dry_run: bool = False
    removed: Mapping[RecordKind, int] = field(default_factory=dict)
    oldest_removed: float | None = None
    newest_removed: float | None = None
    quarantined_bytes: int = 0

    @property
    def removed_records(self) -> int:
        """How many records of all kinds."""
        return self.before_records - self.after_records

    @property
    def reclaimed_bytes(self) -> int | None:
        """How much room that made, where the store knows."""
        if self.before_bytes is None or self.after_bytes is None:
            return None
        return self.before_bytes - self.after_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class KindStats:
    """How much of one kind is stored, and its time span; ``None`` where there is nothing."""

    records: int = 0
    bytes: int = 0
    oldest: float | None = None
    newest: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreStats:
    """How much is stored; ``total_bytes`` is all the store occupies, quarantine and sidecars included.

    ``dropped_records``: what this object let go. ``waiting_records`` are in its spill, and not counted else.
    """

    backend: str
    kinds: Mapping[RecordKind, KindStats]
    total_bytes: int
    quarantine_bytes: int = 0
    is_estimate: bool = False
    dropped_records: int = 0
    waiting_records: int = 0
