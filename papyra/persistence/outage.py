"""How a store with a server lives through the server's absence, in the store's writer thread."""

from __future__ import annotations

import logging
import math
import random
import re
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from papyra.clock import SYSTEM_CLOCK
from papyra.exceptions import (
    ConfigurationError,
    PersistenceError,
    StoreFailedError,
    StoreUnavailableError,
)
from papyra.persistence._files.fs import LOCAL_FS
from papyra.persistence._files.spilled import SpillLimits, SpillStats, WhenFull
from papyra.persistence._files.spillslots import SpillSlots
from papyra.persistence.contact import Contact, Mode, pause_before_retry
from papyra.persistence.entries import Entry, WriterIdentity
from papyra.persistence.models import as_word

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

    from papyra.clock import Clock
    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence.metrics import PersistenceMetrics
    from papyra.persistence.models import PersistedEvent, StoreStats
    from papyra.persistence.state import StateTracker

    Refusals = Mapping[int, PersistenceError]
    Send = Callable[[Sequence[Entry]], Refusals]

_log = logging.getLogger(__name__)

CLOSING_SECONDS = 5.0
"""How long closing goes on with a replay that the server takes."""
MAX_SPILL_BYTES = 64 * 1024 * 1024

_LEAST_SPILL_BYTES = 4096
_MOST_RETRY = 3600.0
_BEHIND = "what was kept while it was away is being sent"
_SHORT_LINE = 256
"""A spill may hold a record for each so many of its bytes."""


class OutageOptions(NamedTuple):
    """What a store does while its server is away; see `checked`.

    ``spill_dir``: a folder on a disk that outlives the process; ``None``: nothing is kept there, an append
    fails after ``retry_seconds``.
    """

    spill_dir: str | os.PathLike[str] | None = None
    spill_max_bytes: int = MAX_SPILL_BYTES
    spill_when_full: str = WhenFull.REFUSE
    retry_seconds: float = 0.0

    def checked(self) -> OutageOptions:
        """Return the same with words read; raises `ConfigurationError` for what cannot be."""
        size: object = self.spill_max_bytes
        if type(size) is not int or size < _LEAST_SPILL_BYTES:
            raise ConfigurationError(
                f"spill_max_bytes must be a whole number, {_LEAST_SPILL_BYTES} or more, not {size!r:.50}"
            )
        seconds: object = self.retry_seconds
        if isinstance(seconds, bool) or not (
            isinstance(seconds, int | float) and 0 <= seconds <= _MOST_RETRY
        ):
            raise ConfigurationError(
                f"retry_seconds must be a number from 0 to {_MOST_RETRY:g}, not {seconds!r:.50}"
            )
        when_full = as_word(WhenFull, "way of a full spill", self.spill_when_full)
        return self._replace(spill_when_full=when_full)


