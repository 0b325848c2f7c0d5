"""An event loop whose order is drawn from a seed; time passes only while nothing else can happen."""

from __future__ import annotations

import asyncio
import random
import selectors
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1_000.0


class DeadlockError(AssertionError):
    """Nothing is ready, no timer runs, and somebody waits."""


class _Selector(selectors.SelectSelector):
    """Waits for nothing: the time that it should wait passes at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise DeadlockError("nothing will ever happen, and somebody waits for it")
            self.now += max(timeout, 0.0)
        return ready


class _Ready(NamedTuple):
    handle: asyncio.Handle
    callback: Callable[..., object]
    args: tuple[object, ...]
    context: Context


class SeededLoop(asyncio.SelectorEventLoop):
    """Runs, of what is ready, any one of the ``window`` oldest; 1 is asyncio's own order.

    ``after_each`` is called after every callback, which is every moment at which anybody can look.
    """

    def __init__(self, seed: int, window: int) -> None:
        self._selector_of_time = _Selector()
        super().__init__(self._selector_of_time)
        self.after_each: Callable[[], object] = lambda: None
        self._random = random.Random(seed)  # noqa: S311  # no secret
        self._window = window
        self._waiting: list[_Ready] = []

    def time(self) -> float:
        return self._selector_of_time.now

    def call_soon(  # type: ignore[override]  # typeshed ties args to the callback
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        own = copy_context() if context is None else context
        handle = asyncio.Handle(callback, args, self, own)
        self._waiting.append(_Ready(handle, callback, args, own))
        super().call_soon(self._run_one, context=Context())
        return handle

    def _run_one(self) -> None:
        chosen = self._waiting.pop(self._random.randrange(min(self._window, len(self._waiting))))
        if chosen.handle.cancelled():
            return
        try:
            chosen.context.run(chosen.callback, *chosen.args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001  # what asyncio's own loop does
            self.call_exception_handler(
                {"message": f"Exception in callback {chosen.callback!r}", "exception": error}
            )
        self.after_each()


class LoopClock:
    """The clock of a system on such a loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return round(1_800_000_000.0 + self._loop.time(), 6)

    def monotonic(self) -> float:
        return self._loop.time()
