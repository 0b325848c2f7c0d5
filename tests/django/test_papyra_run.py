"""papyra_run: hosts until it is told to stop, ends with a code that says how, survives what it hosts."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from django.core.management import CommandError, call_command

from django_papyra.management.commands.papyra_run import Command
from django_papyra.models import Incarnation, IncarnationState
from papyra.persistence.models import EventType
from tests.django import hosted
from tests.django.places import POPULATE, STRICT
from tests.django.places import file_store as file_store  # noqa: PLC0414  # fixtures
from tests.django.places import sql_store as sql_store  # noqa: PLC0414
from tests.django.places import store as store  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.django.places import FileStore, SqlStore, Store

    Arrange = Callable[[SqlStore], dict[str, object]]

pytestmark = pytest.mark.django_db  # so that there is a database to copy
ROOT = Path(__file__).resolve().parents[2]
HASTY = """
import functools
import django
django.setup()
from django.core.management import execute_from_command_line
from django_papyra import hosting
from django_papyra.management.commands import papyra_run
hosting.ActorSystem = functools.partial(hosting.ActorSystem, shutdown_timeout=0.4)
papyra_run.PATIENCE_SECONDS = 0.2
execute_from_command_line(["manage.py", "papyra_run"])
"""


@contextmanager
def papyra_run(
    store: Store,
    system: str = POPULATE,
    *,
    script: str = "",
    blocks: str = "",
    stdout: int | IO[str] = subprocess.PIPE,
) -> Iterator[subprocess.Popen[str]]:
    """Run it on ``store`` as a shell does, and end it at the end."""
    where = {"BACKEND": f"ndjson:{store.file}"} if store.file.suffix == ".ndjson" else {}
    command = ["-c", script] if script else ["-m", "django", "papyra_run"]
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env={
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.django.run_settings",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "",
            "PAPYRA_TEST_DATABASE": str(store.file),
            "PAPYRA_TEST_BLOCKS": blocks,
            "PAPYRA_TEST_SETTINGS": json.dumps({"SYSTEM": system, "SYSTEM_ID": "orders", **where}),
        },
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def next_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def incarnation_of(process: subprocess.Popen[str]) -> str:
    """Wait until it hosts."""
    line = next_line(process)
    assert line.startswith("orders runs as "), process.communicate()
    return line.split()[3].rstrip(";")


def types_of(store: Store, incarnation: str) -> list[str]:
    return [event.event_type for event in store.events() if event.incarnation == incarnation]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_first_signal_stops_in_order(number: signal.Signals, code: int, store: Store) -> None:
    with papyra_run(store) as process:
        incarnation = incarnation_of(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (code, "")
    assert "Stopping" in out
    types = types_of(store, incarnation)
    assert types[:2] == [EventType.SYSTEM_STARTED, EventType.STARTUP_CHECKED]
    assert types[-2:] == [EventType.ACTOR_STOPPED, EventType.SYSTEM_STOPPED]


def test_a_second_signal_does_not_wait_for_a_message_that_takes_its_time(sql_store: SqlStore) -> None:
    with papyra_run(sql_store, "tests.django.hosted.populate_with_blocker", blocks="thread") as process:
        lines = {next_line(process), next_line(process)}
        assert "blocks the thread\n" in lines
        process.terminate()
        assert "Stopping" in next_line(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == -signal.SIGINT


def test_signals_are_heard_while_an_actor_blocks_the_loop(sql_store: SqlStore) -> None:
    with papyra_run(sql_store, "tests.django.hosted.populate_with_blocker", blocks="loop") as process:
        while next_line(process) != "blocks the loop\n":
            pass
        for _ in range(50):
            process.terminate()
            try:
                assert process.wait(0.1) == -signal.SIGTERM
                break
            except subprocess.TimeoutExpired:
                continue
        assert process.returncode == -signal.SIGTERM


def test_a_thread_that_does_not_end_does_not_keep_the_process(sql_store: SqlStore) -> None:
    with papyra_run(
        sql_store, "tests.django.hosted.populate_with_blocker", script=HASTY, blocks="thread"
    ) as process:
        lines = [next_line(process), next_line(process)]
        process.terminate()
        assert process.wait(10) == 0
    incarnation = next(line for line in lines if "runs as" in line).split()[3].rstrip(";")
    assert types_of(sql_store, incarnation)[-1] == EventType.SYSTEM_STOPPED


def test_after_kill_9_the_next_run_recovers_and_says_which_one_was_lost(store: Store) -> None:
    with papyra_run(store) as process:
        lost = incarnation_of(process)
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
    with papyra_run(store) as process:
        incarnation = incarnation_of(process)
        process.terminate()
        assert process.wait(30) == 0
    (notice,) = [event for event in store.events() if event.event_type == EventType.INCARNATION_LOST]
    assert isinstance(notice.payload, dict)
    assert notice.payload["closes"] == lost
    checked = next(
        event
        for event in store.events()
        if event.event_type == EventType.STARTUP_CHECKED and event.incarnation == incarnation
    )
    assert isinstance(checked.payload, dict)
    assert checked.payload["verdict"] == "recovered"
    if store.file.suffix == ".sqlite3":
        rows = {row.incarnation: row.state for row in Incarnation.objects.using("scratch")}
        assert (rows[lost], rows[incarnation]) == (IncarnationState.LOST, IncarnationState.STOPPED)


def test_an_actor_that_cannot_start_does_not_end_the_host(sql_store: SqlStore) -> None:
    with papyra_run(sql_store, "tests.django.hosted.populate_with_broken") as process:
        incarnation = incarnation_of(process)
        process.terminate()
        assert process.wait(30) == 0
    stops = [event for event in sql_store.events() if event.event_type == EventType.ACTOR_STOPPED]
    assert {event.actor_path for event in stops if event.incarnation == incarnation} == {
        "/broken",
        "/greeter",
    }


def test_a_reader_that_has_left_changes_nothing(sql_store: SqlStore) -> None:
    with papyra_run(sql_store) as process:
        incarnation_of(process)
        assert process.stdout is not None
        process.stdout.close()
        process.terminate()
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""
        process.stdout = None


def test_a_full_disk_under_its_output_does_not_end_the_host(sql_store: SqlStore) -> None:
    with Path("/dev/full").open("w") as full, papyra_run(sql_store, stdout=full) as process:
        while EventType.ACTOR_STARTED not in [event.event_type for event in sql_store.events()[5:]]:
            pass
        process.terminate()
        assert process.wait(30) == 0


def test_a_file_that_another_process_hosts_is_unavailable(file_store: FileStore) -> None:
    with papyra_run(file_store) as first:
        incarnation_of(first)
        with papyra_run(file_store) as second:
            _, err = second.communicate(timeout=30)
        assert second.returncode == 69
        assert str(first.pid) in err
        assert "Traceback" not in err
        with pytest.raises(CommandError, match=str(first.pid)) as locked:
            call_command("papyra_recover", stdout=io.StringIO(), stderr=io.StringIO())
        assert locked.value.returncode == 69
        call_command("papyra_scan", stdout=io.StringIO(), stderr=io.StringIO())
        assert first.poll() is None


def with_settings(**changes: object) -> Arrange:
    return lambda _: changes


def refused(store: SqlStore) -> dict[str, object]:
    store.damage()
    return {"STARTUP": STRICT}


def unrecovered(store: SqlStore) -> dict[str, object]:
    store.damage()
    return {"STARTUP": {"recovery": "ignore"}}


def unproven(store: SqlStore) -> dict[str, object]:
    store.hide()
    return {}


ENDS: dict[str, tuple[Arrange, int, str]] = {
    "refused": (refused, 1, "bad_checksum"),
    "unrecovered": (unrecovered, 2, "unrecovered"),
    "unproven": (unproven, 69, "manage.py migrate"),
    "no system": (with_settings(SYSTEM=None), 64, "name an `async def populate(system)`"),
    "no such system": (with_settings(SYSTEM="tests.nowhere.populate"), 64, "cannot be imported"),
    "wrong settings": (with_settings(SISTEM="x"), 64, "did you mean 'SYSTEM'?"),
    "wrong database": (with_settings(OPTIONS={"using": "defualt"}), 64, "there is no database 'defualt'"),
    "failing populate": (
        with_settings(SYSTEM="tests.django.hosted.populate_halfway"),
        70,
        "LookupError: there is no kettle",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_start_that_fails_ends_with_its_code_and_one_sentence(
    end: str, sql_store: SqlStore, capsys: pytest.CaptureFixture[str]
) -> None:
    arrange, code, words = ENDS[end]
    sql_store.configure(**arrange(sql_store))
    hosted.STARTED.clear()
    before = sql_store.contents()
    with pytest.raises(SystemExit) as left:
        Command().run_from_argv(["manage.py", "papyra_run"])
    assert left.value.code == code
    printed = capsys.readouterr()
    (sentence,) = printed.err.splitlines()
    assert words in sentence
    assert printed.out == ""
    if code != 70:  # that one began, and ended in order
        assert (hosted.STARTED, sql_store.contents()) == ([], before)

    with pytest.raises(CommandError, match=words[:12]) as raised:
        call_command("papyra_run")
    assert raised.value.returncode == code


def test_misuse_ends_with_64_and_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        Command().run_from_argv(["manage.py", "papyra_run", "--forever"])
    assert left.value.code == 64
    assert "usage: manage.py papyra_run" in capsys.readouterr().err
    with pytest.raises(CommandError, match="--forever") as raised:
        call_command("papyra_run", "--forever")
    assert raised.value.returncode == 64
