"""A3: whatever the store does, no actor, no sender and no caller of the system notices."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import pytest

from papyra import ActorSystem, PersistenceStartupError
from papyra.exceptions import PapyraError, PersistenceError, StoreFailedError, StoreFullError
from papyra.persistence.json import JsonFilePersistence
from papyra.persistence.models import EventType, LossNote, RecordKind
from papyra.persistence.startup import PersistenceStartupConfig, PersistenceStartupMode
from papyra.testing import FaultyBackend, FaultyFs
from tests.unit.runtime.actors import Boom, Store, Worker, quiet, stopped

if TYPE_CHECKING:
    from pathlib import Path

    from papyra.persistence.models import Record

LENIENT = PersistenceStartupConfig(mode=PersistenceStartupMode.SCAN_ONLY)


async def work(system: ActorSystem) -> None:
    """Do everything that makes records; none of it may notice the store."""
    ref = system.spawn(Worker)
    assert await ref.ask(1) == 1
    failing = system.spawn(Worker)
    with pytest.raises(ValueError, match="boom"):
        await failing.ask(Boom())
    await stopped(system, failing)
    failing.tell("late")
    await system.stop(ref)
    system.audit()


@pytest.mark.parametrize("place", ["a folder", "below a file", "no such folder"])
async def test_a3_a_path_that_is_no_file_refuses_the_start_and_kills_nothing(
    tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("x")
    path = {
        "a folder": tmp_path,
        "below a file": tmp_path / "file" / "log.ndjson",
        "no such folder": tmp_path / "none" / "log.ndjson",
    }[place]
    system = ActorSystem(persistence=JsonFilePersistence(path))
    with pytest.raises(PapyraError) as raised:
        await system.start()
    assert isinstance(raised.value, PersistenceStartupError | PersistenceError)
    await system.aclose()


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EACCES, errno.EFBIG])
@pytest.mark.parametrize("call", ["write", "sync"])
async def test_a3_a_disk_that_fails_stops_no_actor(tmp_path: Path, fault: int, call: str) -> None:
    fs = FaultyFs(tmp_path)
    store = JsonFilePersistence(tmp_path / "log.ndjson", fs=fs)
    async with ActorSystem(persistence=store, shutdown_timeout=0.1) as system:
        await work(system)
        assert await system.flush(5)
        fs.fail(call, fault)
        await work(system)
        assert not await system.flush(0.02)
        assert system.is_degraded
        await work(system)
        assert system.accounting().pending == 0
    assert system.accounting().is_balanced


async def test_a3_a_disk_that_has_room_again_gets_everything(tmp_path: Path) -> None:
    fs = FaultyFs(tmp_path)
    store = JsonFilePersistence(tmp_path / "log.ndjson", fs=fs)
    async with ActorSystem(persistence=store) as system:
        fs.fill(10)
        await work(system)
        assert not await system.flush(0.02)
        fs.heal()
        assert await system.flush(10)
        await work(system)
    async with JsonFilePersistence(tmp_path / "log.ndjson") as reader:
        assert not (await reader.scan()).has_anomalies
        events = await reader.list_events()
    assert [event.event_type for event in events].count(EventType.ACTOR_STOPPED) == 4
    assert [event.seq for event in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize(
    "error",
    [
        StoreFullError("full"),
        StoreFailedError("medium"),
        OSError(errno.EIO, "io"),
        TypeError("bug"),
        Exception(),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a3_any_error_of_an_append_is_the_recorders_alone(error: BaseException) -> None:
    faults = FaultyBackend(Store())
    async with ActorSystem(persistence=faults, shutdown_timeout=0.2) as system:
        faults.fail_appends(None, error)
        await work(system)
        assert not await system.flush(0.02)
        faults.heal()
        await work(system)
    assert system.accounting().is_balanced


async def test_a3_a_store_that_is_cancelled_from_inside_stops_nobody() -> None:
    inner = Store()
    faults = FaultyBackend(inner)
    async with ActorSystem(persistence=faults) as system:
        faults.fail_appends(1, asyncio.CancelledError())
        await work(system)
        assert await system.flush(10)
    assert inner.types()[-1] == "SystemStopped"


async def test_a3_poison_costs_its_record_and_is_noted() -> None:
    inner = Store()
    faults = FaultyBackend(inner)

    def is_crash(record: Record) -> bool:
        return getattr(record, "event_type", "") == "ActorCrashed"

    async with ActorSystem(persistence=faults, audit_interval=None) as system:
        faults.poison(is_crash)
        await work(system)
        assert await system.flush(10)
    notes = [note for event in inner.events if (note := LossNote.from_payload(event.payload)) is not None]
    assert [(note.kind, note.last - note.first) for note in notes] == [(RecordKind.EVENT, 0)]
    assert inner.types()[-1] == "SystemStopped"
    missing = set(range(1, inner.events[-1].seq + 1)) - {event.seq for event in inner.events}
    assert missing == {notes[0].first}


async def test_a3_a_store_that_hangs_for_ever_does_not_keep_the_system_from_ending() -> None:
    faults = FaultyBackend(Store())
    system = ActorSystem(persistence=faults, shutdown_timeout=0.1)
    await system.start()
    faults.hold()
    await work(system)
    await asyncio.wait_for(system.aclose(), 5)
    assert system.accounting().pending == 0


async def test_a3_a_start_on_a_store_that_is_down_in_a_lenient_mode_runs_and_records_later() -> None:
    inner = Store()
    faults = FaultyBackend(inner)
    faults.fail_appends(3)
    async with ActorSystem(persistence=faults, persistence_startup=LENIENT) as system:
        await work(system)
        await quiet(system)
        assert await system.flush(10)
    assert inner.types()[0] == "SystemStarted"
    assert inner.types()[-1] == "SystemStopped"
