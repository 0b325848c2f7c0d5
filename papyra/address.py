"""How actors are named: the published ``system:id`` address, and the path inside a system."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from papyra.exceptions import InvalidNameError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PART = re.compile(r"[A-Za-z0-9_.-]{1,100}\Z")
_GENERATED = re.compile(r"\$[0-9]+\Z")
_MAX_DIGITS = 18
_SYSTEM = re.compile(r"[A-Za-z0-9_.-]{1,100}\Z")


@dataclass(frozen=True, slots=True)
class ActorAddress:
    """One actor of one incarnation; prints as ``system:id``."""

    system: str
    actor_id: int

    def __str__(self) -> str:
        return f"{self.system}:{self.actor_id}"

    @classmethod
    def parse(cls, raw: str) -> ActorAddress:
        """Read ``system:id`` or ``system://id``; raises `InvalidNameError` (a ``ValueError``) otherwise."""
        system, separator, number = raw.rpartition("://")
        if not separator:
            system, separator, number = raw.rpartition(":")
        if (
            not separator
            or not system
            or not (number.isascii() and number.isdigit())
            or len(number) > _MAX_DIGITS
        ):
            raise InvalidNameError(f"not an actor address: {raw[:200]!r}; expected 'system:id'")
        return cls(system, int(number))

    def to_dict(self) -> dict[str, object]:
        """Return the published dict form."""
        return {"system": self.system, "actor_id": self.actor_id}

    @classmethod
    def from_dict(cls, raw: Mapping[str, object]) -> ActorAddress:
        """Read `to_dict` back."""
        system, number = raw.get("system"), raw.get("actor_id")
        if not isinstance(system, str) or not system or type(number) is not int or number < 0:
            raise InvalidNameError(f"not an actor address: {dict(raw)!r:.200}")
        return cls(system, number)


def check_name(name: str) -> str:
    """Return ``name`` if a user may give it to an actor; raises `InvalidNameError` otherwise."""
    if not _PART.match(name):
        raise InvalidNameError(f"{name[:120]!r} is not an actor name: 1 to 100 of A-Z a-z 0-9 _ . -")
    return name


def check_system_id(system_id: str) -> str:
    """Return ``system_id`` if it can name a system; raises `InvalidNameError` otherwise."""
    if not _SYSTEM.match(system_id):
        raise InvalidNameError(f"{system_id[:120]!r} is not a system id: 1 to 100 of A-Z a-z 0-9 _ . -")
    return system_id


def join_path(parent: str, name: str) -> str:
    """Return the child's path below ``parent`` (``""`` is the root of the system)."""
    return f"{parent}/{name}"


def is_generated(path: str) -> bool:
    """Whether the last part was made up (``$7``) and so means nothing to the next incarnation."""
    return bool(_GENERATED.match(path.rpartition("/")[2]))


def split_reference(raw: str, *, system_id: str) -> tuple[str, str]:
    """Return ``(system, path)`` of a path, a top-level name, or the full form ``system/path``.

    A leading ``/`` means this system; a bare word is a top-level name of this system.
    """
    if raw.startswith("/"):
        system, path = system_id, raw
    elif "/" in raw:
        system, _, rest = raw.partition("/")
        path = f"/{rest}"
    else:
        system, path = system_id, f"/{raw}"
    parts = path.split("/")[1:]
    if not parts or not all(_PART.match(part) or _GENERATED.match(part) for part in parts):
        raise InvalidNameError(f"not an actor path: {raw[:200]!r}; expected '/parent/name' or 'name'")
    return check_system_id(system), path
