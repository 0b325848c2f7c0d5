"""What the machine may do: drawn plans of actors, and orders for them; `FEATURES` says what there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import precondition

from papyra import Strategy, SupervisionPolicy, SupervisorDecision, supervision
from papyra.messages import MailboxPolicy
from tests.unit.faults.tree import Order, Plan

if TYPE_CHECKING:
    from collections.abc import Callable

FEATURES: frozenset[str] = frozenset(
    {
        "forward",
        "send",
        "stash",
        "ttl",
        "mailbox_policies",
        "timers",
        "pipe",
        "receive_timeout",
        "passivation",
        "resume",
        "backoff",
        "scopes",
        "retry",
    }
)
"""What the runtime has beside the rest; take a word in once it does."""

F = TypeVar("F", bound="Callable[..., Any]")
TARGETS = st.integers(0, 30)
TURNS = st.integers(0, 8)


def has(feature: str) -> Callable[[F], F]:
    """Let a rule run once the runtime has ``feature``."""
    condition: Callable[[F], F] = precondition(lambda _: feature in FEATURES)
    return condition


def policies() -> st.SearchStrategy[SupervisionPolicy | None]:
    words = [Strategy.RESTART, Strategy.RESTART, Strategy.RESTART, Strategy.STOP, Strategy.ESCALATE]
    extra: dict[str, st.SearchStrategy[Any]] = {}
    if "resume" in FEATURES:
        words.append(Strategy("resume"))
    if FEATURES & {"backoff", "scopes", "retry"}:
        new: Any = supervision  # its names come with the features
        if "backoff" in FEATURES:
            extra["backoff"] = st.sampled_from([None, new.Backoff(0.01, 0.1, 0.5)])
        if "scopes" in FEATURES:
            extra["scope"] = st.sampled_from(new.RestartScope)
            extra["restart"] = st.sampled_from(new.RestartType)
            extra["when_exhausted"] = st.sampled_from([Strategy.STOP, Strategy.ESCALATE])
        if "retry" in FEATURES:
            extra["failed_message"] = st.sampled_from([new.MessageFate.LETTER, new.MessageFate.RETRY])
            extra["message_retries"] = st.integers(0, 2)
    return st.none() | st.builds(
        SupervisionPolicy, st.sampled_from(words), st.integers(0, 9), st.just(2.0), **extra
    )


def plans() -> st.SearchStrategy[Plan]:
    options: dict[str, st.SearchStrategy[Any]] = {}
    if "mailbox_policies" in FEATURES:
        options["mailbox_policy"] = st.sampled_from(MailboxPolicy)
    if "passivation" in FEATURES:
        options["passivate_after"] = st.sampled_from([None, 0.5])
    flaws = ["init", "on_start", "on_stop", "on_restart", "on_undelivered"]
    return st.builds(
        Plan,
        policies(),
        st.sampled_from([None, None, None, *SupervisorDecision]),
        st.sampled_from([None, 1, 2, 8]),
        st.sampled_from([None, None, "desk", "till"]),
        st.just(()) | st.just(()) | st.lists(st.sampled_from(flaws), max_size=2).map(tuple),
        st.fixed_dictionaries(options),
    )


def orders(*, depth: int = 1) -> st.SearchStrategy[tuple[Order, ...]]:
    words: list[st.SearchStrategy[Order]] = [
        st.tuples(st.just("pause"), st.integers(1, 3)),
        st.just(("hold",)),
        st.just(("fail",)),
        st.just(("cancelled",)),
        st.tuples(st.just("stop"), TARGETS),
        st.just(("stop self",)),
        st.tuples(st.just("watch"), TARGETS),
    ]
    if depth:
        below = orders(depth=depth - 1)
        words += [
            st.tuples(st.just("tell"), TARGETS, below),
            st.tuples(st.just("tell and wait"), TARGETS, below),
            st.tuples(st.just("ask"), TARGETS, below, st.sampled_from([0.0, 0.01, 5.0])),
            st.tuples(st.just("spawn"), plans()),
        ]
        words += [
            st.tuples(st.just(word), TARGETS, below) for word in ("forward", "send") if word in FEATURES
        ]
    if "stash" in FEATURES:
        words += [st.just(("stash",)), st.just(("unstash",))]
    if "timers" in FEATURES:
        key = st.sampled_from(["a", "b"])
        words.append(st.tuples(st.just("timer"), key, st.sampled_from([0.0, 0.01, 1.0])))
        words.append(st.tuples(st.just("periodic timer"), key, st.sampled_from([0.2, 1.0])))
        words.append(st.tuples(st.just("no timer"), key))
    if "pipe" in FEATURES:
        words.append(st.tuples(st.just("pipe"), st.sampled_from([0.0, 0.01])))
    if "receive_timeout" in FEATURES:
        words.append(st.tuples(st.just("receive timeout"), st.sampled_from([None, 0.1])))
    return st.lists(st.one_of(words), max_size=3).map(tuple)
