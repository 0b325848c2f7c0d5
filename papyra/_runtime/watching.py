"""Who is told when an actor ends: each watcher once, also of one that has ended already."""

from __future__ import annotations

from typing import TYPE_CHECKING

from papyra._runtime.facts import Origin
from papyra._runtime.mailbox import CURRENT
from papyra.ref import Terminated

if TYPE_CHECKING:
    from papyra._runtime.facts import End
    from papyra._runtime.receiver import Receiver


def watch(watcher: Receiver, target: Receiver) -> None:
    """Have ``watcher`` told once of the end of ``target``."""
    if target is watcher:
        raise ValueError(f"{watcher.path} cannot watch itself: it will not be there to be told")
    if target.is_over:
        assert target.end is not None  # noqa: S101  # nothing stops without a reason
        watcher.notify(Terminated(target.ref, target.end.reason), Origin.of(CURRENT.get()), target)
        return
    if target.watchers is None:
        target.watchers = set()
    if watcher.watching is None:
        watcher.watching = set()
    target.watchers.add(watcher)
    watcher.watching.add(target)


def unwatch(watcher: Receiver, target: Receiver) -> None:
    """End `watch`."""
    if target.watchers is not None:
        target.watchers.discard(watcher)
    if watcher.watching is not None:
        watcher.watching.discard(target)


def tell_watchers(target: Receiver, end: End) -> None:
    """Tell everybody that ``target`` has ended, and that it watches nobody any more."""
    ref = target.ref
    for watcher in tuple(target.watchers or ()):  # one that an eager task tells at once may unwatch
        if watcher.watching is not None:
            watcher.watching.discard(target)
        watcher.notify(Terminated(ref, end.reason), end.origin, target)
    for watched in target.watching or ():
        if watched.watchers is not None:
            watched.watchers.discard(target)
