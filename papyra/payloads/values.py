"""What stands in for a value that is not there: inert, comparable, and stored again as it was read."""

from __future__ import annotations

from dataclasses import dataclass

REDACTED_TEXT = "[redacted]"


@dataclass(frozen=True, slots=True)
class Foreign:
    """An instance of a class that the reader does not know: its stored name and its fields, not the class."""

    type_name: str
    data: object

    def __hash__(self) -> int:
        data = frozenset(self.data.items()) if isinstance(self.data, dict) else self.data
        try:
            return hash((self.type_name, data))
        except TypeError:  # a field holds a list: equal values still hash equal
            return hash(self.type_name)


@dataclass(frozen=True, slots=True)
class Redacted:
    """A secret that was never stored."""

    def __str__(self) -> str:
        return REDACTED_TEXT


@dataclass(frozen=True, slots=True)
class Unstorable:
    """A value that could not be stored: why, and the start of its repr."""

    why: str
    excerpt: str
