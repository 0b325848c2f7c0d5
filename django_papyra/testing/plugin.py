"""Fixtures for pytest and pytest-django."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.test.utils import override_settings

from django_papyra.conf import SETTING
from django_papyra.runtime import get_backend
from django_papyra.testing import inline_settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from papyra.persistence.backend import PersistenceBackend


@pytest.fixture
def papyra_backend(db: None) -> Iterator[PersistenceBackend]:
    """Return the backend, recording in this test's transaction; the code under test gets the same one."""
    del db
    with override_settings(**{SETTING: inline_settings()}):
        yield get_backend()
