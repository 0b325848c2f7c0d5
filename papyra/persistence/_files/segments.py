"""The names of segment files: what they tell, in which order they stand, what is missing among them. Pure."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

LOCK_NAME = "store.lock"
INDEX_SUFFIX = ".idx"
UNFINISHED_SUFFIX = ".tmp"

_NAME = re.compile(
    r"([a-z][a-z_]{0,99})(?:\.([0-9A-HJKMNP-TV-Z]{26}))?-([0-9]{8,12})-([0-9]{20})\.ndjson\Z", re.ASCII
)
_WRITER_LOCK = re.compile(r"writer\.([0-9A-HJKMNP-TV-Z]{26})\.lock\Z", re.ASCII)


class SegmentName(NamedTuple):
    """One file of a family: the records of one kind, and in a shared store of one writer.

    ``number`` counts the family's files from 1, ``base`` its records: this file's first is the ``base``-th.
    """

    kind: str
    writer: str
    number: int
    base: int

    @property
    def family(self) -> str:
        return f"{self.kind}.{self.writer}" if self.writer else self.kind

    def __str__(self) -> str:
        return f"{self.family}-{self.number:08d}-{self.base:020d}.ndjson"

    def following(self, records: int) -> SegmentName:
        """Return the name of the file that comes after this one with so many records in it."""
        return self._replace(number=self.number + 1, base=self.base + records)


@lru_cache(maxsize=4096)  # each read asks it of every name in the folder
def parse_name(name: str) -> SegmentName | None:
    """Return what the name of a segment tells, ``None`` for any other name."""
    found = _NAME.match(name)
    if found is None:
        return None
    parsed = SegmentName(found[1], found[2] or "", int(found[3]), int(found[4]))
    return parsed if str(parsed) == name and parsed.number > 0 and parsed.base > 0 else None


def writer_lock_name(writer: str) -> str:
    """Return the name of the lock of one of several writers, without its ``.lock``."""
    return f"writer.{writer}"


class Contents(NamedTuple):
    """The names in a store's folder, told apart; segments in the order of their families and numbers."""

    segments: tuple[SegmentName, ...]
    leftovers: tuple[str, ...]
    foreign: tuple[str, ...]
    writer_locks: tuple[str, ...]


def told_apart(names: Iterable[str]) -> Contents:
    """Sort out the names in a store's folder."""
    segments, leftovers, others, locks = [], [], [], []
    for name in names:
        segment = parse_name(name)
        if segment is not None:
            segments.append(segment)
        elif _is_index(name):
            continue
        elif name.endswith(UNFINISHED_SUFFIX):
            leftovers.append(name)
        elif found := _WRITER_LOCK.match(name):
            locks.append(found[1])
        elif name != LOCK_NAME:
            others.append(name)
    return Contents(
        tuple(sorted(segments, key=_order)), tuple(leftovers), tuple(sorted(others)), tuple(sorted(locks))
    )


def _is_index(name: str) -> bool:
    """Whether this is the index of a segment, perhaps in the making: a cache."""
    whole = name.removesuffix(UNFINISHED_SUFFIX)
    return whole.endswith(INDEX_SUFFIX) and parse_name(whole.removesuffix(INDEX_SUFFIX)) is not None


_RANKS = {"event": 0, "audit": 1, "dead_letter": 2}


def _order(name: SegmentName) -> tuple[int, str, str, int, int]:
    return _RANKS.get(name.kind, len(_RANKS)), name.kind, name.writer, name.number, name.base


def by_family(segments: Iterable[SegmentName]) -> dict[str, list[SegmentName]]:
    """Return the segments of each family in order."""
    families: dict[str, list[SegmentName]] = {}
    for segment in segments:
        families.setdefault(segment.family, []).append(segment)
    return families


class NameGap(NamedTuple):
    """Numbers with no file; ``name`` is that of the first, ``records`` how many its files held."""

    name: SegmentName
    last: int
    records: int


def find_gaps(family: list[SegmentName], records: dict[int, int]) -> Iterator[NameGap]:
    """Yield the numbers missing within a family; ``records`` says how many a numbered file tells of."""
    for before, after in pairwise(family):
        if after.number > before.number + 1:
            told = records.get(before.number)
            base = before.base if told is None else min(before.base + told, after.base)
            name = before._replace(number=before.number + 1, base=max(base, before.base))
            yield NameGap(name, after.number - 1, after.base - name.base)
