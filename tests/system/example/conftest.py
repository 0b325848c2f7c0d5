from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.example.project import Project, Run, acknowledged

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file to copy, because migrating takes a second."""
    project = Project(tmp_path_factory.mktemp("migrated"))
    assert project.manage("migrate", "--no-input", "--verbosity", "0").returncode == 0
    return project.database


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """Return the example as it is after a clone: not migrated."""
    return Project(tmp_path)


@pytest.fixture
def on_sql(migrated_database: Path, tmp_path: Path) -> Project:
    """Return the example with an empty history in its database."""
    return Project.at(tmp_path, migrated_database)


@pytest.fixture
def on_file(migrated_database: Path, tmp_path: Path) -> Project:
    """Return the example with an empty history in a file."""
    return Project.at(tmp_path, migrated_database, in_file=True)


@pytest.fixture(params=["sql", "file"])
def project(request: pytest.FixtureRequest) -> Project:
    """Return the example with an empty history, in each kind of store."""
    found: Project = request.getfixturevalue(f"on_{request.param}")
    return found


@pytest.fixture(scope="session", params=[False, True], ids=["sql", "file"])
def run(
    request: pytest.FixtureRequest, migrated_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """Return the example after one demo; only to be looked at."""
    folder = tmp_path_factory.mktemp("demo")
    project = Project.at(folder, migrated_database, in_file=request.param)
    ledger = folder / "acknowledged"
    done = project.manage("papyra_demo", "--ack-log", ledger)
    assert (done.returncode, done.stderr) == (0, "")
    return Run(project, done.stdout, acknowledged(ledger))


@pytest.fixture
def damaged(run: Run, tmp_path: Path) -> Project:
    """Return the example after one demo, with one letter of its history changed."""
    project = run.project.copied_to(tmp_path)
    project.damage()
    return project
