"""A folder of spills: one for each process that needs one, and what dead processes left in theirs."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import asdict, fields
from itertools import count
from typing import TYPE_CHECKING

from papyra.exceptions import StoreLockedError
from papyra.persistence._files.fs import translated
from papyra.persistence._files.spill import Spill
from papyra.persistence._files.spilled import SpillStats

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from papyra.clock import Clock
    from papyra.persistence._files.fs import FileSystem
    from papyra.persistence._files.spill import Encode
    from papyra.persistence._files.spilled import SpillLimits, WhenFull
    from papyra.persistence._files.spillreading import Send
    from papyra.persistence.entries import Entry

_NUMBER = re.compile(r"[1-9][0-9]{0,8}\Z")


class SpillSlots:
    """Numbered folders in ``folder``; the lowest that no living process has is ours, whatever is in it.

    So there are never more of them than processes at one time, however many came and died. Its methods
    belong to one thread, and block.
    """

    def __init__(
        self,
        folder: Path,
        encode: Encode,
        *,
        limits: SpillLimits,
        when_full: WhenFull,
        clock: Clock,
        fs: FileSystem,
    ) -> None:
        self.folder = folder.absolute()
        self._encode = encode
        self._limits = limits
        self._when_full = when_full
        self._clock = clock
        self._fs = fs
        self._held: dict[int, Spill] = {}
        """In the order in which they are replayed; the last one is added to."""

    def adopt(self) -> bool:
        """Take what dead processes left; whether anything waits."""
        with translated(self.folder):
            numbers = self._numbers()
        for number in numbers:
            if number not in self._held:
                spill = self._spill(number)
                if not spill.is_empty:
                    with suppress(StoreLockedError):  # its process lives
                        self._take(number, spill)
        return any(not spill.is_empty for spill in self._held.values())

    def _numbers(self) -> list[int]:
        try:
            names = self._fs.names(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(int(name) for name in names if _NUMBER.match(name))

    def _spill(self, number: int) -> Spill:
        return Spill(
            self.folder / str(number),
            self._encode,
            limits=self._limits,
            when_full=self._when_full,
            clock=self._clock,
            fs=self._fs,
        )

    def _take(self, number: int, spill: Spill) -> Spill:
        spill.open()
        self._held[number] = spill
        return spill

    def has_room(self, entries: Sequence[Entry]) -> bool:
        """Whether `append` would keep ``entries`` and let nothing go for them."""
        return self._own().has_room(entries)

    def append(self, entries: Sequence[Entry]) -> None:
        """Keep ``entries`` behind everything that waits; raises what `Spill.append` does."""
        self._own().append(entries)

    def _own(self) -> Spill:
        if self._held:
            return next(reversed(self._held.values()))
        for number in count(1):
            with suppress(StoreLockedError):
                return self._take(number, self._spill(number))
        raise AssertionError("numbers do not end")

    def replay(self, send: Send) -> bool:
        """Send the next batch; whether there is more."""
        while self._held:
            number, spill = next(iter(self._held.items()))
            if spill.replay(send):
                return True
            if len(self._held) == 1:
                return False
            spill.close()
            del self._held[number]
        return False

    def stats(self) -> SpillStats:
        """Count what this process has to replay."""
        parts = [asdict(spill.stats()) for spill in self._held.values()]
        return SpillStats(**{of.name: sum(part[of.name] for part in parts) for of in fields(SpillStats)})

    def close(self) -> None:
        """Let other processes have them; nothing is removed."""
        for spill in self._held.values():
            spill.close()
        self._held.clear()
