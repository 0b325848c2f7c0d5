"""Where `papyra` finds its store: ``--path``, ``--store``, ``PAPYRA_STORE``, or ``./papyra.ndjson``."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from papyra.cli.text import shell_word
from papyra.exceptions import ConfigurationError
from papyra.persistence.stores import masked, open_store, store_from_path

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping

    from papyra.cli.outcome import NextStep
    from papyra.persistence.backend import PersistenceBackend

DEFAULT_PATH = "./papyra.ndjson"
ENVIRONMENT = "PAPYRA_STORE"
_NONE_NAMED = f"no store is named (--path, --store or {ENVIRONMENT}), and "


class Source(NamedTuple):
    """A store as people know it, how it is opened, and the words that name it on a command line."""

    label: str
    open: Callable[[], PersistenceBackend]
    words: tuple[str, ...]

    def spell(self, step: NextStep) -> str:
        """Return ``step`` as a line to type."""
        return " ".join(
            ["papyra", step.command, *(shell_word(word) for word in (*step.options, *self.words))]
        )


def choose_source(args: Namespace, environ: Mapping[str, str]) -> Source:
    """Return what the arguments name, else the environment, else the default file; opening it may fail."""
    if args.path is not None:
        return Source(args.path, partial(store_from_path, args.path), ("--path", args.path))
    if args.store is not None:
        opening = partial(_open_existing, args.store)
        return Source(masked(args.store), opening, ("--store", masked(args.store)))
    url = environ.get(ENVIRONMENT, "")
    if url:
        return Source(masked(url), partial(_open, f"{ENVIRONMENT}: ", partial(_open_existing, url)), ())
    return Source(DEFAULT_PATH, partial(_open, _NONE_NAMED, partial(store_from_path, DEFAULT_PATH)), ())


def _open_existing(url: str) -> PersistenceBackend:
    return open_store(url, must_exist=True, is_bounded=False)


def _open(context: str, opener: Callable[[], PersistenceBackend]) -> PersistenceBackend:
    try:
        return opener()
    except ConfigurationError as error:
        raise ConfigurationError(f"{context}{error}") from error
