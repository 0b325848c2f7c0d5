"""What projects' tests need: history that is written in the test's own transaction, and goes with it.

With unittest derive from `PapyraTestCase`, or put `PapyraTestMixin` before another Django test case. With
pytest write ``pytest_plugins = ["django_papyra.testing.plugin"]`` into the top ``conftest.py`` and ask for
the fixture ``papyra_backend``.

An async test under pytest runs its queries in another thread than the fixtures: it needs
``@pytest.mark.django_db(transaction=True)``, as it does for every other use of the ORM.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.test import SimpleTestCase, TestCase
from django.test.utils import override_settings

from django_papyra.conf import SETTING, PapyraSettings, WriterMode, database_alias
from django_papyra.runtime import get_backend

if TYPE_CHECKING:
    from collections.abc import Mapping

    from papyra.persistence.backend import PersistenceBackend


def inline_settings() -> Mapping[str, object]:
    """Return ``PAPYRA`` as it is, but recording with the ORM on the connection of whoever records."""
    options = {"using": database_alias(), "writer": WriterMode.INLINE.value}
    return {**getattr(settings, SETTING, {}), "BACKEND": PapyraSettings().backend, "OPTIONS": options}


class PapyraTestMixin(SimpleTestCase):
    """Records inline for the whole class, `setUpTestData` included."""

    @classmethod
    def setUpClass(cls) -> None:
        """Switch the writer before anything records."""
        cls.enterClassContext(override_settings(**{SETTING: inline_settings()}))
        super().setUpClass()

    @property
    def papyra_backend(self) -> PersistenceBackend:
        """The backend that the code under test gets."""
        return get_backend()


class PapyraTestCase(PapyraTestMixin, TestCase):
    """A Django `TestCase` whose history is rolled back with the rest."""
