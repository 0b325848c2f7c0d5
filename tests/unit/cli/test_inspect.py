from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from papyra.cli.commands import build_parser
from papyra.cli.inspect import run_audits, run_dead_letters, run_events, run_summary
from papyra.exceptions import ConfigurationError, InvalidNameError
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.models import PersistedAudit, PersistedDeadLetter, PersistedEvent

if TYPE_CHECKING:
    from argparse import Namespace

    from papyra.cli.outcome import Outcome
    from papyra.persistence.models import Record

RUNS = {
    "events": run_events,
    "audits": run_audits,
    "dead-letters": run_dead_letters,
    "summary": run_summary,
}
HOSTILE = "\x1b]0;owned\x07\x1b[2J[red]\r\n\u202eEND"


def event(number: int, type_: str = "ActorStarted", **more: Any) -> PersistedEvent:
    given = {
        "system_id": "orders",
        "actor_address": f"orders:{number}",
        "payload": {"n": number},
        "timestamp": 1_795_569_000.0 + number,
        "actor_path": f"/desk/{number}",
        "incarnation": "01HX",
        "seq": number,
    }
    return PersistedEvent(event_type=type_, **{**given, **more})


def letter(number: int, **more: Any) -> PersistedDeadLetter:
    given = {
        "system_id": "orders",
        "target": "orders:9",
        "message_type": "shop.Ship",
        "payload": {"order": number},
        "timestamp": 1_795_569_000.0 + number,
        "target_path": "/shipping",
        "reason": "handler_failed",
        "error": "OSError: no route",
        "incarnation": "01HX",
        "seq": number,
    }
    return PersistedDeadLetter(**{**given, **more})


def audit(number: int, **more: Any) -> PersistedAudit:
    given = {
        "system_id": "orders",
        "timestamp": 1_795_569_000.0 + number,
        "total_actors": 12,
        "alive_actors": 10,
        "stopping_actors": 1,
        "restarting_actors": 1,
        "registry_size": 12,
        "registry_orphans": (),
        "registry_dead": (),
        "dead_letters_count": 3,
        "incarnation": "01HX",
        "seq": number,
        "accepted": 1000,
        "handled": 990,
        "failed": 4,
        "dead": 3,
        "expired": 1,
        "pending": 2,
    }
    return PersistedAudit(**{**given, **more})


async def ask(line: str, *records: Record) -> Outcome:
    words = line.split()
    args: Namespace = build_parser().parse_args(["inspect", *words])
    async with InMemoryPersistence() as backend:
        await backend.append(records)
        return await RUNS[words[0]](args, backend)


def lines_of(outcome: Outcome) -> list[str]:
    return outcome.to_text(store="log", spell=lambda step: f"papyra {step.command}").splitlines()


def document_of(outcome: Outcome) -> dict[str, Any]:
    text = outcome.to_json(command="c", store="s", spell=lambda step: f"papyra {step.command}")
    document: dict[str, Any] = json.loads(text)
    return document


def seqs_of(outcome: Outcome) -> list[int]:
    return [record["seq"] for record in document_of(outcome)["records"]]


@pytest.mark.parametrize("reverse", ["", " --reverse"])
async def test_c7_an_empty_history_says_so_in_either_order(reverse: str) -> None:
    assert lines_of(await ask(f"events{reverse}")) == ["No events recorded."]
    assert lines_of(await ask(f"audits{reverse}")) == ["No audits recorded."]
    assert lines_of(await ask(f"dead-letters{reverse}")) == ["No dead letters recorded."]
    assert document_of(await ask(f"events{reverse}"))["records"] == []


async def test_c7_filters_come_before_the_limit() -> None:
    crashed = event(1, "ActorCrashed", payload={"error": "boom"})
    outcome = await ask("events --limit 5 --event-type ActorCrashed", crashed, *map(event, range(2, 40)))
    assert seqs_of(outcome) == [1]
    assert not document_of(outcome)["has_more"]


async def test_nothing_that_matches_is_told_from_nothing_recorded() -> None:
    assert lines_of(await ask("events --event-type Nope", event(1))) == ["No events match."]


