"""manage.py papyra_doctor, papyra_scan and the others of a store: one exit code and one answer each."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command, get_commands, load_command_class

from papyra.persistence.models import PersistenceAnomalyType
from papyra.testing.records import INCARNATION
from tests.django.places import STRICT
from tests.django.places import file_store as file_store  # noqa: PLC0414  # fixtures
from tests.django.places import sql_store as sql_store  # noqa: PLC0414
from tests.django.places import store as store  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django import Settings

    from tests.django.places import FileStore, SqlStore, Store

    Arrange = Callable[[Store], None]

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(name for name, app in get_commands().items() if app == "django_papyra")
STORE_COMMANDS = [name for name in NAMES if name not in {"papyra_run", "papyra_copy", "papyra_restore"}]
NEEDED = {"papyra_copy": ("--from", "memory:", "--to", "memory:")}


class Shell:
    """Runs a command as ``manage.py`` does, in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.out = self.err = ""

    def __call__(self, name: str, *words: str) -> int:
        sys.argv[1:] = [name, *words]
        code: object = 0
        try:
            load_command_class("django_papyra", name).run_from_argv(["manage.py", name, *words])
        except SystemExit as left:
            code = left.code or 0
        self.out, self.err = self._capsys.readouterr()
        assert isinstance(code, int)
        return code

    def json(self, name: str, *words: str) -> dict[str, Any]:
        code = self(name, *words, "--json")
        (line,) = self.out.splitlines()
        document: dict[str, Any] = json.loads(line)
        assert document["exit_code"] == code
        return document


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.setattr(sys, "argv", ["manage.py"])
    return Shell(capsys)


def sound(store: Store) -> None:
    del store


def crashed(store: Store) -> None:
    store.leave_crash_trace()


def damaged(store: Store) -> None:
    store.damage()


def damaged_and_strict(store: Store) -> None:
    store.damage()
    store.configure(STARTUP=STRICT)


def misconfigured(store: Store) -> None:
    store.configure(BACKENDS="x")


CASES: dict[str, tuple[Arrange, tuple[str, ...], int, str]] = {
    "doctor, sound": (sound, ("papyra_doctor",), 0, "healthy"),
    "doctor, crashed": (crashed, ("papyra_doctor",), 0, "recovered"),
    "doctor, damaged": (damaged, ("papyra_doctor",), 0, "recovered"),
    "doctor, only looks": (damaged, ("papyra_doctor", "--mode", "scan-only"), 0, "tolerated"),
    "doctor, asked to be strict": (damaged, ("papyra_doctor", "--mode", "fail_on_anomaly"), 1, "refused"),
    "doctor, strict by settings": (damaged_and_strict, ("papyra_doctor",), 1, "refused"),
    "doctor, asked to repair": (damaged_and_strict, ("papyra_doctor", "--mode", "recover"), 0, "recovered"),
    "doctor, cannot repair": (damaged, ("papyra_doctor", "--recovery-mode", "ignore"), 2, "unrecovered"),
    "doctor, misconfigured": (misconfigured, ("papyra_doctor",), 64, "misuse"),
    "scan, sound": (sound, ("papyra_scan",), 0, "healthy"),
    "scan, crashed": (crashed, ("papyra_scan", "--depth", "tail"), 2, "crash_trace"),
    "scan, damaged": (damaged, ("papyra_scan",), 2, "damage"),
    "scan, misconfigured": (misconfigured, ("papyra_scan",), 64, "misuse"),
    "recover, sound": (sound, ("papyra_recover",), 0, "healthy"),
    "recover, damaged": (damaged, ("papyra_recover",), 0, "recovered"),
    "recover, quarantine": (damaged, ("papyra_recover", "--mode", "quarantine"), 0, "recovered"),
    "recover, dry run": (damaged, ("papyra_recover", "--dry-run"), 2, "damage"),
    "recover, leaves it": (damaged, ("papyra_recover", "--mode", "ignore"), 2, "unrecovered"),
    "recover, misconfigured": (misconfigured, ("papyra_recover",), 64, "misuse"),
    "compact, sound": (sound, ("papyra_compact", "--max-records", "2"), 0, "compacted"),
    "compact, dry run": (sound, ("papyra_compact", "--max-records", "2", "--dry-run"), 0, "dry_run"),
    "compact, damaged": (damaged, ("papyra_compact", "--max-age", "1000w"), 2, "damage"),
    "verify, sound": (sound, ("papyra_verify",), 0, "proven"),
    "verify, damaged": (damaged, ("papyra_verify",), 2, "damage"),
    "verify, misconfigured": (misconfigured, ("papyra_verify",), 64, "misuse"),
    "restore, misconfigured": (misconfigured, ("papyra_restore",), 64, "misuse"),
    "compact, misconfigured": (misconfigured, ("papyra_compact",), 64, "misuse"),
}


