"""manage.py papyra_copy: the project's tables are one of the two stores."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from papyra.persistence.models import RecordKind
from papyra.testing.records import INCARNATION, event
from tests.django.places import sql_store as sql_store  # noqa: PLC0414  # a fixture
from tests.django.test_commands import Shell
from tests.unit.copying.stores import fill, lines, seqs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.django.places import SqlStore

pytestmark = pytest.mark.django_db


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(sys, "argv", ["manage.py"])
    return Shell(capsys)


async def file_of(path: Path, first: int, last: int) -> None:
    events = [event(number, incarnation=INCARNATION, seq=number) for number in range(first, last + 1)]
    await fill(f"ndjson:{path}", [*events])


def test_tables_are_copied_into_a_file_and_the_next_copy_goes_on(
    sql_store: SqlStore, shell: Shell, tmp_path: Path
) -> None:
    backup = f"ndjson:{tmp_path / 'backup.ndjson'}"
    document = shell.json("papyra_copy", "--from", "django:scratch", "--to", backup)
    assert (document["exit_code"], document["verdict"]) == (0, "copied"), document
    assert document["store"] == f"django:scratch -> {backup}"
    assert asyncio.run(seqs(backup)) == [1, 2, 3, 4, 5]
    assert len(sql_store.events()) == 5
    document = shell.json("papyra_copy", "--from", "django:scratch", "--to", backup)
    assert document["kinds"]["event"]["present"] == 5
    assert document["kinds"]["event"]["resumed_after"] == [INCARNATION, "event", 5]


def test_a_file_is_copied_into_the_tables_byte_for_byte(
    sql_store: SqlStore, shell: Shell, tmp_path: Path
) -> None:
    source, back = tmp_path / "source.ndjson", f"ndjson:{tmp_path / 'back.ndjson'}"
    asyncio.run(file_of(source, 1, 200))
    document = shell.json("papyra_copy", "--from", f"ndjson:{source}", "--to", "django:scratch")
    assert (document["exit_code"], document["verdict"]) == (0, "copied"), document
    assert (document["kinds"]["event"]["copied"], document["kinds"]["event"]["present"]) == (195, 5)
    assert len(sql_store.events()) == 200
    assert shell("papyra_scan") == 0
    assert shell("papyra_copy", "--from", "django:scratch", "--to", back) == 0
    assert asyncio.run(lines(back)) == asyncio.run(lines(f"ndjson:{source}"))


def test_the_same_alias_twice_and_an_unknown_one_are_misuse(sql_store: SqlStore, shell: Shell) -> None:
    del sql_store
    assert shell("papyra_copy", "--from", "django:scratch", "--to", "django:scratch") == 64
    assert "are the same store" in shell.err
    assert shell("papyra_copy", "--from", "django:nowhere", "--to", "memory:") == 64
    assert "there is no database" in shell.err
    assert shell("papyra_copy", "--from", "django:", "--to", "memory:") == 64
    assert "needs the alias of a database" in shell.err


def test_tables_that_are_not_there_are_unavailable(sql_store: SqlStore, shell: Shell) -> None:
    sql_store.hide()
    assert shell.json("papyra_copy", "--from", "django:scratch", "--to", "memory:")["exit_code"] == 69


def test_every_kind_is_asked_for_by_its_word(sql_store: SqlStore, shell: Shell) -> None:
    del sql_store
    words = ("--from", "django:scratch", "--to", "memory:", "--kind", "dead-letter")
    assert list(shell.json("papyra_copy", *words)["kinds"]) == [RecordKind.DEAD_LETTER.value]