async def test_the_newest_are_shown_and_the_last_line_is_the_newest() -> None:
    records = [event(number) for number in range(1, 8)]
    outcome = await ask("events --limit 3", *records)
    assert seqs_of(outcome) == [5, 6, 7]
    assert document_of(outcome)["has_more"]
    assert outcome.note == "The newest 3 events; older ones match too (--limit)."
    assert seqs_of(await ask("events --limit 3 --reverse", *records)) == [7, 6, 5]
    assert not (await ask("events --limit 7", *records)).note


async def test_a_limit_over_one_page_is_read_over_several() -> None:
    records = [event(number) for number in range(1, 2501)]
    assert seqs_of(await ask("events --limit 2400", *records)) == list(range(101, 2501))


async def test_an_event_is_one_line_with_all_that_was_stored() -> None:
    lines = lines_of(await ask("events", event(1, "ActorCrashed", payload={"error": "x" * 500})))
    assert lines[0].split() == ["time", "type", "actor", "payload"]
    assert lines[1].startswith("2026-11-25T01:10:01.000Z  ActorCrashed  orders/desk/1  ")
    assert lines[1].endswith('{"error": "' + "x" * 500 + '"}')
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("option", "seqs"),
    [
        ("--since 1795569003", [3, 4]),
        ("--until 1795569003", [1, 2]),
        ("--since 2026-11-25T01:10:02Z --until 2026-11-25T01:10:04Z", [2, 3]),
        ("--actor /desk/2", [2]),
        ("--actor orders/desk/2", [2]),
        ("--actor orders:2", [2]),
        ("--actor orders://2", [2]),
        ("--actor desk", []),
        ("--actor other/desk/2", []),
        ("--system orders --actor /desk/2", [2]),
        ("--system other", []),
        ("--event-type ActorStarted", [1, 2, 3, 4]),
    ],
)
async def test_events_are_found_by_time_actor_system_and_type(option: str, seqs: list[int]) -> None:
    assert seqs_of(await ask(f"events {option}", *(event(number) for number in range(1, 5)))) == seqs


@pytest.mark.parametrize(
    ("option", "seqs"),
    [
        ("--target /shipping", [1, 2]),
        ("--target shipping", [1, 2]),
        ("--target orders:9", [1, 2]),
        ("--reason overflow", [3]),
        ("--reason HANDLER-FAILED", [1, 2]),
        ("--message-type shop.Ship --target orders/shipping --limit 1", [2]),
    ],
)
async def test_letters_are_found_by_target_reason_and_message_type(option: str, seqs: list[int]) -> None:
    records = [letter(1), letter(2), letter(3, target_path="/stock", target="orders:4", reason="overflow")]
    assert seqs_of(await ask(f"dead-letters {option}", *records)) == seqs


@pytest.mark.parametrize("actor", ["/desk//2", "a b", "orders/", "/", "'", "x/../\x1b"])
async def test_what_cannot_be_an_actor_is_misuse(actor: str) -> None:
    args = build_parser().parse_args(["inspect", "events", "--actor", actor])
    with pytest.raises(InvalidNameError):
        await run_events(args, InMemoryPersistence())


async def test_contradictions_are_misuse_and_not_an_empty_answer() -> None:
    with pytest.raises(ConfigurationError, match="--since is not before --until"):
        await ask("events --since 5 --until 5")
    with pytest.raises(ConfigurationError, match="--system says 'billing'"):
        await ask("events --system billing --actor orders/desk")


async def test_audits_show_where_every_message_went() -> None:
    lines = lines_of(await ask("audits", audit(1)))
    assert lines[1].split() == [
        "2026-11-25T01:10:01.000Z", "orders", "10", "of", "12", "1,000", "990", "4", "3", "1", "2", "0",
    ]  # fmt: skip


