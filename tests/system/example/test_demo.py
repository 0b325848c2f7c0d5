"""papyra_demo: the order desk served to its end, and its story told out of what is stored."""

from __future__ import annotations

import csv
import re
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.system.example.project import EXAMPLE, ROOT

if TYPE_CHECKING:
    from tests.system.example.project import Project, Run

ORDERS = EXAMPLE / "orders" / "data" / "orders.csv"
DOWN = {"PAPYRA_EXAMPLE_DB": "/proc/nowhere/orderdesk.sqlite3"}
CHOSEN = {"PAPYRA_EXAMPLE_PASSWORD": "s3cret"}


def number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found, f"{pattern} in:\n{text}"
    return int(found[1])


def test_the_story_agrees_with_the_stored_history(run: Run) -> None:
    told, records = run.told, run.project.records()
    assert told.endswith("\ndoctor: healthy\n")
    kinds = Counter(record["kind"] for record in records)
    assert {record["incarnation"] for record in records} == set(re.findall(r"On record for (\w+):", told))
    assert kinds["event"] == number(r"(\d+) events", told)
    assert kinds["audit"] == number(r"(\d+) audits", told) >= 1
    assert kinds["dead_letter"] == number(r"(\d+) dead letters", told) > 0
    types = Counter(record["event_type"] for record in records if record["kind"] == "event")
    for type_ in ("ActorCrashed", "ActorRestarted", "ActorEscalated", "ActorStopped"):
        assert types[type_] == number(rf"(\d+) {type_}", told) > 0
    reasons = Counter(record["reason"] for record in records if record["kind"] == "dead_letter")
    letters_told = re.findall(r"^ +(\d+)  (\w+)$", told, re.MULTILINE)
    assert reasons == {reason: int(count) for count, reason in letters_told}
    assert "orders/shipping            restart_limit: CarrierDown" in told


def test_every_record_was_acknowledged_and_is_stored_once(run: Run) -> None:
    identities = run.project.identities()
    assert run.acknowledged == set(identities)
    assert set(identities.values()) == {1}


def test_r1_the_accounting_balances_in_the_audit_and_at_the_stop(run: Run) -> None:
    figures = re.findall(
        r"accepted (\d+) = handled (\d+) \+ failed (\d+) \+ dead (\d+) \+ expired (\d+) \+ pending (\d+)",
        run.told,
    )
    assert len(figures) == 2
    for accepted, *rest in figures:
        assert int(accepted) == sum(map(int, rest)) > 0
    (stopped,) = [one for one in run.project.records() if one.get("event_type") == "SystemStopped"]
    assert stopped["payload"]["accounting"]["accepted"] == int(figures[1][0])
    placed, carried, declined, out = map(
        int, re.findall(r"(\d+) (?:orders|to the carrier|declined|out of stock)", run.told)
    )
    assert placed == carried + declined + out


def test_no_card_number_is_ever_stored(run: Run) -> None:
    with ORDERS.open(newline="") as file:
        cards = {row["card"] for row in csv.DictReader(file) if row["card"] and len(row["card"]) > 10}
    content = run.project.content()
    assert len(cards) > 50
    assert not [card for card in cards if card.encode() in content]


def test_each_round_is_a_system_of_its_own_on_one_store(project: Project) -> None:
    done = project.manage("papyra_demo", "--rounds", "3")
    assert done.returncode == 0, done.stderr
    types = Counter(record.get("event_type") for record in project.records())
    assert (types["SystemStarted"], types["SystemStopped"], types["IncarnationLost"]) == (3, 3, 0)


@pytest.mark.parametrize("command", ["papyra_demo", "papyra_run"])
def test_before_migrate_there_is_one_clear_sentence(command: str, fresh: Project) -> None:
    done = fresh.manage(command)
    assert (done.returncode, done.stdout) == (69, "")
    (sentence,) = done.stderr.splitlines()
    assert "run `manage.py migrate`" in sentence
    assert not fresh.database.exists()


def test_a_damaged_store_is_repaired_by_the_doctor(damaged: Project) -> None:
    assert damaged.manage("papyra_scan").returncode == 2
    done = damaged.manage("papyra_doctor")
    assert (done.returncode, done.stdout.split()[0]) == (0, "RECOVERED")
    assert damaged.manage("papyra_scan").returncode == 0


HOSTILE_FILES = {
    "empty": b"",
    "bytes": bytes(range(256)) * 8 + b'\n"' + b"x" * 1000,
    "hostile": "order_id,customer,sku,quantity,card\n"
    'x-1,"<script>alert(1)</script>",TEA-ASSAM-250,1,4111-1111-1111-1111\n'
    "x-2,\x1b[31mred\u202e,TEA-ASSAM-250,\u0661,4111-1111-1111-0000\n"
    'x-3,"{0.__class__}",MUG-BLUE,1e3,=cmd|calc\n'.encode(),
}


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_whatever_is_in_the_order_file_the_desk_comes_to_its_end(name: str, on_file: Project) -> None:
    file = on_file.folder / "orders.csv"
    file.write_bytes(HOSTILE_FILES[name])
    done = on_file.manage("papyra_demo", "--file", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("doctor: healthy\n")
    assert "\x1b" not in done.stdout


def test_a_file_that_is_none_is_misuse_and_the_system_ends_in_order(on_sql: Project) -> None:
    huge = on_sql.folder / "huge.csv"
    huge.write_text("order_id\n" + "x" * 200_000)
    for file in (on_sql.folder, huge):
        done = on_sql.manage("papyra_demo", "--file", file)
        assert done.returncode == 64
        assert len(done.stderr.splitlines()) == 1
        assert str(file) in done.stderr
    types = Counter(record.get("event_type") for record in on_sql.records())
    assert types["SystemStarted"] == types["SystemStopped"] == 2


@pytest.mark.parametrize("command", ["papyra_demo", "demo_login"])
def test_d3_help_works_while_the_database_is_down(command: str, fresh: Project) -> None:
    done = fresh.manage(command, "--help", **DOWN)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: manage.py {command} ")


@pytest.mark.parametrize("words", ["check --fail-level WARNING", "makemigrations --check --dry-run"])
def test_d3_the_example_passes_its_checks_while_the_database_is_down(words: str, fresh: Project) -> None:
    done = fresh.manage(*words.split(), **DOWN)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_demo_login_exists_with_debug_only(on_sql: Project) -> None:
    done = on_sql.manage("demo_login", PAPYRA_EXAMPLE_DEBUG="0")
    assert (done.returncode, "DEBUG only" in done.stderr) == (64, True)
    assert on_sql.manage("demo_login").stdout == "Log in as demo with the password demo.\n"
    again = on_sql.manage("demo_login", **CHOSEN).stdout
    assert again == "Log in as demo with the password that it was given before.\n"


def test_a_chosen_password_is_not_printed(on_sql: Project) -> None:
    done = on_sql.manage("demo_login", **CHOSEN)
    assert done.stdout == "Log in as demo with the password in PAPYRA_EXAMPLE_PASSWORD.\n"


def test_make_serve_says_where_and_as_whom() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "serve", "PORT=8123"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    lines = done.stdout.splitlines()
    order = [
        next(number for number, line in enumerate(lines) if words in line)
        for words in (" migrate ", " demo_login", "http://127.0.0.1:8123/admin/", "uvicorn")
    ]
    assert order == sorted(order)
