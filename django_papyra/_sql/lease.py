"""One recovery or compaction at a time: a row with a holder and a term, taken over from one that is gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F

from django_papyra.models import StoreLock
from papyra.exceptions import StoreLockedError
from papyra.node import Node, is_gone, this_node

if TYPE_CHECKING:
    from papyra.clock import Clock

NAME = "maintenance"
TERM_SECONDS = 60.0


def removals(alias: str) -> int:
    """Return how often rows were taken out of the tables."""
    return StoreLock.objects.using(alias).filter(name=NAME).values_list("removals", flat=True).first() or 0


def count_removal(alias: str) -> None:
    """Say, in the transaction that takes rows out, that it does."""
    StoreLock.objects.using(alias).filter(name=NAME).update(removals=F("removals") + 1)


class Lease:
    """The right of this process to maintain the store, for a term at a time.

    Its own tasks share it: they take it anew for each step, in one thread. A holder that was killed blocks
    nobody on its host.
    """

    def __init__(self, alias: str, clock: Clock) -> None:
        self._alias = alias
        self._clock = clock

    def take(self) -> None:
        """Begin a term, as the first or the next; raises `StoreLockedError` where another process has it."""
        me = json.dumps(this_node().to_dict(), sort_keys=True)
        rows = StoreLock.objects.using(self._alias)
        rows.get_or_create(name=NAME)
        with transaction.atomic(using=self._alias):
            row = rows.select_for_update().get(name=NAME)
            if row.holder not in {"", me} and self._clock.now() < row.expires and not _is_over(row.holder):
                raise StoreLockedError(
                    f"database {self._alias!r} is being maintained by {row.holder}; a scan works meanwhile"
                )
            rows.filter(name=NAME).update(holder=me, expires=self._clock.now() + TERM_SECONDS)

    def give_back(self) -> None:
        """Let other processes in."""
        me = json.dumps(this_node().to_dict(), sort_keys=True)
        StoreLock.objects.using(self._alias).filter(name=NAME, holder=me).update(holder="", expires=0.0)


def _is_over(holder: str) -> bool:
    try:
        node = Node.from_mapping(json.loads(holder))
    except ValueError:
        return True  # nothing of ours wrote this
    return node is not None and is_gone(node)
