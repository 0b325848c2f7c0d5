"""One recovery or compaction at a time: a key with a holder and a term, taken over from one that is gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from papyra.exceptions import StoreLockedError
from papyra.node import Node, is_gone, this_node
from papyra.persistence._redis.scripts import GIVE_LEASE_BACK, TAKE_LEASE

if TYPE_CHECKING:
    from papyra.persistence._redis.connecting import Door

TERM_SECONDS = 60


class Lease:
    """The right of this process to maintain the store, for a term at a time.

    Its own tasks share it: they take it anew for each step, in one thread. The server ends a term by its own
    clock; a holder that was killed blocks nobody on its host.
    """

    def __init__(self, door: Door, key: str) -> None:
        self._door = door
        self._key = key

    def take(self) -> None:
        """Begin a term, as the first or the next; raises `StoreLockedError` where another process has it."""
        me = json.dumps(this_node().to_dict(), sort_keys=True)
        holder = self._take(me, "")
        if holder != me and _is_over(holder):
            holder = self._take(me, holder)
        if holder != me:
            raise StoreLockedError(
                f"{self._key} is held by {holder:.300}, which maintains the store; a scan works meanwhile"
            )

    def _take(self, me: str, gone: str) -> str:
        (holder,) = self._door.run(TAKE_LEASE, (self._key,), (me, TERM_SECONDS * 1000, gone))
        return str(holder, "utf-8", "replace")

    def give_back(self) -> None:
        """Let other processes in."""
        me = json.dumps(this_node().to_dict(), sort_keys=True)
        self._door.run(GIVE_LEASE_BACK, (self._key,), (me,))


def _is_over(holder: str) -> bool:
    try:
        node = Node.from_mapping(json.loads(holder))
    except (ValueError, AttributeError):
        return True  # nothing of ours wrote this
    return node is not None and is_gone(node)
