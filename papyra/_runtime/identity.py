"""Who an actor is, for everything that only has to name it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from papyra.address import ActorAddress
from papyra.payloads import message_name

if TYPE_CHECKING:
    from collections.abc import Callable

type_name: Callable[[type], str] = lru_cache(maxsize=1024)(message_name)
"""The stored name of an actor's class."""


class Identity:
    """The names of one actor; they outlive it."""

    __slots__ = ("_path", "actor_type", "id", "name", "system_id")

    def __init__(self, system_id: str, number: int, name: str | None, path: str) -> None:
        self.system_id = system_id
        self.id = number
        self.name = name
        self._path = path
        self.actor_type = ""

    @property
    def path(self) -> str:
        """Where it hangs in the tree; not kept where the number says it: unnamed, at the top."""
        return self._path or f"/${self.id}"

    @property
    def address(self) -> ActorAddress:
        """The published form ``system:id``."""
        return ActorAddress(self.system_id, self.id)

    def condition(self, now: float) -> str:
        """Say what the actor is doing at ``now`` of the loop's clock, for an asker that waited in vain."""
        del now
        return "it does not run here"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.system_id}:{self.id} {self.path}>"
