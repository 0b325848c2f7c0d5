"""The tree of actors and their names. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from papyra.address import join_path
from papyra.exceptions import NameTaken

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAX_PATH = 2048
_KEPT_AT_EACH_END = 512
_LONGEST_ID = 20


class Branch(Protocol):
    """What a tree needs of its members. ``children`` is ``None`` until there is one."""

    id: int
    name: str | None

    @property
    def path(self) -> str: ...

    parent: Self | None
    children: dict[int, Self] | None


B = TypeVar("B", bound=Branch)


def path_below(parent_path: str, number: int, name: str | None) -> str:
    """Return a child's path, cut in the middle after hundreds of levels so that records stay small."""
    path = join_path(parent_path, name or f"${number}")
    if len(path) <= _MAX_PATH:
        return path
    head, tail = path[:_KEPT_AT_EACH_END], path[-_KEPT_AT_EACH_END:]
    return f"{head.rpartition('/')[0]}/.../{tail.partition('/')[2]}"


class Tree(Generic[B]):
    """Who lives below whom. A name is free once its actor was asked to stop, so an actor may outlive it."""

    def __init__(self) -> None:
        self._by_id: dict[int, B] = {}
        self._by_name: dict[tuple[int, str], B] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[B]:
        return iter(tuple(self._by_id.values()))

    def check_free(self, parent: B | None, name: str) -> None:
        """Raise `NameTaken` if a living child of ``parent`` has this name."""
        taken = self._by_name.get((parent.id if parent else 0, name))
        if taken is not None:
            raise NameTaken(f"an actor named {name!r} lives already, as {taken.path}")

    def attach(self, branch: B) -> None:
        """Add ``branch`` below its parent."""
        parent = branch.parent
        if branch.name is not None:
            self.check_free(parent, branch.name)
            self._by_name[parent.id if parent else 0, branch.name] = branch
        self._by_id[branch.id] = branch
        if parent is not None:
            if parent.children is None:
                parent.children = {}
            parent.children[branch.id] = branch

    def free_name(self, branch: B) -> None:
        """Let another actor have the name; the actor itself stays in the tree until it has stopped."""
        if branch.name is not None:
            key = (branch.parent.id if branch.parent else 0, branch.name)
            if self._by_name.get(key) is branch:
                del self._by_name[key]

    def detach(self, branch: B) -> None:
        """Remove a stopped actor."""
        self.free_name(branch)
        self._by_id.pop(branch.id, None)
        if branch.parent is not None and branch.parent.children is not None:
            branch.parent.children.pop(branch.id, None)
            if not branch.parent.children:
                branch.parent.children = None

    def get(self, number: int) -> B | None:
        """Return the living actor with this id."""
        return self._by_id.get(number)

    def find(self, path: str) -> B | None:
        """Return the actor that has ``path`` now."""
        found: B | None = None
        for part in path.split("/")[1:]:
            parent, parent_id = found, found.id if found else 0
            if part.startswith("$"):
                found = self._by_id.get(int(part[1:])) if len(part) < _LONGEST_ID else None
                if found is None or found.parent is not parent:
                    return None
            else:
                found = self._by_name.get((parent_id, part))
                if found is None:
                    return None
        return found

    def roots(self) -> list[B]:
        """Return the actors at the top, oldest first."""
        return [branch for branch in self._by_id.values() if branch.parent is None]

    def top_names(self) -> list[str]:
        """Return the names given at the top, oldest first."""
        return [name for parent_id, name in self._by_name if parent_id == 0]

    @property
    def name_count(self) -> int:
        """How many names are taken."""
        return len(self._by_name)

    def deepest_first(self) -> list[B]:
        """Return every actor, children before their parents."""
        return sorted(self._by_id.values(), key=lambda branch: -branch.id)