@pytest.mark.django_db
@pytest.mark.parametrize("case", CASES)
def test_every_end_has_its_code_verdict_and_one_json_object(case: str, store: Store, shell: Shell) -> None:
    arrange, words, code, verdict = CASES[case]
    arrange(store)
    document = shell.json(*words)
    assert (document["exit_code"], document["verdict"]) == (code, verdict), document
    assert (shell.err == "") == (code != 64)


@pytest.mark.django_db
@pytest.mark.parametrize("name", STORE_COMMANDS)
def test_a_store_without_tables_is_unavailable_and_says_what_to_type(
    name: str, sql_store: SqlStore, shell: Shell
) -> None:
    sql_store.hide()
    assert shell.json(name)["exit_code"] == 69
    assert shell(name) == 69
    assert "manage.py migrate" in shell.err + shell.out
    assert "Traceback" not in shell.err


@pytest.mark.django_db
def test_people_get_words_and_the_next_command_to_type(sql_store: SqlStore, shell: Shell) -> None:
    sql_store.damage()
    assert shell("papyra_scan") == 2
    assert shell.out.startswith("DAMAGE  settings.PAPYRA\n")
    assert "Next: manage.py papyra_recover  #" in shell.out
    assert (shell("papyra_recover"), shell("papyra_scan")) == (0, 0)
    assert shell.out.startswith("HEALTHY")


@pytest.mark.django_db
@pytest.mark.parametrize("words", [("papyra_scan",), ("papyra_scan", "--json")])
def test_inside_call_command_an_end_is_an_error_that_carries_its_code(
    words: tuple[str, ...], sql_store: SqlStore
) -> None:
    out, err = io.StringIO(), io.StringIO()
    call_command(*words, stdout=out, stderr=err)
    sql_store.damage()
    with pytest.raises(CommandError, match=PersistenceAnomalyType.BAD_CHECKSUM) as raised:
        call_command(*words, stdout=out, stderr=err)
    assert raised.value.returncode == 2
    assert PersistenceAnomalyType.BAD_CHECKSUM in out.getvalue()
    assert "\x1b" not in out.getvalue() + err.getvalue()


MISUSES = (("--depth", "tial"), ("--nope",), ("--vers",), ("surplus",))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (name, words)
        for name in NAMES
        for words in MISUSES
        if name != "papyra_restore" or words[-1].startswith("--")  # any other word may name an entry
    ],
)
def test_misuse_is_64_from_the_shell_and_inside_call_command(
    name: str, words: tuple[str, ...], shell: Shell
) -> None:
    words = (*NEEDED.get(name, ()), *words)
    assert shell(name, *words) == 64
    assert shell.out == ""
    assert shell.err.startswith(f"usage: manage.py {name} ")
    assert words[-1] in shell.err
    with pytest.raises(CommandError, match=words[-1]) as raised:
        call_command(name, *words)
    assert raised.value.returncode == 64


def test_misuse_with_json_is_one_object_too(shell: Shell) -> None:
    document = shell.json("papyra_scan", "--depth", "tial")
    assert (document["verdict"], document["error"]["type"]) == ("misuse", "Misuse")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("broken", [{}, {"NOPE": 1}, {"SYSTEM": "no.where"}], ids=["absent", "wrong", "gone"])
def test_d3_help_needs_no_database_and_no_sound_settings(
    name: str, broken: dict[str, object], settings: Settings, shell: Shell
) -> None:
    settings.PAPYRA = broken  # and no fixture has allowed this test a connection
    assert shell(name, "--help") == 0
    assert shell.out.startswith(f"usage: manage.py {name} ")


def test_the_settings_say_what_the_doctor_does_about_damage(settings: Settings, shell: Shell) -> None:
    settings.PAPYRA = {"STARTUP": {"mode": "scan_only", "recovery": "quarantine", "quarantine_dir": "/aside"}}
    assert shell("papyra_doctor", "--help") == 0
    assert "default: scan_only" in " ".join(shell.out.split())
    assert "default: quarantine" in " ".join(shell.out.split())


