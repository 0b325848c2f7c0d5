"""The indexes of all files of a store: which there are, and which records stand in one of them already."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

from papyra.exceptions import StoreUnavailableError
from papyra.persistence._files.chain import Chain
from papyra.persistence._files.index import FileIndex, IndexDoubtError
from papyra.persistence._files.kept import removable
from papyra.persistence._files.merged import KindSequence
from papyra.persistence._files.numbers import Numbers
from papyra.persistence._files.scan import LEGACY
from papyra.persistence.models import RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from papyra.persistence._files.folder import Folder
    from papyra.persistence._files.index import Seen
    from papyra.persistence._files.scan import Place
    from papyra.persistence.integrity import Stream
    from papyra.persistence.models import KindStats
    from papyra.persistence.retention import Removable, Removal, RetentionPolicy

Value = TypeVar("Value")

_TRIES = 20


class Member(NamedTuple):
    """One file of a store as it is now; ``family``: the run of files it goes on with."""

    name: str
    family: str
    place: Place
    found: Seen | None


class Members(NamedTuple):
    """The files of a store in order; ``is_merged``: whether there are several writers, each with its own."""

    files: Sequence[Member]
    is_merged: bool = False


def members_of(folder: Folder) -> Members:
    """Return the files of a folder of segments, those of a published set first."""
    listing = folder.listing()
    files = []
    for path in listing.legacy:
        place = folder.place_of(str(path))
        files.append(Member(path.name, LEGACY, place, place.info()))
    for segment in listing.segments:
        name = str(segment.name)
        files.append(Member(name, segment.name.family, folder.place_of(name), segment))
    return Members(files, any(segment.name.writer for segment in listing.segments))


class StoreIndex:
    """Belongs to one reader thread. The files stay open between its uses."""

    def __init__(self, find: Callable[[], Members]) -> None:
        self._find = find
        self._members = Members(())
        self._files: dict[str, FileIndex] = {}

    def answer(self, job: Callable[[Callable[[RecordKind], KindSequence]], Value]) -> Value:
        """Return what ``job`` makes of the sequences as they are now; where one changed under it, again."""
        for _ in range(_TRIES):
            try:
                self._refresh()
                return job(self._sequence)
            except (IndexDoubtError, FileNotFoundError):  # retention took a file just now
                continue
        raise StoreUnavailableError("the files of the store are being changed in place by another program")

    def stats(self) -> dict[RecordKind, KindStats]:
        """Count what is stored, kept or not."""
        return self.answer(lambda sequence: {kind: sequence(kind).stats() for kind in RecordKind})

    def removable(self, policy: RetentionPolicy, removal: Removal) -> Sequence[Removable]:
        """Return how much of each kind could go."""
        return self.answer(
            lambda sequence: [
                removable(sequence(kind), policy.for_kind(kind), removal) for kind in RecordKind
            ]
        )

    def _refresh(self) -> None:
        """Take in what was added, and let go of what retention took."""
        self._members = members = self._find()
        names = {member.name for member in members.files}
        gone = [name for name in self._files if name not in names]
        for name in gone:
            self._files.pop(name).close()
        changed: list[FileIndex] = []
        for member in members.files:
            file = self._files.get(member.name)
            if file is None:
                file = self._files[member.name] = FileIndex(member.name, member.place)
            if file.refresh(member.place, member.found):
                changed.append(file)
        files = [self._files[member.name] for member in members.files]
        if (changed and len(files) > 1) or gone:
            _exclude_taken(files, [*changed, *(file for file in files if file.blocks.taken)])

    def _sequence(self, kind: RecordKind) -> KindSequence:
        families: dict[str, list[FileIndex]] = {}
        for member in self._members.files:
            family = member.family if self._members.is_merged else ""
            families.setdefault(family, []).append(self._files[member.name])
        ordered = sorted(families.items(), key=_age)
        chains = [Chain(files, kind, is_oldest=family == LEGACY) for family, files in ordered]
        present = [chain for chain in chains if len(chain)]
        return KindSequence([*self._files.values()], kind, present or chains[:1])

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()


def _age(item: tuple[str, list[FileIndex]]) -> tuple[bool, str]:
    return item[0] != LEGACY, item[0]


def _exclude_taken(files: Sequence[FileIndex], changed: Iterable[FileIndex]) -> None:
    """Leave out of each file what stands in one before it under the same number."""
    taken: dict[FileIndex, dict[Stream, Numbers]] = {}
    for stream in {stream for file in changed for stream in (*file.blocks.numbers, *file.blocks.taken)}:
        seen = Numbers()
        for file in files:
            numbers = file.blocks.numbers.get(stream)
            common = Numbers() if numbers is None else seen.common(numbers)
            if common != file.blocks.taken.get(stream, Numbers()):
                taken.setdefault(file, {})[stream] = common
            if numbers is not None:
                seen = seen.joined(numbers)
    for file, found in taken.items():
        file.read_anew(_updated(file.blocks.taken, found))


def _updated(taken: Mapping[Stream, Numbers], found: Mapping[Stream, Numbers]) -> dict[Stream, Numbers]:
    return {stream: numbers for stream, numbers in {**taken, **found}.items() if numbers}