class Outage:
    """Stands between a store's writer and its server; all but `is_away` and `add_to` is the writer thread's.

    An entry that `store` returned for, and did not refuse, is acknowledged. While the server answers that
    means what the server's durability says. While it is away, and until all that waits was sent, it means
    that the record is synced to the disk under ``spill_dir``, from where it is sent, in order and before
    anything newer of this process, as soon as the server takes it: by this process, or by the next one that
    writes to this store. Without ``spill_dir`` nothing is acknowledged meanwhile: `store` raises
    `StoreUnavailableError`, and the same records may be appended again.

    ``send`` has to know entries by their identity: what it was sent before it broke off, it is sent again. It
    raises `StoreUnavailableError` for "not now"; other errors reach the caller. As a `Chore` of the writer
    thread it tries again by itself, at moments spread at random, and replays in short turns.
    """

    def __init__(  # noqa: PLR0913  # what it brings together
        self,
        store: str,
        send: Send,
        identity: WriterIdentity,
        *,
        options: OutageOptions,
        tracker: StateTracker,
        metrics: PersistenceMetrics,
        pause: Callable[[float], bool],
        clock: Clock = SYSTEM_CLOCK,
        draw: Callable[[], float] = random.random,
        fs: FileSystem = LOCAL_FS,
    ) -> None:
        options = options.checked()
        self._store = store
        self._send = send
        self._identity = identity
        self._notes = WriterIdentity(clock)  # sent at once, while numbers of the other's may still wait
        self._retry_seconds = options.retry_seconds
        self._tracker = tracker
        self._metrics = metrics
        self._pause = pause
        self._clock = clock
        self._draw = draw
        self._contact = Contact()
        self._has_looked = False
        self._replayed = 0
        self._dropped = 0
        self._waiting = SpillStats()
        self._spill: SpillSlots | None = None
        if options.spill_dir is not None:
            self._spill = SpillSlots(
                Path(options.spill_dir).absolute() / re.sub(r"[^A-Za-z0-9_.-]", "_", store),
                self._encode,
                limits=SpillLimits(
                    max_bytes=options.spill_max_bytes, max_records=options.spill_max_bytes // _SHORT_LINE
                ),
                when_full=WhenFull(options.spill_when_full),
                clock=clock,
                fs=fs,
            )

    @property
    def due(self) -> float:
        """When to try again, go on with a replay, or look for what dead processes left."""
        return math.inf if self._spill is None else self._contact.due

    @property
    def is_away(self) -> bool:
        """Whether the server did not answer last, so that work that may be left out should be; any thread."""
        return self._contact.mode is Mode.AWAY

    def add_to(self, stats: StoreStats) -> StoreStats:
        """Return ``stats`` with what this process has kept beside the store; for any thread."""
        waiting = self._waiting
        return replace(
            stats,
            total_bytes=stats.total_bytes + waiting.bytes + waiting.quarantine_bytes,
            quarantine_bytes=stats.quarantine_bytes + waiting.quarantine_bytes,
            dropped_records=stats.dropped_records + self._dropped,
            waiting_records=waiting.records,
        )

    def store(self, entries: Sequence[Entry]) -> Refusals:
        """Give ``entries`` their numbers and keep them; returns those refused for good, by position."""
        with self._identity.renewed_on_failure():
            self._identity.encode(entries)
            if self._spill is None:
                return self._send_patiently(entries)
            return self._send_or_keep(self._spill, entries)

    def _send_patiently(self, entries: Sequence[Entry]) -> Refusals:
        deadline = self._clock.monotonic() + self._retry_seconds
        for failures in count(1):
            try:
                return self._send(entries)
            except StoreUnavailableError:
                seconds = pause_before_retry(failures, self._draw())
                if self._clock.monotonic() + seconds >= deadline or not self._pause(seconds):
                    raise
        raise AssertionError("numbers do not end")

    def _send_or_keep(self, spill: SpillSlots, entries: Sequence[Entry]) -> Refusals:
        if not self._has_looked and self._adopt(spill):
            self._contact = self._contact.answered(0)
        while self._contact.mode is Mode.REPLAYING and not spill.has_room(entries):
            self.run()
        if self._contact.mode is Mode.CONNECTED:
            began = self._clock.monotonic()
            try:
                refusals = self._send(entries)
            except StoreUnavailableError as error:
                self._lose(error, began)
            else:
                self._tracker.returned()
                return refusals
        self._keep(spill, entries)
        return {}

    def _adopt(self, spill: SpillSlots) -> bool:
        self._has_looked = True
        try:
            return spill.adopt()
        except PersistenceError as error:  # no reason to do without the server
            _log.error("%s: what may wait in %s is not sent: %s", self._store, spill.folder, error)
            return False

    def _keep(self, spill: SpillSlots, entries: Sequence[Entry]) -> None:
        before = self._waiting.dropped
        try:
            spill.append(entries)
        except StoreFailedError as error:  # that of the spill: the store itself may come back
            raise StoreUnavailableError(f"{self._store} is away, and {error}") from error
        self._contact = self._contact.kept(sum(entry.size for entry in entries))
        self._tell(spill, _BEHIND)
        dropped = self._waiting.dropped - before
        if dropped:
            self._dropped += dropped
            self._metrics.add("records_dropped", dropped)

    def _tell(self, spill: SpillSlots, reason: str) -> None:
        self._waiting = spill.stats()
        self._tracker.spilling(reason, self._waiting.records)

    def _lose(self, error: BaseException, began: float) -> None:
        now = self._clock.monotonic()
        self._contact = self._contact.lost(now, self._draw(), now - began)
        self._tracker.spilling(str(error), self._waiting.records)

    def run(self) -> None:
        """Try what is due; a fault of ours comes out, and costs no record: it is tried again."""
        with suppress(PersistenceError):
            self.replay()

    def replay(self) -> bool:
        """Send some of what waits, due or not; whether there is more. Raises what ``send`` does.

        As much as came since, and as much again, so that it comes to an end beside any traffic.
        """
        if self._spill is None:
            return False
        began = self._clock.monotonic()
        try:
            return self._replay(self._spill)
        except BaseException as error:
            self._lose(error, began)
            raise

    def _replay(self, spill: SpillSlots) -> bool:
        if self._contact.mode is Mode.CONNECTED:
            self._adopt(spill)
        while self._replay_batch(spill):
            self._contact = self._contact.answered(self._replayed)
            self._tell(spill, _BEHIND)
            if not self._contact.owed:
                return True
        has_answered = self._replayed or self._contact.mode is Mode.REPLAYING
        self._contact = self._contact.settled(self._clock.monotonic())
        self._waiting = spill.stats()
        if has_answered:
            self._tracker.returned()
        return False

    def _replay_batch(self, spill: SpillSlots) -> bool:
        self._replayed = 0
        with self._notes.renewed_on_failure():
            return spill.replay(self._send_kept)

    def _send_kept(self, entries: Sequence[Entry]) -> Refusals:
        refusals = self._send(entries)
        self._replayed += sum(entry.size for entry in entries)
        return refusals

    def _encode(self, events: Sequence[PersistedEvent]) -> list[Entry]:
        entries = [Entry.of(event) for event in events]
        self._notes.encode(entries)
        return entries

    def close(self) -> None:
        """Go on with a replay for a moment, then leave what waits to the next process; tries nothing anew."""
        spill = self._spill
        if spill is None:
            return
        deadline = self._clock.monotonic() + CLOSING_SECONDS
        try:
            while self._contact.mode is Mode.REPLAYING and self._clock.monotonic() < deadline:
                self.run()
        finally:
            spill.close()
        if self._waiting.records:
            _log.warning(
                "%s: %d records wait in %s; the next process that writes to it sends them",
                *(self._store, self._waiting.records, spill.folder),
            )