@pytest.mark.django_db
@pytest.mark.parametrize("words", [("papyra_doctor",), ("papyra_recover",)])
def test_what_is_taken_out_goes_where_the_settings_say(
    words: tuple[str, ...], file_store: FileStore, tmp_path: Path, shell: Shell
) -> None:
    aside = tmp_path / "aside"
    file_store.configure(STARTUP={"quarantine_dir": str(aside)})
    file_store.damage()
    assert shell(*words) == 0
    assert b'"reason": "bad_checksum"' in b"".join(path.read_bytes() for path in aside.iterdir())
    assert not file_store.file.with_name(f"{file_store.file.name}.quarantine").exists()


@pytest.mark.django_db
@pytest.mark.parametrize("where", ["", "aside"])
def test_what_lies_in_quarantine_is_listed_and_goes_back_under_its_identity(
    where: str, file_store: FileStore, tmp_path: Path, shell: Shell
) -> None:
    file_store.configure(STARTUP={"quarantine_dir": str(tmp_path / where)} if where else {})
    kept = file_store.file.read_bytes()
    folder = tmp_path / where if where else file_store.file.with_name(f"{file_store.file.name}.quarantine")
    folder.mkdir(parents=True)
    (folder / f"papyra.ndjson.{hashlib.sha256(kept).hexdigest()[:16]}").write_bytes(kept)
    file_store.file.write_bytes(
        b"".join(line for line in kept.splitlines(keepends=True) if b'"seq":3,' not in line)
    )
    assert shell("papyra_recover") == 0  # which notes the loss
    assert shell("papyra_restore") == 0
    assert "Next: manage.py papyra_restore all  #" in shell.out
    document = shell.json("papyra_restore", "all", "--export", str(tmp_path / "rest"))
    assert (document["verdict"], document["restore"]["restored"]) == ("restored", 1)
    assert [event.seq for event in file_store.events() if event.incarnation == INCARNATION] == [1, 2, 3, 4, 5]
    assert shell.json("papyra_verify")["quarantine"]["fates"] == {"present": 5}


@pytest.mark.django_db
def test_a_database_says_that_its_quarantine_is_not_listed_here(sql_store: SqlStore, shell: Shell) -> None:
    sql_store.damage()
    assert shell("papyra_recover") == 0
    assert shell("papyra_restore") == 64
    assert "has no quarantine that can be listed" in shell.err
    assert shell("papyra_verify") == 0


@pytest.mark.django_db
def test_an_unforeseen_fault_is_70_with_its_traceback_only_when_asked(
    sql_store: SqlStore, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    del sql_store

    def break_down(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr("papyra.cli.persistence.scan_outcome", break_down)
    assert shell.json("papyra_scan")["exit_code"] == 70
    assert "Traceback" not in shell.err
    assert shell("papyra_scan", "--traceback") == 70
    assert "Traceback" in shell.err
    monkeypatch.setenv("PAPYRA_DEBUG", "1")
    assert shell("papyra_scan") == 70
    assert "Traceback" in shell.err


@pytest.mark.django_db
def test_an_interrupted_command_ends_with_130(
    sql_store: SqlStore, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    del sql_store

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("papyra.cli.persistence.scan_outcome", interrupt)
    assert shell("papyra_scan") == 130
    assert "Traceback" not in shell.err


@pytest.mark.django_db
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_pipe_that_takes_little_gets_what_it_can_and_one_that_is_shut_changes_nothing(
    encoding: str, file_store: FileStore
) -> None:
    file_store.damage()
    store = file_store.file.rename(file_store.file.with_name("bestellungen-café.ndjson"))
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.django.run_settings",
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": encoding,
        "PAPYRA_TEST_DATABASE": "nowhere.sqlite3",
        "PAPYRA_TEST_SETTINGS": json.dumps({"BACKEND": f"ndjson:{store}"}),
    }
    read, write = os.pipe()
    os.close(read)
    full = os.open("/dev/full", os.O_WRONLY)  # noqa: TID251  # a device
    for stdout, code, words in (
        (subprocess.PIPE, 2, b""),
        (write, 2, b""),
        (full, 70, b"CommandError: the output could not be written: No space left on device\n"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "django", "papyra_scan"],
            cwd=ROOT,
            env=environment,
            stdout=stdout,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (code, words)
        if stdout == subprocess.PIPE:
            assert (b"caf\\xe9" in done.stdout) == (encoding == "ascii")
    os.close(write)
    os.close(full)
