from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management import call_command
from django.db import connection, connections
from django.db.backends.signals import connection_created

from django_papyra.backend import DjangoPersistence
from django_papyra.testing.plugin import papyra_backend as papyra_backend  # noqa: PLC0414  # a fixture
from tests.django.faulty_sqlite3.base import FAULTS
from tests.django.settings import FILES

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from django.test import Client
    from pytest_django import DjangoDbBlocker


@pytest.fixture(scope="session", autouse=True)
def _files_that_go_with_the_tests() -> Iterator[None]:
    yield
    for file in Path(FILES).parent.glob(f"{Path(FILES).name}-*"):
        file.unlink()


@pytest.fixture
async def backend(transactional_db: None) -> AsyncIterator[DjangoPersistence]:
    """Return a backend with threads of its own, on an empty database."""
    del transactional_db
    async with DjangoPersistence() as opened:
        yield opened


@pytest.fixture
def sql(transactional_db: None) -> Callable[..., list[tuple[object, ...]]]:
    """Return what changes the tables behind papyra's back, and says what they hold."""
    del transactional_db

    return partial(_execute, Path(str(connection.settings_dict["NAME"])))


def _execute(file: Path, statement: str, *values: object) -> list[tuple[object, ...]]:
    opened = sqlite3.connect(file, isolation_level=None)
    opened.text_factory = bytes if "BLOB" in statement else str
    try:
        return opened.execute(statement, values).fetchall()
    finally:
        opened.close()


@pytest.fixture
def trigger(sql: Callable[..., list[tuple[object, ...]]]) -> Iterator[Callable[[str], None]]:
    """Return what lets the table of events refuse those of type ``Poison``."""

    def create(action: str) -> None:
        sql(
            "CREATE TRIGGER poison BEFORE INSERT ON django_papyra_event "
            f"WHEN NEW.event_type = 'Poison' BEGIN SELECT {action}; END"
        )

    yield create
    sql("DROP TRIGGER IF EXISTS poison")


@pytest.fixture
def writers() -> Iterator[list[sqlite3.Connection]]:
    """Return the raw connections that papyra's writers open, in order."""
    opened: list[sqlite3.Connection] = []

    def note(connection: object, **_: object) -> None:
        if threading.current_thread().name.startswith("papyra-writer"):
            opened.append(connection.connection)  # type: ignore[attr-defined]  # Django's wrapper

    connection_created.connect(note)
    yield opened
    connection_created.disconnect(note)


@pytest.fixture
def faults() -> Iterator[Mapping[str, deque[Exception | None]]]:
    """Return what the database raises next in papyra's writers, by point."""
    FAULTS.clear()
    yield FAULTS
    FAULTS.clear()


@pytest.fixture
def page(admin_client: Client) -> Callable[[str], str]:
    """Return what reads a page of the admin as a superuser."""

    def get(url: str) -> str:
        response = admin_client.get(url)
        assert response.status_code == 200, (url, response.status_code, response.headers)
        return response.content.decode()

    return get


@pytest.fixture(scope="session")
def template(
    django_test_environment: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Return the file of a migrated, empty database."""
    del django_test_environment
    file = tmp_path_factory.mktemp("template") / "template.sqlite3"
    with known_as("template", file), django_db_blocker.unblock():
        call_command("migrate", database="template", verbosity=0)
    return file


@contextmanager
def known_as(alias: str, file: Path) -> Iterator[None]:
    """Let ``alias`` be the database in ``file`` for the time of a block."""
    connections.settings[alias] = {**connections.settings["default"], "NAME": str(file)}
    yield
    connections[alias].close()
    del connections[alias]
    del connections.settings[alias]


@pytest.fixture
def scratch(template: Path, django_db_blocker: DjangoDbBlocker, tmp_path: Path) -> Iterator[Path]:
    """Return the file of a database of its own, migrated and empty, known as ``scratch``."""
    file = tmp_path / "scratch.sqlite3"
    shutil.copyfile(template, file)
    with known_as("scratch", file), django_db_blocker.unblock():
        yield file


@pytest.fixture
def sql_at() -> Callable[[Path], Callable[..., list[tuple[object, ...]]]]:
    """Return what `sql` does, for any file."""
    return lambda file: partial(_execute, file)
