"""Another database than the default: papyra's rows go there, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.test.utils import override_settings

from django_papyra.backend import DjangoPersistence
from django_papyra.models import DeadLetter, Event, Incarnation, QuarantinedRecord
from django_papyra.routers import PapyraRouter
from papyra.persistence.models import EventType, PersistenceRecoveryConfig, PersistenceRecoveryMode
from papyra.persistence.retention import RetentionPolicy
from papyra.testing.records import INCARNATION, event, letter, numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

ELSEWHERE = {"OPTIONS": {"using": "other"}}


@pytest.fixture
def routed() -> Iterator[PapyraRouter]:
    with override_settings(DATABASE_ROUTERS=["django_papyra.routers.PapyraRouter"], PAPYRA=ELSEWHERE):
        yield PapyraRouter()


def test_only_our_models_are_routed(routed: PapyraRouter) -> None:
    assert routed.db_for_read(Event) == routed.db_for_write(Event) == "other"
    assert routed.db_for_read(User) is None
    assert routed.allow_migrate("other", "django_papyra") is True
    assert routed.allow_migrate("default", "django_papyra") is False
    assert routed.allow_migrate("default", "auth") is None
    assert Event.objects.all().db == "other"


def test_a_store_url_says_where_the_tables_are(routed: PapyraRouter) -> None:
    with override_settings(PAPYRA={"BACKEND": "django:other", "OPTIONS": {"using": "default"}}):
        assert routed.db_for_write(Event) == "other"
    with override_settings(PAPYRA={"BACKEND": "django:", "OPTIONS": {"using": "other"}}):
        assert routed.db_for_write(Event) == "other"


def test_settings_that_are_wrong_elsewhere_do_not_break_routing(routed: PapyraRouter) -> None:
    with override_settings(PAPYRA={**ELSEWHERE, "NOPE": 1}):
        assert routed.db_for_read(Event) == "other"
    with override_settings(PAPYRA="nonsense"):
        assert routed.db_for_read(Event) == "default"


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
async def test_everything_a_backend_does_happens_in_its_own_database() -> None:
    def touched(alias: str) -> list[bool]:
        return [
            model.objects.using(alias).exists()
            for model in (Event, DeadLetter, Incarnation, QuarantinedRecord)
        ]

    def damage() -> None:
        Event.objects.using("other").filter(seq=2).update(body="x")

    async with DjangoPersistence("other") as backend:
        started = event(1, incarnation=INCARNATION, seq=1, event_type=EventType.SYSTEM_STARTED, payload={})
        await backend.append([started, event(2, incarnation=INCARNATION, seq=2), letter(3), letter(4)])
        await sync_to_async(damage)()
        await backend.recover(PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR))
        await backend.compact(RetentionPolicy(max_records=1))
        assert numbers(await backend.list_dead_letters()) == [3, 4]
        assert not (await backend.scan()).has_anomalies
    assert await sync_to_async(touched)("other") == [True, True, True, True]
    assert await sync_to_async(touched)("default") == [False, False, False, False]
