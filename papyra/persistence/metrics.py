"""Counters of one backend object, under the published names."""

from __future__ import annotations

import os
import threading
from weakref import WeakSet

_NAMES = (
    "records_written",
    "bytes_written",
    "scans",
    "anomalies_detected",
    "recoveries",
    "compactions",
    "write_errors",
    "scan_errors",
    "recovery_errors",
    "compaction_errors",
    "records_removed",
    "records_dropped",
)


class PersistenceMetrics:
    """Thread-safe counters since the object was made or `reset`."""

    __slots__ = ("__weakref__", "_lock", *_NAMES)

    records_written: int
    bytes_written: int
    scans: int
    anomalies_detected: int
    recoveries: int
    compactions: int
    write_errors: int
    scan_errors: int
    recovery_errors: int
    compaction_errors: int
    records_removed: int
    records_dropped: int

    def __init__(self) -> None:
        self.after_fork()
        self.reset()
        _made.add(self)

    def after_fork(self) -> None:
        """Take a lock of this process: another thread may have held the parent's when it forked."""
        self._lock = threading.Lock()

    def add(self, name: str, amount: int = 1) -> None:
        """Count ``amount`` more; an unknown name is a ``KeyError``."""
        if name not in _NAMES:
            raise KeyError(name)
        with self._lock:
            setattr(self, name, getattr(self, name) + amount)

    def add_written(self, records: int, size: int) -> None:
        """Count what was stored."""
        with self._lock:
            self.records_written += records
            self.bytes_written += size

    def snapshot(self) -> dict[str, int]:
        """Return every counter by name."""
        with self._lock:
            return {name: getattr(self, name) for name in _NAMES}

    def reset(self) -> None:
        """Set every counter to zero."""
        with self._lock:
            for name in _NAMES:
                setattr(self, name, 0)


_made: WeakSet[PersistenceMetrics] = WeakSet()


def _after_fork() -> None:
    for metrics in list(_made):
        metrics.after_fork()


os.register_at_fork(after_in_child=_after_fork)