async def test_hostile_content_drives_no_terminal_and_stays_on_its_line() -> None:
    evil_event = event(
        1, HOSTILE, payload={HOSTILE: HOSTILE}, system_id=HOSTILE, actor_path=HOSTILE, actor_address=HOSTILE
    )
    evil_letter = letter(1, error=HOSTILE, message_type=HOSTILE, reason=HOSTILE, payload=[HOSTILE])
    for line, record in (("events", evil_event), ("dead-letters", evil_letter), ("summary", evil_letter)):
        text = (await ask(line, record)).to_text(store=HOSTILE, spell=lambda step: step.command)
        assert all(shown.isprintable() for shown in text.split("\n"))
    assert len(lines_of(await ask("events", evil_event))) == 2


@pytest.mark.parametrize(
    "payload",
    [
        None,
        float("nan"),
        float("inf"),
        b"\x00\xff",
        {1, 2},
        (1, 2),
        {(1, 2): "x"},
        "\ud800",
        10**4000,
        {"$": 1},
        [],
    ],
)
async def test_any_payload_can_be_listed_and_is_valid_json(payload: object) -> None:
    outcome = await ask("events", event(1, payload=payload))
    assert len(lines_of(outcome)) == 2
    assert "payload" in document_of(outcome)["records"][0]


async def test_json_carries_every_field_of_a_record() -> None:
    [record] = document_of(await ask("dead-letters", letter(1, headers={"traceparent": "00-a"})))["records"]
    assert record["kind"] == "dead_letter"
    assert record["payload"] == {"order": 1}
    assert record["headers"] == {"traceparent": "00-a"}
    assert record["deadline"] is None
    assert record["extra"] == {}


async def test_a_summary_of_nothing_says_so() -> None:
    assert "No events recorded." in lines_of(await ask("summary"))


async def test_a_summary_answers_who_ran_why_it_stopped_and_what_was_lost() -> None:
    outcome = await ask(
        "summary",
        event(1, "SystemStarted", actor_path=""),
        event(2, "StartupChecked", actor_path="", payload={"verdict": "recovered", "anomalies": 2}),
        event(3, "ActorStopped", payload={"reason": "restart_limit", "error": "OSError: no route"}),
        event(4, "ActorStopped", payload={"reason": "requested"}),
        event(5, "ActorStopped", payload={"reason": "restart_limit", "error": "OSError: no route"}),
        event(6, "ActorStopped", payload="a program of its own"),
        event(7, "SystemStopped", actor_path=""),
        event(8, "IncarnationLost", actor_path="", payload={"closes": "01HW", "last_seen": 5.0}),
        audit(1, system_id="billing"),
        audit(2, accepted=7),
        audit(3),
        letter(1),
        letter(2),
        letter(3, reason="overflow", target_path="/stock", count=40),
    )
    text = "\n".join(lines_of(outcome))
    assert "14 records in " in text
    assert "What follows is from all 8 events, 3 audits, 3 dead letters." in text
    assert "4 actors stopped: restart_limit (2), - (1), requested (1)." in text
    assert "2026-11-25T01:10:05Z  orders/desk/5  restart_limit  OSError: no route" in text
    assert "42 dead letters." in text
    assert "40       overflow        /stock     shop.Ship" in text
    assert "Accounting by the last audit" in text
    assert '"verdict": "recovered"' in text
    summary = document_of(outcome)["summary"]
    assert [(run["incarnation"], run["ended"]) for run in summary["incarnations"]] == [
        ("01HW", "IncarnationLost"),
        ("01HX", "SystemStopped"),
    ]
    assert [audited["system_id"] for audited in summary["audits"]] == ["orders", "billing"]
    assert summary["stop_reasons"] == {"restart_limit": 2, "requested": 1, "": 1}
    assert document_of(outcome)["next"] == ["papyra inspect dead-letters"]


async def test_a_summary_of_the_newest_says_that_it_is_not_all() -> None:
    text = "\n".join(lines_of(await ask("summary --limit 2", event(1), event(2), event(3))))
    assert "What follows is from the newest 2 events, 0 audits, 0 dead letters." in text


async def test_a_summary_can_be_of_one_time_and_system() -> None:
    outcome = await ask(
        "summary --until 1795569002 --system orders", event(1), event(2), event(1, system_id="x", seq=3)
    )
    assert document_of(outcome)["summary"]["looked_at"]["event"] == 1
