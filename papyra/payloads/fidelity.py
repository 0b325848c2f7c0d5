"""How faithfully a payload was stored, and the limits it was held to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from papyra.payloads.names import utf8_text


class Fidelity(StrEnum):
    """What a reader may expect back; the members stand in order of loss."""

    EXACT = "exact"
    INEXACT = "inexact"
    REDACTED = "redacted"
    UNSTORABLE = "unstorable"


@dataclass(frozen=True, slots=True)
class Encoded:
    """One line of strict JSON, ready to be embedded verbatim, and where it falls short of the value."""

    json: bytes
    fidelity: Fidelity
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadLimits:
    """How deep and large a payload may be, the latter measured on its JSON."""

    max_depth: int = 100
    max_bytes: int = 1_048_576
    max_repr_bytes: int = 2048


DEFAULT_LIMITS = PayloadLimits()

_LOSSES = tuple(Fidelity)
_MAX_DETAIL = 400


class Losses:
    """The worst loss met so far: its first place, and how many more there were like it."""

    __slots__ = ("_count", "_first", "fidelity")

    def __init__(self) -> None:
        self.fidelity = Fidelity.EXACT
        self._first = ""
        self._count = 0

    def add(self, fidelity: Fidelity, place: str, why: str) -> None:
        """Note one loss."""
        if _LOSSES.index(fidelity) > _LOSSES.index(self.fidelity):
            self.fidelity, self._first, self._count = fidelity, f"{place}: {why}", 0
        if fidelity is self.fidelity:
            self._count += 1

    @property
    def detail(self) -> str:
        """``data.items[3].when: why``, and how many others."""
        more = f" (and {self._count - 1} more)" if self._count > 1 else ""
        return f"{shortened(self._first)}{more}"


def shortened(detail: str) -> str:
    """Return a detail as it is stored: of bounded length, and UTF-8 whatever it quotes."""
    return utf8_text(detail[:_MAX_DETAIL])
