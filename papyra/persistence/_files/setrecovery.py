"""What a recovery of segments does beyond that of each file: names, and files that are not there."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from papyra.persistence._files import sidecar
from papyra.persistence._files.fs import Access, opened, write_all
from papyra.persistence._files.recovery import Recovery
from papyra.persistence._files.tally import Tally
from papyra.persistence.models import PersistenceAnomalyType

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence._files.check import Findings
    from papyra.persistence._files.families import FamiliesWriter
    from papyra.persistence._files.recovery import Encode, QuarantineOf
    from papyra.persistence._files.scan import StoreScan
    from papyra.persistence._files.segments import NameGap
    from papyra.persistence._files.setscan import SetScan
    from papyra.persistence.models import PersistenceRecoveryMode


class SetRecovery(Recovery):
    """Renames come first; an empty segment stands in for a missing one, and says how many records it had."""

    def __init__(
        self,
        writer: FamiliesWriter,
        quarantine: QuarantineOf,
        encode: Encode,
        *,
        mode: PersistenceRecoveryMode,
    ) -> None:
        super().__init__(writer, quarantine, encode, mode=mode)
        self._segments = writer

    def left(self, scan: StoreScan) -> Findings:
        return cast("SetScan", scan).left

    def put_names_right(self, scan: StoreScan) -> list[Path]:
        fs, moved = self._place.fs, []
        for file in cast("SetScan", scan).misplaced:
            path, right = file.place.path, file.right_name
            sidecar.remove(fs, path)
            if file.is_copy:
                report: dict[str, object] = {
                    "store": path.name,
                    "reason": PersistenceAnomalyType.BAD_HEADER.value,
                    "copy_of": str(right),
                }
                kept = self._quarantine(file.place).set_aside(path, like=fs.stat(path), report=report)
                self._set_aside.append(str(kept))
                fs.remove(path)
            else:
                fs.replace(path, path.with_name(str(right)))
            moved.append(path)
        if moved:
            fs.sync_folder(self._place.path)
        return moved

    def fill_gaps(self, scan: StoreScan) -> list[Path]:
        found = cast("SetScan", scan)
        made = [path for gap in found.gaps for path in self._fill(gap)]
        if made:
            self._place.fs.sync_folder(self._place.path)
        return made

    def _fill(self, gap: NameGap) -> list[Path]:
        fs, made = self._place.fs, []
        for number in range(gap.name.number, gap.last + 1):
            is_first = number == gap.name.number
            name = (
                gap.name if is_first else gap.name._replace(number=number, base=gap.name.base + gap.records)
            )
            place = replace(self._place, path=self._place.path / str(name))
            header = self._segments.header(name)
            footer = Tally().footer(
                len(header),
                hashlib.sha256(header).hexdigest(),
                removed=gap.records if is_first else 0,
                sealed_at=float(int(place.clock.now())),
            )
            with opened(fs, place.unfinished, Access.CREATE) as fd:
                write_all(fs, fd, header + footer)
                fs.sync_all(fd)
            sidecar.remove(fs, place.path)  # of the one that is missing
            fs.replace(place.unfinished, place.path)
            made.append(place.path)
        return made
