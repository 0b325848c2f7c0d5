"""Answers folded from records: what ran, why it stopped, what became of messages. Pure."""

from __future__ import annotations

from papyra.history.accounts import accounting, letters_by_reason
from papyra.history.answers import (
    Accounting,
    ActorKey,
    Crash,
    Failure,
    HandledMessage,
    Life,
    LifeState,
    PastMessage,
    Restart,
    RunningActor,
    RunningAt,
    Stop,
    Timeline,
    UnknownSpan,
)
from papyra.history.lives import timeline
from papyra.history.running import running_at, why_stopped

__all__ = [
    "Accounting",
    "ActorKey",
    "Crash",
    "Failure",
    "HandledMessage",
    "Life",
    "LifeState",
    "PastMessage",
    "Restart",
    "RunningActor",
    "RunningAt",
    "Stop",
    "Timeline",
    "UnknownSpan",
    "accounting",
    "letters_by_reason",
    "running_at",
    "timeline",
    "why_stopped",
]
