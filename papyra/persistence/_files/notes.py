"""The events that a store writes about itself."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files.fs import opened, read_all
from papyra.persistence.models import EventType, PersistedEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from papyra.persistence._files.scan import StoreScan
    from papyra.persistence.models import LossNote


class Notes:
    """Makes them out of what ``scan`` found; reads the systems' names where it found them."""

    def __init__(self, scan: StoreScan) -> None:
        self._scan = scan

    def losses(self, losses: Iterable[LossNote]) -> Iterator[PersistedEvent]:
        for loss in losses:
            yield self._event(self._system_of(loss.incarnation), EventType.RECORDS_LOST, loss.to_payload())

    def lost_incarnations(self) -> Iterator[PersistedEvent]:
        for life in self._scan.lost:
            payload = {"closes": life.incarnation, "last_seen": life.last_seen}
            yield self._event(self._system_of(life.incarnation), EventType.INCARNATION_LOST, payload)

    def recovery(self, summary: Mapping[str, object]) -> PersistedEvent:
        newest = next(reversed(self._scan.ledger.samples), "")
        return self._event(self._system_of(newest), EventType.RECOVERY_RUN, summary)

    def _event(self, system_id: str, type_: EventType, payload: object) -> PersistedEvent:
        return PersistedEvent(system_id, "", type_.value, payload, self._scan.place.clock.now())

    def _system_of(self, incarnation: str) -> str:
        sample = self._scan.ledger.samples.get(incarnation)
        if sample is None:
            return ""
        fs = self._scan.place.fs
        with opened(fs, Path(sample.path)) as fd:
            line = read_all(fs, fd, sample.span.length, sample.span.offset)
        try:
            record = codec.decode_record(line) if incarnation else codec.decode_legacy(line)
        except RecordDecodeError:
            return ""
        return record.system_id if record is not None else ""
