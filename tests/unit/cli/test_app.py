from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from papyra import __version__
from papyra.cli import app
from papyra.cli.commands import COMMANDS

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [command.name for command in COMMANDS if command.has_one_store]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAPYRA_STORE", raising=False)
    monkeypatch.delenv("PAPYRA_DEBUG", raising=False)
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_every_command_runs_on_an_empty_store(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([*name.split(), "--store", "memory:"]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.endswith("\n")


@pytest.mark.parametrize("name", NAMES)
def test_json_is_exactly_one_object_on_stdout(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main([*name.split(), "--store", "memory:", "--json"]) == 0
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert (document["command"], document["store"], document["exit_code"]) == (name, "memory:", 0)
    assert shown.out.count("\n") == 1
    assert shown.err == ""


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("where", [["--path", "gone.ndjson"], ["--store", "ndjson:gone.ndjson"], []])
def test_c6_a_missing_store_is_misuse_and_never_healthy_and_nothing_is_created(
    name: str, where: list[str], nowhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert app.main([*name.split(), *where]) == 64
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "there is no store at" in shown.err
    assert list(nowhere.iterdir()) == []


def test_a_bare_command_says_how_a_store_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["doctor", "run"]) == 64
    assert "no store is named (--path, --store or PAPYRA_STORE), and there is no store at papyra.ndjson" in (
        capsys.readouterr().err
    )


def test_a_wrong_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PAPYRA_STORE", "oracle:x")
    assert app.main(["doctor", "run"]) == 64
    assert "papyra: PAPYRA_STORE: no kind of store is called 'oracle'" in capsys.readouterr().err


def test_the_environment_names_a_store_and_an_option_wins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PAPYRA_STORE", "memory:")
    assert app.main(["doctor", "run"]) == 0
    assert app.main(["doctor", "run", "--path", "gone"]) == 64
    monkeypatch.setenv("PAPYRA_STORE", "")
    assert app.main(["doctor", "run"]) == 64
    capsys.readouterr()


def test_misuse_with_json_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["persistence", "scan", "--json", "--depth", "deep"]) == 64
    shown = capsys.readouterr()
    document = json.loads(shown.out)
    assert (document["verdict"], document["exit_code"]) == ("misuse", 64)
    assert "--depth" in document["error"]["message"]
    assert shown.err.startswith("usage:")


def test_a_missing_store_with_json_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["persistence", "scan", "--json", "--path", "gone"]) == 64
    document = json.loads(capsys.readouterr().out)
    assert (document["verdict"], document["error"]["type"]) == ("misuse", "ConfigurationError")


@pytest.mark.parametrize("words", [[], ["persistence"], ["doctor"], ["inspect"]])
def test_half_a_command_is_misuse(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(words) == 64
    shown = capsys.readouterr()
    assert "a command is needed; --help lists them" in shown.err
    assert shown.out == ""


def test_help_and_version_are_not_errors(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["--version"]) == 0
    assert capsys.readouterr().out == f"papyra {__version__}\n"
    assert app.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert "exit codes:" in shown
    for group in ("doctor", "persistence", "inspect"):
        assert group in shown


def test_a_bad_actor_or_range_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["inspect", "events", "--store", "memory:", "--actor", "a b"]) == 64
    assert app.main(["inspect", "events", "--store", "memory:", "--since", "1h", "--until", "2h"]) == 64
    assert capsys.readouterr().out == ""
