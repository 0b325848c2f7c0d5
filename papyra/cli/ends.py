"""The two ends of a copy: opened together, closed together, never the same store."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol

from papyra.cli.pipes import PipeReader, PipeWriter
from papyra.cli.text import shell_word
from papyra.exceptions import ConfigurationError
from papyra.persistence.stores import is_same_place, masked, open_store

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping
    from typing import TextIO

    from papyra.cli.outcome import NextStep
    from papyra.persistence.backend import PersistenceBackend


class Open(Protocol):
    """Opens the store of a URL."""

    def __call__(self, url: str, *, must_exist: bool, options: Mapping[str, object]) -> PersistenceBackend:
        """Return it; with ``must_exist`` a missing one is refused."""
        ...


PIPE = "-"


class Ends:
    """An open source and an open target."""

    def __init__(
        self, source: PersistenceBackend | PipeReader, target: PersistenceBackend | PipeWriter
    ) -> None:
        self.source = source
        self.target = target

    async def aclose(self) -> None:
        """Close both, the target first: what it has accepted counts."""
        try:
            await self.target.aclose()
        finally:
            await self.source.aclose()


class EndsSource(NamedTuple):
    """What `papyra.cli.source.Source` is for the commands with one store."""

    label: str
    open: Callable[[], Ends]

    def spell(self, step: NextStep) -> str:
        """Return ``step`` as a line to type."""
        return spell_alone(step)


def spell_alone(step: NextStep) -> str:
    """Return ``step``, which names its store itself, as a line to type."""
    return " ".join(["papyra", step.command, *(shell_word(word) for word in step.options)])


def choose_source(args: Namespace, environ: Mapping[str, str]) -> EndsSource:
    """Return what the arguments name; opening it may fail."""
    del environ
    return EndsSource(label_of(args), partial(open_ends, args, partial(open_store, is_bounded=False)))


def label_of(args: Namespace) -> str:
    """Return how people know the two stores."""
    return f"{masked(args.origin)} -> {masked(args.target)}"


def open_ends(args: Namespace, opener: Open) -> Ends:
    """Open both; raises `ConfigurationError` for what cannot be copied at all."""
    if args.origin == args.target == PIPE:
        raise ConfigurationError("--from - --to -: one end of a copy has to be a store")
    if args.target == PIPE and args.json:
        raise ConfigurationError("--to -: stdout carries the records, so there is no room for --json")
    if PIPE not in {args.origin, args.target} and is_same_place(args.origin, args.target):
        both = f"{masked(args.origin)} and {masked(args.target)}"
        raise ConfigurationError(f"{both} are the same store, or one is a part of the other")
    bounds = _bounds(args)
    source = (
        PipeReader(_fd_of("--from", sys.stdin))
        if args.origin == PIPE
        else opener(args.origin, must_exist=True, options={})
    )
    target = (
        PipeWriter(_fd_of("--to", sys.stdout))
        if args.target == PIPE
        else opener(args.target, must_exist=False, options=bounds)
    )
    return Ends(source, target)


def _bounds(args: Namespace) -> dict[str, object]:
    """Return what was said of a set of segments; raises for a target that is none."""
    said = {name: getattr(args, name) for name in ("max_bytes", "max_files")}
    bounds = {name: bound for name, bound in said.items() if bound is not None}
    if bounds and args.target.partition(":")[0].lower() != "segments":
        option = next(iter(bounds)).replace("_", "-")
        raise ConfigurationError(f"--{option} is about a set of segments; write --to segments:PATH")
    return bounds


def _fd_of(option: str, stream: TextIO | None) -> int:
    """Return the descriptor of a stream, which Python leaves out where the shell has closed it."""
    if stream is None:
        raise ConfigurationError(f"{option} -: this process was started with that stream closed")
    return stream.fileno()
