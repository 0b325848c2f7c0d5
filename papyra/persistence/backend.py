"""The port: what a store does, and what it declares of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from papyra.persistence.metrics import PersistenceMetrics
    from papyra.persistence.models import (
        CompactionReport,
        PersistenceRecoveryConfig,
        PersistenceRecoveryReport,
        PersistenceScanReport,
        Record,
        ScanDepth,
        StoreStats,
    )
    from papyra.persistence.query import Page, ProgressCallback, RecordQuery
    from papyra.persistence.retention import RetentionPolicy
    from papyra.persistence.state import StoreState


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend promises, declared on its class and never sniffed.

    ``is_durable``: an acknowledged record survives the end of the process. ``is_shared``: several processes
    may append at once. ``can_tear``: a crash may leave half a record. ``can_be_damaged``: bytes may change
    behind its back. ``takes_ready_events``: `PersistenceBackend.append` also takes
    what `papyra.persistence.ready` has, which the recorder makes faster than records (a run stands for as
    many, in `AppendError.refused` too); a subclass with its own ``append`` has to say so itself.
    """

    is_durable: bool
    is_shared: bool
    can_tear: bool
    can_be_damaged: bool
    takes_ready_events: bool = False


@runtime_checkable
class PersistenceBackend(Protocol):
    """Where records live. Thread-safe, bound to no event loop; its errors are `PersistenceError`."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    @property
    def retention(self) -> RetentionPolicy:
        """What reads show, and what `compact` makes physical when it is given no policy."""
        ...

    @property
    def metrics(self) -> PersistenceMetrics:
        """Counters of this object."""
        ...

    @property
    def state(self) -> StoreState:
        """Whether appends of this object are stored now and, where they are not, since when and why."""
        ...

    async def append(self, records: Sequence[Record]) -> None:
        """Store ``records`` in order; durable, as the backend's policy says, when it returns.

        Idempotent by ``(incarnation, kind, seq)``. Raises `AppendError` when some are refused for good (every
        other one is durable), or another `PersistenceError` when none is known to be stored: the same call
        may be repeated.
        """
        ...

    async def read(self, query: RecordQuery) -> Page[Record]:
        """Return one page; damage is read around, never raised."""
        ...

    async def scan(
        self, depth: ScanDepth = ..., *, progress: ProgressCallback | None = None
    ) -> PersistenceScanReport:
        """Look for anomalies; changes nothing, takes no lock, safe beside a live writer."""
        ...

    async def recover(
        self,
        config: PersistenceRecoveryConfig | None = None,
        *,
        depth: ScanDepth = ...,
        progress: ProgressCallback | None = None,
    ) -> PersistenceRecoveryReport:
        """Act on what a scan of ``depth`` finds; what it removes lies in quarantine first. Idempotent."""
        ...

    async def compact(
        self,
        policy: RetentionPolicy | None = None,
        *,
        dry_run: bool = False,
        progress: ProgressCallback | None = None,
    ) -> CompactionReport:
        """Remove for good what ``policy`` (default: `retention`) no longer keeps."""
        ...

    async def stats(self) -> StoreStats:
        """Count records and bytes, cheap at any size."""
        ...

    async def aclose(self) -> None:
        """Finish what was accepted, then free threads, files and connections. Idempotent."""
        ...
