"""One registry of numbers: counted here, or kept elsewhere and read when asked. No exporter, no global."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import NamedTuple

Reading = float | Mapping[str, float] | None
"""One number, or one for each value of the label; ``None``: nothing to say now."""


class InstrumentKind(StrEnum):
    """Whether a number only grows."""

    COUNTER = "counter"
    GAUGE = "gauge"


class Sample(NamedTuple):
    """One number at one time; ``label_value`` says of what, where ``label`` names a distinction."""

    name: str
    kind: InstrumentKind
    help: str
    value: float
    label: str = ""
    label_value: str = ""


class Counter:
    """Counts since it was made, by the values of at most one label; from any thread."""

    def __init__(self, name: str, label: str) -> None:
        self.name = name
        self.label = label
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {} if label else {"": 0}

    def add(self, amount: int = 1, label_value: str = "") -> None:
        """Count ``amount`` more, under a value of the label where there is one."""
        if amount < 0:
            raise ValueError(f"{self.name} only grows, not by {amount}")
        if bool(label_value) != bool(self.label):
            raise ValueError(
                f"{self.name} is counted {f'by {self.label}' if self.label else 'without a label'}"
            )
        with self._lock:
            self._counts[label_value] = self._counts.get(label_value, 0) + amount

    def counts(self) -> dict[str, int]:
        """Return the counts by label value; without a label there is one, under ``""``."""
        with self._lock:
            return dict(self._counts)


class _Instrument(NamedTuple):
    kind: InstrumentKind
    help: str
    label: str
    read: Callable[[], Reading]


class Instruments:
    """What one system, and the store below it, make countable; belongs to whoever starts the system."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._instruments: dict[str, _Instrument] = {}

    def counter(self, name: str, help_text: str, *, label: str = "") -> Counter:
        """Return a new counter; a name is given once."""
        counter = Counter(name, label)
        self._add(name, _Instrument(InstrumentKind.COUNTER, help_text, label, counter.counts))
        return counter

    def gauge(self, name: str, help_text: str, read: Callable[[], Reading], *, label: str = "") -> None:
        """Call ``read`` at each `collect`, for a number that goes up and down."""
        self._add(name, _Instrument(InstrumentKind.GAUGE, help_text, label, read))

    def count_of(self, name: str, help_text: str, read: Callable[[], Reading], *, label: str = "") -> None:
        """Call ``read`` at each `collect`, for a number that somebody else counts."""
        self._add(name, _Instrument(InstrumentKind.COUNTER, help_text, label, read))

    def collect(self) -> tuple[Sample, ...]:
        """Return every number, by name."""
        with self._lock:
            instruments = list(self._instruments.items())
        samples = []
        for name, (kind, help_text, label, read) in instruments:
            reading = read()
            if isinstance(reading, Mapping):
                samples += [
                    Sample(name, kind, help_text, number, label, of) for of, number in reading.items()
                ]
            elif reading is not None:
                samples.append(Sample(name, kind, help_text, reading, label))
        return tuple(sorted(samples, key=lambda sample: (sample.name, sample.label_value)))

    def _add(self, name: str, instrument: _Instrument) -> None:
        with self._lock:
            if name in self._instruments:
                raise ValueError(f"{name} is there already")
            self._instruments[name] = instrument
