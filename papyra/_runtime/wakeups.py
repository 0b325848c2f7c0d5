"""How the tasks of actors wait, and how they are woken: many by one callback of the loop."""

from __future__ import annotations

from asyncio import Future
from collections import deque
from contextvars import Context
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Generator


class Sleeper:
    """What an actor's task waits for, as often as it likes, where a Future serves once.

    To asyncio's tasks it is a Future. The callback of a task is always the same, so the first is kept.
    ``wake`` is for a task that is cancelled while it waits.
    """

    __slots__ = ("_asyncio_future_blocking", "_loop", "_wake", "run", "step")

    run: Callable[..., object]
    step: Callable[[Future[None]], object]

    def __init__(self, loop: AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._wake = wake

    def __await__(self) -> Generator[Any, Any, Any]:
        self._asyncio_future_blocking = True
        return iter((self,))  # type: ignore[return-value]  # all that await wants of it

    def add_done_callback(self, step: Callable[[Future[None]], object], *, context: Context) -> None:
        """Keep what lets the task go on."""
        self.step = step
        self.run = context.run
        self.__class__ = _Known

    def cancel(self, msg: object = None) -> bool:
        """Wake the task, which was cancelled; it keeps the message itself, and is told so."""
        del msg
        self._wake()
        return False


class _Known(Sleeper):
    """One whose task has waited before."""

    __slots__ = ()

    add_done_callback = "".format  # type: ignore[assignment]  # takes anything, does nothing: nothing is quicker


class Wakeups:
    """Those whose turn has come, in order. What is added while they have theirs comes with the next."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._due: deque[Sleeper] = deque()
        self._is_asked = False
        self._context = Context()
        self._over: Future[None] = Future(loop=loop)
        self._over.set_result(None)

    def add(self, sleeper: Sleeper) -> None:
        """Have the task behind ``sleeper`` go on soon; once for each time that it waits."""
        self._due.append(sleeper)
        if not self._is_asked:
            self._ask()

    def _ask(self) -> None:
        self._loop.call_soon(self._wake, context=self._context)
        self._is_asked = True

    def _wake(self) -> None:
        due, over = self._due, self._over
        try:
            for _ in range(len(due)):
                sleeper = due.popleft()
                sleeper.run(sleeper.step, over)
        finally:  # one of them may have ended the loop
            self._is_asked = False
            if due:
                self._ask()
