"""Counters of one backend object, under the published names."""

from __future__ import annotations

import threading

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
)


class PersistenceMetrics:
    """Thread-safe counters since the object was made or `reset`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(_NAMES, 0)

    def add(self, name: str, amount: int = 1) -> None:
        """Count ``amount`` more; an unknown name is a ``KeyError``."""
        with self._lock:
            self._counts[name] += amount

    def add_written(self, records: int, size: int) -> None:
        """Count what was stored."""
        with self._lock:
            self._counts["records_written"] += records
            self._counts["bytes_written"] += size

    def snapshot(self) -> dict[str, int]:
        """Return every counter by name."""
        with self._lock:
            return dict(self._counts)

    def reset(self) -> None:
        """Set every counter to zero."""
        with self._lock:
            self._counts = dict.fromkeys(_NAMES, 0)

    def __getattr__(self, name: str) -> int:
        if name in _NAMES:
            with self._lock:
                return self._counts[name]
        raise AttributeError(name)
