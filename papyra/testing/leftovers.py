"""What a test leaves behind in its system: letters it did not announce, actors that are still busy."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

from papyra.messages import DeadLetterReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from papyra.ref import DeadLetter
    from papyra.system import ActorSystem

GRACE_SECONDS = 1.0

_TURNS = 100
_PAUSE_SECONDS = 0.005
_SHOWN = 10


class ExpectedLetters:
    """How many letters a test announced, or which; every one beyond and every one that is missing is told."""

    def __init__(self, expected: object = 0) -> None:
        self._count: int | None = None
        self._reasons: Counter[str] = Counter()
        if isinstance(expected, int) and not isinstance(expected, bool) and expected >= 0:
            self._count = expected
        elif isinstance(expected, list | tuple):
            self._reasons.update(_word_of(reason) for reason in expected)
        else:
            raise ValueError(f"expected= is a number of letters or a list of reasons, not {expected!r:.100}")

    def complaints(
        self, counts: Mapping[DeadLetterReason, int], letters: Iterable[DeadLetter]
    ) -> Iterator[str]:
        """Say what ``counts``, letters by reason, has more or less than was announced."""
        came = Counter({str(reason): count for reason, count in counts.items() if count})
        if self._count is None:
            beyond, missing = came - self._reasons, self._reasons - came
        else:
            beyond = came if came.total() > self._count else Counter()
            missing = Counter({"letters": self._count - came.total()})
        if beyond:
            announced = "" if self._count is None else f" where {self._count} were expected"
            yield f"unexpected dead letters: {_text_of(beyond)}{announced}"
            yield from (f"  {_line_of(letter)}" for letter in _newest(letters, set(beyond)))
        if +missing:
            yield f"dead letters that were expected and did not come: {_text_of(+missing)}"


async def is_quiet(system: ActorSystem, seconds: float = GRACE_SECONDS) -> bool:
    """Let the loop run until no message is pending; nothing tells when, so the first turns are quick ones."""
    for _ in range(_TURNS):
        if not system.accounting().pending:
            return True
        await asyncio.sleep(0)
    try:
        async with asyncio.timeout(seconds):
            while system.accounting().pending:  # noqa: ASYNC110  # see above
                await asyncio.sleep(_PAUSE_SECONDS)
    except TimeoutError:
        return False
    return True


async def busy_actors(system: ActorSystem, seconds: float = GRACE_SECONDS) -> list[str]:
    """Stop every actor, and say what those did that had messages or did not stop within ``seconds``."""
    pending = system.accounting().pending
    waiting = {info.path: info.mailbox_depth for info in system.list_actors() if info.mailbox_depth}
    stopping = asyncio.ensure_future(system.stop_all())
    await asyncio.wait({stopping}, timeout=seconds)
    stopping.cancel()
    await asyncio.wait({stopping})
    found = [f"{path} had {depth} more in its mailbox" for path, depth in waiting.items()]
    found += [f"{path} did not come to its end" for path in _leaves(system) if path not in waiting]
    return found or ([f"{pending} messages were pending"] if pending else [])


def _leaves(system: ActorSystem) -> list[str]:
    """Return who has not stopped and waits for no child: the ones that the others wait for."""
    return [info.path for info in system.list_actors() if not info.children_rids]


def _word_of(reason: object) -> str:
    try:
        return DeadLetterReason(str(reason)).value
    except ValueError as error:
        known = ", ".join(DeadLetterReason)
        raise ValueError(f"{reason!r:.100} is no reason of a dead letter; it is one of {known}") from error


def _newest(letters: Iterable[DeadLetter], reasons: set[str]) -> list[DeadLetter]:
    return [letter for letter in letters if str(letter.reason) in reasons][-_SHOWN:]


def _line_of(letter: DeadLetter) -> str:
    target = "nobody" if letter.target is None else letter.target.path
    error = f" ({letter.error})" if letter.error else ""
    return f"{letter.reason} to {target}: {letter.message!r:.200}{error}"


def _text_of(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
