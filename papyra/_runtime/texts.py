"""Errors as text, bounded, whatever their classes do."""

from __future__ import annotations

from traceback import TracebackException
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

MAX_ERROR = 2_000
MAX_TRACEBACK = 8_000
_MAX_FRAMES = 50
_OURS = __name__.rpartition(".")[0]


def error_texts(error: BaseException) -> tuple[str, str]:
    """Return ``TypeName: text`` of ``error``, and its traceback from the actor's own code on."""
    report = TracebackException(type(error), error, _skip_ours(error.__traceback__), limit=-_MAX_FRAMES)
    whole = "".join(report.format()).strip()
    if len(whole) > MAX_TRACEBACK:
        tail = whole[-MAX_TRACEBACK:]
        whole = f"…\n{tail.partition(chr(10))[2]}"  # half a line could be a secret without the key before it
    return _only(report, error), whole


def error_text(error: BaseException) -> str:
    """Return ``TypeName: text`` of ``error``; a ``__str__`` that raises is said to."""
    return _only(TracebackException(type(error), error, None), error)


def _only(report: TracebackException, error: BaseException) -> str:
    text = "".join(report.format_exception_only()).strip().removeprefix(f"{type(error).__module__}.")
    return (
        text if len(text) <= MAX_ERROR else f"{text[:MAX_ERROR]}… ({len(text) - MAX_ERROR} more characters)"
    )


def _skip_ours(frames: TracebackType | None) -> TracebackType | None:
    while frames is not None and frames.tb_next is not None:
        if not str(frames.tb_frame.f_globals.get("__name__")).startswith(_OURS):
            break
        frames = frames.tb_next
    return frames
