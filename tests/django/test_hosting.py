"""open_system(): what the settings say is hosted, closed again whatever happens, and kept alive meanwhile."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from django_papyra import hosting
from django_papyra.backend import DjangoPersistence
from django_papyra.conf import get_settings
from django_papyra.hosting import current_system, open_system
from django_papyra.models import Incarnation, IncarnationState
from django_papyra.runtime import make_backend
from papyra.exceptions import (
    ConfigurationError,
    PersistenceStartupError,
    StoreUnavailableError,
    SystemNotRunning,
)
from papyra.persistence.models import EventType
from papyra.persistence.startup import StartupReport, StartupVerdict
from tests.django import hosted
from tests.django.places import STRICT
from tests.django.places import file_store as file_store  # noqa: PLC0414  # fixtures
from tests.django.places import sql_store as sql_store  # noqa: PLC0414
from tests.django.places import store as store  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.django.places import SqlStore, Store

pytestmark = pytest.mark.django_db  # so that there is a database to copy
SECRET = "4111-1111-1111-1111"  # noqa: S105  # a card for tests


def types_of(store: Store, incarnation: str) -> Sequence[str]:
    return [event.event_type for event in store.events() if event.incarnation == incarnation]


async def test_d4_a_refusal_raises_with_its_evidence_and_nothing_was_started_or_written(store: Store) -> None:
    store.configure(STARTUP=STRICT)
    store.damage()
    hosted.STARTED.clear()
    before = store.contents()
    with pytest.raises(PersistenceStartupError, match="bad_checksum") as refused:
        async with open_system():
            pytest.fail("it was opened")
    assert isinstance(refused.value.report, StartupReport)
    assert refused.value.report.verdict is StartupVerdict.REFUSED
    assert (hosted.STARTED, store.contents()) == ([], before)


async def test_a_populate_that_raises_closes_the_system_and_its_error_comes_through(store: Store) -> None:
    store.configure(SYSTEM="tests.django.hosted.populate_halfway")
    with pytest.raises(LookupError, match="kettle"):
        async with open_system():
            pytest.fail("it was opened")
    events = store.events()
    assert types_of(store, events[-1].incarnation)[-1] == EventType.SYSTEM_STOPPED
    with pytest.raises(SystemNotRunning):
        current_system()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"SYSTEM": None}, "is not set: name an `async def populate"),
        ({"SYSTEM": "tests.django.hosted.absent"}, "cannot be imported"),
        ({"SYSTEM": "tests.django.hosted.populate_plainly"}, "is not an `async def`"),
        ({"MESSAGES": ["tests.django.nowhere"]}, "cannot be imported"),
        ({"SYSTEMS": "x"}, "did you mean 'system'"),
    ],
)
async def test_wrong_settings_are_named_before_anything_is_opened(
    changes: dict[str, object], words: str, sql_store: SqlStore
) -> None:
    before = sql_store.contents()
    sql_store.configure(**changes)
    with pytest.raises(ConfigurationError) as wrong:
        async with open_system(needs_populate=True):
            pytest.fail("it was opened")
    assert words in str(wrong.value).lower()
    assert sql_store.contents() == before


async def test_a_system_without_populate_is_empty(sql_store: SqlStore) -> None:
    sql_store.configure(SYSTEM=None)
    async with open_system() as system:
        assert system.list_names() == ()


async def test_a_given_backend_stays_open_and_another_is_closed(store: Store) -> None:
    async with open_system() as system:
        own = system.persistence
    with pytest.raises(Exception, match="closed"):
        await own.stats()
    given = make_backend(get_settings())
    async with open_system(backend=given) as system:
        assert system.persistence is given
    assert (await given.stats()).total_bytes > 0
    await given.aclose()
    assert types_of(store, system.incarnation)[-1] == EventType.SYSTEM_STOPPED


async def test_of_two_nested_systems_the_inner_one_is_current(sql_store: SqlStore) -> None:
    async with open_system() as outer:
        sql_store.configure(SYSTEM_ID="returns")
        async with open_system() as inner:
            assert current_system() is inner
            assert inner.system_id == "returns"
        assert current_system() is outer
    with pytest.raises(SystemNotRunning):
        current_system()


async def test_the_settings_words_are_redacted_beside_papyras_own(store: Store) -> None:
    store.configure(REDACT=["card"])
    async with open_system() as system:
        greeter = system.ref_for("/greeter")
        greeter.tell({"card": SECRET, "boom": "the card={card}, password: {password}", "password": "hunter2"})
        await greeter.ask("you", timeout=5)
        await system.stop(greeter)
        greeter.tell({"note": "kept", "nested": [{"Card": SECRET}], "token": "hunter2"})
    stored = b"".join(store.contents().values())
    assert b"kept" in stored
    assert b"the card=" in stored
    assert SECRET.encode() not in stored
    assert b"hunter2" not in stored


class Beating(DjangoPersistence):
    """Says how each beat went."""

    def __init__(self) -> None:
        super().__init__("scratch")
        self.beats: asyncio.Queue[str] = asyncio.Queue()
        self.faults = 0

    async def beat(self, incarnation: str) -> None:
        if self.faults:
            self.faults -= 1
            self.beats.put_nowait("failed")
            raise StoreUnavailableError("the line is dead")
        await super().beat(incarnation)
        self.beats.put_nowait(incarnation)


async def test_the_host_beats_on_its_row_and_stops_with_the_system(
    sql_store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hosting.HEARTBEAT_SECONDS == 5.0
    monkeypatch.setattr(hosting, "HEARTBEAT_SECONDS", 0.0)
    del sql_store
    rows = Incarnation.objects.using("scratch")
    async with Beating() as backend:
        async with open_system(backend=backend) as system:
            assert await backend.beats.get() == system.incarnation
            first = (await rows.aget(incarnation=system.incarnation)).heartbeat_at
            for _ in range(2):
                await backend.beats.get()
            row = await rows.aget(incarnation=system.incarnation)
            assert first is not None
            assert row.heartbeat_at is not None
            assert row.heartbeat_at > first
            assert row.state == IncarnationState.RUNNING
        assert (await rows.aget(incarnation=system.incarnation)).state == IncarnationState.STOPPED
        while not backend.beats.empty():
            backend.beats.get_nowait()
        await asyncio.sleep(0)
        assert backend.beats.empty()


async def test_a_beat_that_fails_is_logged_once_and_the_next_ones_go_on(
    sql_store: SqlStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    del sql_store
    monkeypatch.setattr(hosting, "HEARTBEAT_SECONDS", 0.0)
    async with Beating() as backend:
        backend.faults = 3
        async with open_system(backend=backend) as system:
            heard = [await backend.beats.get() for _ in range(4)]
            assert heard == ["failed"] * 3 + [system.incarnation]
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert ["the line is dead" in record.getMessage() for record in warnings] == [True]


async def test_a_file_needs_no_beat(store: Store) -> None:
    async with open_system() as system:
        assert await system.ref_for("/greeter").ask("you", timeout=5) == "hello, you"
    assert types_of(store, system.incarnation)[0] == EventType.SYSTEM_STARTED
