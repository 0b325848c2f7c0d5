"""What was not handled to its end: counted exactly, kept in full as long as it is no storm.

A letter about a letter is only counted.
"""

from __future__ import annotations

import logging
from collections import deque
from math import inf
from typing import TYPE_CHECKING

from papyra._runtime import records
from papyra._runtime.mailbox import Past
from papyra._runtime.storms import Group, StormGuard
from papyra._runtime.texts import error_text
from papyra.messages import DeadLetterReason
from papyra.persistence.models import EventType, PersistedEvent
from papyra.ref import ActorRef, DeadLetter

if TYPE_CHECKING:
    from papyra._runtime.identity import Identity
    from papyra._runtime.journal import Journal
    from papyra._runtime.mailbox import Envelope
    from papyra._runtime.scheduling import Alarm, Scheduler
    from papyra.clock import Clock

_log = logging.getLogger(__name__)

WINDOW_SECONDS = 60.0
KEPT_IN_MEMORY = 1_000

_NO_PAST = Past()
_HANDLED = frozenset({DeadLetterReason.HANDLER_FAILED, DeadLetterReason.LATE_REPLY})


class DeadLetterMailbox:
    """The newest letters of a system, and exact counts of all of them."""

    def __init__(
        self, scheduler: Scheduler, journal: Journal, clock: Clock, *, system_id: str, in_full: int
    ) -> None:
        self.total = 0
        self.counts = dict.fromkeys(DeadLetterReason, 0)
        self._scheduler = scheduler
        self._journal = journal
        self._clock = clock
        self._system_id = system_id
        self._guard = StormGuard(in_full)
        self._window: Alarm | None = None
        self._is_closed = False
        self._kept: deque[DeadLetter] = deque(maxlen=KEPT_IN_MEMORY)

    @property
    def messages(self) -> list[DeadLetter]:
        """The newest letters that were kept in full, oldest first."""
        return list(self._kept)

    def push(self, letter: DeadLetter) -> None:
        """Record ``letter``."""
        target = letter.target
        address, path = ("", "") if target is None else (str(target.address), target.path)
        if self._count(Group(address, path, letter.reason.value), letter.reason, letter.message):
            self._keep(letter)

    def add(
        self, envelope: Envelope, ref: ActorRef, reason: DeadLetterReason, error: BaseException | str = ""
    ) -> None:
        """Record that ``envelope`` was not handled to its end; builds the letter only if it is kept."""
        target = envelope.target
        group = Group(f"{target.system_id}:{target.id}", target.path, reason.value)
        if self._count(group, reason, envelope.message):
            self._keep(self._letter_of(envelope, ref, reason, error))

    def close(self) -> None:
        """Begin no further window: what follows is counted, and kept while there is room."""
        self.close_window()
        self._is_closed = True

    def close_window(self) -> None:
        """Record how many letters of the last window were only counted."""
        if self._window is not None:
            self._window.cancel()
            self._window = None
        for summary in self._guard.close_window():
            _log.warning(
                "%d more dead letters for %s (%s)",
                summary.count,
                summary.group.target_path or "many targets",
                summary.group.reason,
            )
            self._journal.recorder.emit(
                PersistedEvent(
                    self._system_id,
                    summary.group.target,
                    EventType.DEAD_LETTERS_SUPPRESSED.value,
                    summary.to_payload(),
                    0.0,
                    actor_path=summary.group.target_path,
                )
            )

    def _count(self, group: Group, reason: DeadLetterReason, message: object) -> bool:
        self.total += 1
        self.counts[reason] += 1
        if self._window is None and not self._is_closed:
            self._window = self._scheduler.call_later(WINDOW_SECONDS, self.close_window)
        is_about_another = isinstance(message, DeadLetter)  # kept in full, it could breed the next
        return self._guard.admit(group, self._clock.now(), never=is_about_another)

    def _keep(self, letter: DeadLetter) -> None:
        self._kept.append(letter)
        self._journal.recorder.emit_letter(records.letter_record(self._system_id, letter), letter.message)
        self._journal.hooks.post("on_dead_letter", letter)

    def _letter_of(
        self, envelope: Envelope, ref: ActorRef, reason: DeadLetterReason, error: BaseException | str
    ) -> DeadLetter:
        now = self._clock.now()
        deadline = envelope.deadline
        sender: Identity | None = envelope.sender
        past = envelope.past or _NO_PAST
        return DeadLetter(
            ref,
            envelope.message,
            envelope.reply is not None,
            reason=reason,
            error=error if isinstance(error, str) else error_text(error),
            timestamp=now,
            attempts=past.attempts + int(reason in _HANDLED),
            deadline=None
            if deadline is None or deadline == inf
            else round(now + deadline - self._scheduler.time(), 6),
            message_id=self._journal.message_id(envelope.id),
            cause_id=self._journal.message_id(envelope.cause),
            root_id=self._journal.message_id(envelope.root),
            sender_path="" if sender is None else sender.path,
            headers=envelope.headers or {},
            redelivered_from=past.redelivered_from,
        )
