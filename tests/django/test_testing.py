"""What projects' tests get: history in the test's own transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.db import transaction
from django.test import TransactionTestCase

from django_papyra.backend import DjangoPersistence
from django_papyra.models import DeadLetter, Event
from django_papyra.runtime import get_backend, run_sync
from django_papyra.testing import PapyraTestCase, PapyraTestMixin
from papyra.testing.records import event, letter, numbers

if TYPE_CHECKING:
    from papyra.persistence.backend import PersistenceBackend


def place_order(number: int) -> None:
    """Stand for a project's sync code."""
    run_sync(get_backend().append([event(number), letter(number)]))


class TestOrders(PapyraTestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        place_order(1)

    def test_a_test_sees_what_was_recorded(self) -> None:
        place_order(2)
        assert Event.objects.count() == DeadLetter.objects.count() == 2
        assert numbers(run_sync(get_backend().list_events())) == [1, 2]  # type: ignore[attr-defined]  # a BasePersistence

    def test_and_the_next_test_does_not(self) -> None:
        assert [row.actor_address for row in Event.objects.all()] == ["orders:1"]
        assert isinstance(self.papyra_backend, DjangoPersistence)

    async def test_an_async_test_is_in_the_transaction_too(self) -> None:
        await get_backend().append([event(3)])
        assert [row.actor_address async for row in Event.objects.order_by("id")] == ["orders:1", "orders:3"]

    def test_a_transaction_that_is_rolled_back_takes_the_history_along(self) -> None:
        with transaction.atomic():
            place_order(4)
            transaction.set_rollback(True)
        place_order(5)
        assert [row.actor_address for row in Event.objects.order_by("id")] == ["orders:1", "orders:5"]
        assert not run_sync(get_backend().scan()).has_anomalies

    def test_what_an_earlier_test_took_back_is_no_hole(self) -> None:
        for number in range(6, 9):
            with transaction.atomic():
                place_order(number)
                transaction.set_rollback(number % 2 == 1)
            assert not run_sync(get_backend().scan()).has_anomalies


class TestCommittedOrders(PapyraTestMixin, TransactionTestCase):
    def test_it_works_without_a_transaction_as_well(self) -> None:
        place_order(1)
        assert Event.objects.count() == 1


def test_the_fixture_records_in_the_tests_transaction(papyra_backend: PersistenceBackend) -> None:
    place_order(1)
    assert Event.objects.count() == 1
    assert papyra_backend is get_backend()


def test_and_leaves_nothing_behind(papyra_backend: PersistenceBackend) -> None:
    assert not Event.objects.exists()
    assert not run_sync(papyra_backend.scan()).has_anomalies


@pytest.mark.django_db(transaction=True)
async def test_the_fixture_works_in_async_tests_that_commit(papyra_backend: PersistenceBackend) -> None:
    await papyra_backend.append([event(1)])
    assert await Event.objects.acount() == 1


@pytest.mark.django_db
def test_outside_of_them_the_backend_is_the_projects_own() -> None:
    backend = get_backend()
    assert isinstance(backend, DjangoPersistence)
    run_sync(backend.aclose())
