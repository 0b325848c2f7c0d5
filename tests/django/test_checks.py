"""System checks: each has an id and a hint, and only those for databases open one."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from django.core import checks
from django.db import connections
from django.test.utils import override_settings

from django_papyra import checks as ours

LIMITED = {"RETENTION": {"max_records": 10}}
DOCS = Path(__file__).resolve().parents[2] / "docs" / "reference" / "checks.md"


async def populate(system: object) -> None:
    del system


def not_async(system: object) -> None:
    del system


def found(papyra: dict[str, Any]) -> list[str]:
    with override_settings(PAPYRA={**LIMITED, **papyra}):
        messages = checks.run_checks(tags=[ours.TAG])
    assert all(message.hint for message in messages if message.id != "papyra.W003")
    return [str(message.id) for message in messages]


@pytest.mark.parametrize(
    ("papyra", "ids"),
    [
        ({}, []),
        ({"SYSTEM": f"{__name__}.populate", "MESSAGES": ["papyra.events"]}, []),
        ({"BACKEND": "memory:"}, []),
        ({"BACKEND": "ndjson:/no/such/folder/log.ndjson"}, []),
        ({"BACKEND": "django:default", "OPTIONS": {"using": "other"}}, []),
        ({"BACKEND": "django:other", "OPTIONS": {"using": "default"}}, ["papyra.E006"]),
        ({"BACKEND": "django:nowhere"}, ["papyra.E005"]),
        ({"BACKND": 1, "STARTUP": {"mode": "x"}}, ["papyra.E001", "papyra.E001"]),
        ({"BACKEND": "shop.nothing.Here"}, ["papyra.E002"]),
        ({"BACKEND": "segments:/no/such/folder/log"}, []),
        ({"BACKEND": "ftp://x"}, ["papyra.E002"]),
        ({"BACKEND": "builtins.dict"}, ["papyra.E002"]),
        ({"BACKEND": ":"}, ["papyra.E002"]),
        ({"OPTIONS": {"writer": "x"}}, ["papyra.E002"]),
        ({"OPTIONS": {"writer": []}}, ["papyra.E002"]),
        ({"OPTIONS": {"using": []}}, ["papyra.E002"]),
        ({"OPTIONS": {"speed": 1}}, ["papyra.E002"]),
        ({"SYSTEM": "shop.nothing.populate"}, ["papyra.E003"]),
        ({"SYSTEM": f"{__name__}.not_async"}, ["papyra.E003"]),
        ({"SYSTEM": "populate"}, ["papyra.E003"]),
        ({"MESSAGES": ["papyra.nothing", "", ".models"]}, ["papyra.E004"] * 3),
        ({"OPTIONS": {"using": "nowhere"}}, ["papyra.E005"]),
        ({"OPTIONS": {"using": "other"}}, ["papyra.E006"]),
        ({"RETENTION": {}}, ["papyra.W002"]),
        ({"TRACE_URL_TEMPLATE": "https://traces/"}, ["papyra.W003"]),
    ],
)
def test_each_mistake_has_its_id(papyra: dict[str, Any], ids: list[str]) -> None:
    assert found(papyra) == ids


def test_the_router_settles_where_the_tables_are() -> None:
    with override_settings(DATABASE_ROUTERS=["django_papyra.routers.PapyraRouter"]):
        assert found({"OPTIONS": {"using": "other"}}) == []


def deployment(papyra: dict[str, Any]) -> list[str]:
    with override_settings(PAPYRA=papyra):
        messages = checks.run_checks(tags=[ours.TAG], include_deployment_checks=True)
    return [str(message.id) for message in messages if message.id not in {"papyra.W002", "papyra.W103"}]


def test_what_is_fine_on_a_desk_is_not_in_production() -> None:
    assert deployment({}) == []
    assert deployment({"OPTIONS": {"writer": "inline"}}) == ["papyra.W101"]
    assert deployment({"BACKEND": "memory:"}) == ["papyra.W102"]
    assert deployment({"NOPE": 1}) == ["papyra.E001"]


@pytest.mark.parametrize(
    ("version", "is_advised"),
    [((3, 40, 1), True), ((3, 50, 6), True), ((3, 50, 7), False), ((3, 44, 6), False), ((3, 51, 3), False)],
)
def test_sqlite_that_can_damage_a_wal_database_is_named(
    version: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch, *, is_advised: bool
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", version)
    found = ours.check_deployment(app_configs=None)
    assert [message.id for message in found] == (["papyra.W103"] if is_advised else [])


@pytest.mark.parametrize(
    ("mode", "ids"),
    [("WAL", []), ("DELETE", ["papyra.W001"]), ("OFF", ["papyra.E007"]), ("MEMORY", ["papyra.E007"])],
)
def test_the_database_is_asked_how_durable_it_is(mode: str, ids: list[str], scratch: Path) -> None:
    connections.settings["scratch"]["OPTIONS"] = {"init_command": f"PRAGMA journal_mode={mode}"}
    with override_settings(PAPYRA={"OPTIONS": {"using": "scratch"}}):
        found = ours.check_database(app_configs=None, databases=["scratch"])
        assert [message.id for message in found] == ids
        assert ours.check_database(app_configs=None, databases=["default"]) == []
        assert ours.check_database(app_configs=None, databases=None) == []
    assert scratch.exists()


def test_every_id_is_documented() -> None:
    source = Path(str(ours.__file__)).read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| (papyra\.[EW]\d+) \|", DOCS.read_text(encoding="utf-8"), re.MULTILINE))
    assert documented == set(re.findall(r"papyra\.[EW]\d+", source))
