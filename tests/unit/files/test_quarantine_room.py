"""Quarantine has a bound: what does not fit is not taken out, and nothing there is removed to make room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from papyra.clock import SYSTEM_CLOCK
from papyra.exceptions import ConfigurationError, StoreFullError
from papyra.persistence._files.edits import Removal, Span
from papyra.persistence._files.fs import opened as opened_file
from papyra.persistence._files.quarantine import Quarantine
from papyra.persistence._files.scan import Place
from papyra.persistence.backends.rotating import RotatingFilePersistence
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import PersistenceRecoveryConfig, PersistenceRecoveryMode
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.records import INCARNATION, event
from tests.unit.files.stores import QUARANTINE, QUICK, REPAIR, quarantine_of

if TYPE_CHECKING:
    from pathlib import Path

Store = type[JsonFilePersistence] | type[RotatingFilePersistence]
pytestmark = pytest.mark.parametrize("store", [JsonFilePersistence, RotatingFilePersistence])


async def damaged(store: Store, path: Path) -> None:
    async with store(path, fs=QUICK) as backend:
        await backend.append([event(number, incarnation=INCARNATION, seq=number) for number in range(1, 6)])
    (place,) = files(path)
    place.write_bytes(place.read_bytes().replace(b"orders:3", b"orders:4"))


def files(path: Path) -> list[Path]:
    return sorted(path.glob("*.ndjson")) if path.is_dir() else [path]


def contents(path: Path) -> dict[Path, bytes]:
    return {
        place: place.read_bytes()
        for place in path.parent.rglob("*")
        if place.is_file() and ".lock" not in place.name
    }


@pytest.mark.parametrize("config", [REPAIR, QUARANTINE])
async def test_i4_without_room_nothing_is_cut_and_reads_and_appends_go_on(
    store: Store, config: PersistenceRecoveryConfig, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    await damaged(store, path)
    before = contents(path)
    async with store(path, fs=QUICK, quarantine_max_bytes=100) as backend:
        with pytest.raises(StoreFullError, match=r"may hold 100: no room for .* the store is left as it is"):
            await backend.recover(config)
        with pytest.raises(StoreFullError):
            await backend.compact(RetentionPolicy(max_records=1))
        assert contents(path) == before
        assert [one.seq for one in await backend.list_events()] == [1, 2, 4, 5]
        await backend.append([event(6, incarnation=INCARNATION, seq=6)])
        assert (await backend.stats()).quarantine_bytes == 0


async def test_a_folder_that_is_named_for_it_takes_what_the_own_one_cannot(
    store: Store, tmp_path: Path
) -> None:
    path, aside = tmp_path / "log", tmp_path / "aside"
    await damaged(store, path)
    async with store(path, fs=QUICK, quarantine_max_bytes=0) as backend:
        report = await backend.recover(
            PersistenceRecoveryConfig(PersistenceRecoveryMode.QUARANTINE, str(aside))
        )
        assert report.quarantined_bytes
        assert not (await backend.scan()).has_anomalies
    assert len(list(aside.iterdir())) >= 3
    async with store(path, fs=QUICK, quarantine_dir=aside, quarantine_max_bytes=0) as backend:
        (place,) = files(path)[-1:]
        place.write_bytes(place.read_bytes() + b"rubbish\n")
        with pytest.raises(StoreFullError):
            await backend.recover(PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR, str(aside)))


async def test_what_lies_there_needs_no_room_again(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "log"
    await damaged(store, path)
    (place,) = files(path)
    own = Quarantine(Place("json", QUICK, place, SYSTEM_CLOCK), quarantine_of(path), max_bytes=1000)
    one, other = Removal(Span(0, 100), "garbage"), Removal(Span(100, 500), "garbage")
    with opened_file(QUICK, place) as fd:
        like = QUICK.fstat(fd)
        for _ in range(3):  # as after a crash before the cut
            assert own.keep(fd, [one], like=like, run="") == 100
        before = contents(path)
        with pytest.raises(StoreFullError):
            own.keep(fd, [one, other], like=like, run="")
    assert contents(path) == before
    assert own.size() <= 1000


@pytest.mark.parametrize("limit", [-1, True, 1.5])
def test_a_bound_that_is_none_is_refused(store: Store, limit: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="quarantine_max_bytes must be 0 or more"):
        store(tmp_path / "log", quarantine_max_bytes=limit)
