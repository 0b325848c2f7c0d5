from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from papyra.cli.commands import build_parser
from papyra.cli.doctor import run_doctor
from papyra.cli.exit_codes import ExitCode
from papyra.cli.persistence import run_compact, run_inspect, run_recover, run_scan
from papyra.cli.repairs import REPAIRS
from papyra.exceptions import StoreLockedError, StoreUnavailableError
from papyra.persistence.models import (
    CompactionReport,
    KindStats,
    LossNote,
    PersistenceAnomaly,
    PersistenceAnomalyType,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    PersistenceRecoveryReport,
    RecordKind,
    ScanDepth,
    StoreStats,
)
from papyra.persistence.retention import RetentionPolicy
from tests.unit.startup.scripted import ScriptedBackend, report

if TYPE_CHECKING:
    from argparse import Namespace

    from papyra.cli.outcome import NextStep, Outcome

TORN, BAD, NEWER = (
    PersistenceAnomalyType.TORN_TAIL,
    PersistenceAnomalyType.BAD_CHECKSUM,
    PersistenceAnomalyType.NEWER_FORMAT,
)
CLEAN, TORN_FOUND, DAMAGED = report(), report(TORN), report(BAD, TORN)
REPAIRED = PersistenceRecoveryReport(
    "scripted",
    DAMAGED,
    ("log.ndjson",),
    ("log.ndjson.quarantine/0001",),
    quarantined_bytes=254,
    quarantine="log.ndjson.quarantine",
    losses=(
        LossNote("01HX", "event", 3, 3, "bad_checksum"),
        LossNote("01HX", "dead_letter", 5, 9, "garbage"),
    ),
)


def parse(line: str) -> Namespace:
    return build_parser().parse_args(line.split())


def spell(step: NextStep) -> str:
    return " ".join(["papyra", step.command, *step.options])


def text_of(outcome: Outcome) -> str:
    return outcome.to_text(store="log.ndjson", spell=spell)


def document_of(outcome: Outcome) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(outcome.to_json(command="c", store="s", spell=spell))
    return document


def test_every_anomaly_says_what_a_repair_would_do() -> None:
    assert set(REPAIRS) == set(PersistenceAnomalyType)


async def test_a_sound_store_is_healthy() -> None:
    outcome = await run_scan(parse("persistence scan"), ScriptedBackend())
    assert outcome.exit_code is ExitCode.OK
    assert text_of(outcome).splitlines() == [
        "HEALTHY  log.ndjson",
        "Persistence is healthy: 9 records (2,104 bytes) checked at depth full, no anomaly.",
    ]
    assert document_of(outcome)["scan"]["has_anomalies"] is False


async def test_damage_is_shown_with_its_place_and_what_a_repair_would_do() -> None:
    outcome = await run_scan(parse("persistence scan"), ScriptedBackend(scans=[DAMAGED]))
    shown = text_of(outcome).splitlines()
    assert outcome.exit_code is ExitCode.DAMAGE
    assert shown[0] == "DAMAGE  log.ndjson"
    assert (
        shown[1] == "2 anomalies (1 damage, 1 crash trace) in 9 records (2,104 bytes) checked at depth full."
    )
    assert "damage       bad_checksum  log.ndjson at 0 +10    as the test says" in shown
    assert "crash_trace  torn_tail     log.ndjson at 100 +10  as the test says" in shown
    assert f"bad_checksum  1      {REPAIRS[BAD]}" in shown
    assert shown[-1].startswith("Next: papyra persistence recover  # ")
    document = document_of(outcome)
    assert document["scan"]["counts"] == {"bad_checksum": 1, "torn_tail": 1}
    assert document["scan"]["anomalies"][0] == {
        "type": "bad_checksum",
        "severity": "damage",
        "path": "log.ndjson",
        "offset": 0,
        "length": 10,
        "detail": "as the test says",
    }
    assert document["next"] == ["papyra persistence recover"]


async def test_crash_traces_alone_also_exit_with_2_but_are_not_called_damage() -> None:
    outcome = await run_scan(parse("persistence scan"), ScriptedBackend(scans=[TORN_FOUND]))
    assert (outcome.verdict, outcome.exit_code) == ("crash_trace", ExitCode.DAMAGE)


async def test_a_newer_format_offers_no_repair() -> None:
    outcome = await run_scan(parse("persistence scan"), ScriptedBackend(scans=[report(NEWER)]))
    assert outcome.next_steps == ()
    assert "install the version that wrote it" in text_of(outcome)


async def test_a_thousand_anomalies_are_not_all_printed_but_all_in_json() -> None:
    many = replace(report(*[BAD] * 1000), counts={BAD: 70_000})
    outcome = await run_scan(parse("persistence scan"), ScriptedBackend(scans=[many]))
    shown = text_of(outcome)
    assert "70,000 anomalies (70,000 damage)" in shown
    assert "… and 980 more; --json lists the first thousand." in shown
    assert len(shown.splitlines()) < 40
    assert len(document_of(outcome)["scan"]["anomalies"]) == 1000


async def test_a_hostile_anomaly_drives_no_terminal() -> None:
    evil = PersistenceAnomaly(BAD, "\x1b[2Jlog", "\x1b]0;owned\x07[bold]\n\nHEALTHY", offset=1)
    outcome = await run_scan(
        parse("persistence scan"), ScriptedBackend(scans=[replace(DAMAGED, anomalies=(evil,))])
    )
    assert all(line.isprintable() for line in text_of(outcome).split("\n"))
    assert r"\x1b]0;owned\x07[bold]\x0a\x0aHEALTHY" in text_of(outcome)


@pytest.mark.parametrize("depth", ScanDepth)
async def test_a_scan_looks_as_deep_as_it_is_told(depth: ScanDepth) -> None:
    backend = ScriptedBackend()
    await run_scan(parse(f"persistence scan --depth {depth}"), backend)
    assert backend.done == [("scan", depth)]


async def test_recover_repairs_and_proves_it_by_a_second_scan() -> None:
    backend = ScriptedBackend(scans=[CLEAN], recovery=REPAIRED)
    outcome = await run_recover(parse("persistence recover --quarantine-dir q"), backend)
    assert backend.done == [
        ("recover", PersistenceRecoveryConfig(PersistenceRecoveryMode.REPAIR, "q"), ScanDepth.FULL),
        ("scan", ScanDepth.FULL),
    ]
    shown = text_of(outcome)
    assert outcome.exit_code is ExitCode.OK
    assert shown.startswith("RECOVERED  log.ndjson\nRecovery successful: 2 anomalies")
    assert "254 bytes that were taken out lie in log.ndjson.quarantine." in shown
    assert "In quarantine: log.ndjson.quarantine/0001" in shown
    assert "Lost: 1 event of 01HX, seq 3 (bad_checksum)" in shown
    assert "Lost: 5 dead letters of 01HX, seq 5 to 9 (garbage)" in shown
    assert document_of(outcome)["recovery"]["losses"][0]["first"] == 3
    assert document_of(outcome)["recovery"]["quarantine"] == "log.ndjson.quarantine"


async def test_nothing_to_recover_is_healthy() -> None:
    outcome = await run_recover(parse("persistence recover"), ScriptedBackend())
    assert (outcome.verdict, outcome.exit_code) == ("healthy", ExitCode.OK)


async def test_c5_a_recovery_that_leaves_anything_is_no_success() -> None:
    backend = ScriptedBackend(scans=[TORN_FOUND], recovery=REPAIRED)
    outcome = await run_recover(parse("persistence recover"), backend)
    assert (outcome.verdict, outcome.exit_code) == ("unrecovered", ExitCode.DAMAGE)
    assert "successful" not in text_of(outcome)
    assert "Recovery failed: 1 anomaly (1 crash trace) left" in text_of(outcome)
    assert document_of(outcome)["next"] == ["papyra persistence recover --mode quarantine"]


async def test_mode_ignore_says_that_nothing_was_changed() -> None:
    backend = ScriptedBackend(scans=[DAMAGED], recovery=PersistenceRecoveryReport("scripted", DAMAGED))
    outcome = await run_recover(parse("persistence recover --mode ignore"), backend)
    assert outcome.exit_code is ExitCode.DAMAGE
    assert "Nothing was changed (mode ignore)" in text_of(outcome)
    assert document_of(outcome)["next"] == ["papyra persistence recover"]


@pytest.mark.parametrize("mode", PersistenceRecoveryMode)
async def test_a_dry_run_changes_nothing_and_says_what_would_be_done(mode: PersistenceRecoveryMode) -> None:
    backend = ScriptedBackend(scans=[DAMAGED])
    outcome = await run_recover(parse(f"persistence recover --dry-run --mode {mode}"), backend)
    assert backend.done == [("scan", ScanDepth.FULL)]
    assert outcome.exit_code is ExitCode.DAMAGE
    assert REPAIRS[BAD] in text_of(outcome)
    assert f"Mode {mode} " in text_of(outcome)
    assert "Dry run: nothing was changed." in text_of(outcome)
    assert (" --mode quarantine  #" in text_of(outcome)) is (mode is PersistenceRecoveryMode.QUARANTINE)
    assert (document_of(outcome)["dry_run"], document_of(outcome)["mode"]) == (True, mode.value)


async def test_an_error_of_the_store_reaches_whoever_runs_the_command() -> None:
    backend = ScriptedBackend(recovery=StoreLockedError("held by 4711"))
    with pytest.raises(StoreLockedError):
        await run_recover(parse("persistence recover"), backend)


async def test_compact_takes_its_limits_from_the_command_line() -> None:
    backend = ScriptedBackend(retention=RetentionPolicy(max_records=1))
    await run_compact(
        parse("persistence compact --max-records 5 --max-age 30d --max-total-bytes 1MiB --dry-run"), backend
    )
    assert backend.done[0] == ("compact", RetentionPolicy(5, 30 * 86_400.0, 2**20), True)


async def test_compact_without_limits_uses_the_stores_own_retention() -> None:
    backend = ScriptedBackend(retention=RetentionPolicy(max_records=1))
    await run_compact(parse("persistence compact"), backend)
    assert backend.done[0] == ("compact", RetentionPolicy(max_records=1), False)


async def test_compact_says_what_went() -> None:
    done = CompactionReport(
        "scripted",
        30,
        10,
        30_000,
        10_240,
        removed={RecordKind.EVENT: 18, RecordKind.DEAD_LETTER: 2},
        oldest_removed=0.0,
        newest_removed=1.0,
    )
    backend = ScriptedBackend(compaction=done, retention=RetentionPolicy(max_records=10))
    shown = text_of(await run_compact(parse("persistence compact"), backend)).splitlines()
    assert shown[0] == "COMPACTED  log.ndjson"
    assert shown[1].startswith("20 records went (18 event, 2 dead letter), from 1970-01-01T00:00:00")
    assert shown[2] == "10 records stay; the store went from 29.3 KiB to 10.0 KiB."
    dry = ScriptedBackend(compaction=replace(done, dry_run=True), retention=RetentionPolicy(max_records=10))
    shown = text_of(await run_compact(parse("persistence compact --dry-run"), dry)).splitlines()
    assert shown[0] == "DRY RUN  log.ndjson"
    assert shown[1].startswith("20 records would go")


async def test_compact_without_any_retention_says_so() -> None:
    outcome = await run_compact(parse("persistence compact"), ScriptedBackend())
    assert outcome.exit_code is ExitCode.OK
    assert "No retention is set, so nothing has to go." in text_of(outcome)


@pytest.mark.parametrize(("left", "code"), [(CLEAN, 0), (TORN_FOUND, 0), (DAMAGED, 2)])
async def test_compact_that_leaves_damage_exits_with_2(left: Any, code: int) -> None:
    outcome = await run_compact(parse("persistence compact"), ScriptedBackend(scans=[left]))
    assert outcome.exit_code == code


@pytest.mark.parametrize(
    ("mode", "scans", "word", "code"),
    [
        ("ignore", [DAMAGED], "tolerated", 0),
        ("scan_only", [CLEAN], "healthy", 0),
        ("scan_only", [DAMAGED], "tolerated", 0),
        ("fail_on_anomaly", [CLEAN], "healthy", 0),
        ("fail_on_anomaly", [TORN_FOUND], "refused", 1),
        ("recover", [CLEAN], "healthy", 0),
        ("recover", [DAMAGED, CLEAN], "recovered", 0),
        ("recover", [DAMAGED, TORN_FOUND], "unrecovered", 2),
        ("recover", [report(NEWER)], "refused", 1),
        ("recover", [StoreUnavailableError("permission denied")], "unproven", 69),
        ("scan_only", [StoreUnavailableError("permission denied")], "unproven", 69),
    ],
)
async def test_a_doctor_run_has_the_verdict_and_code_of_the_table(
    mode: str, scans: list[Any], word: str, code: int
) -> None:
    outcome = await run_doctor(
        parse(f"doctor run --mode {mode}"), ScriptedBackend(scans=scans, recovery=REPAIRED)
    )
    assert (outcome.verdict, outcome.exit_code) == (word, code)
    assert text_of(outcome).startswith(f"{word.upper()}  log.ndjson\n")
    document = document_of(outcome)
    assert (document["verdict"], document["exit_code"], document["mode"]) == (word, code, mode)


async def test_known_strings_are_kept() -> None:
    healthy = await run_doctor(parse("doctor run"), ScriptedBackend())
    recovered = await run_doctor(
        parse("doctor run"), ScriptedBackend(scans=[DAMAGED, CLEAN], recovery=REPAIRED)
    )
    assert "Persistence is healthy" in text_of(healthy)
    assert "Recovery successful" in text_of(recovered)


async def test_c4_a_doctor_that_only_looks_changes_nothing_and_claims_nothing() -> None:
    backend = ScriptedBackend(scans=[DAMAGED])
    outcome = await run_doctor(parse("doctor run --mode scan_only"), backend)
    assert backend.done == [("scan", ScanDepth.FULL)]
    assert "nothing would be changed" in text_of(outcome)
    assert "successful" not in text_of(outcome)


async def test_a_refusal_says_why_and_what_to_type() -> None:
    outcome = await run_doctor(parse("persistence startup-check"), ScriptedBackend(scans=[DAMAGED]))
    shown = text_of(outcome)
    assert "A start is refused: no actor would run on this store." in shown
    assert "log.ndjson at 0 +10" in shown
    assert shown.splitlines()[-1].startswith("Next: papyra persistence recover")


async def test_an_unproven_store_says_why() -> None:
    backend = ScriptedBackend(scans=[StoreLockedError("log.ndjson is held by 4711 on desk")])
    outcome = await run_doctor(parse("doctor run"), backend)
    assert "Reason: log.ndjson is held by 4711 on desk" in text_of(outcome)
    assert document_of(outcome)["reason"] == "log.ndjson is held by 4711 on desk"


async def test_a_check_that_was_not_finished_shows_what_it_found_and_claims_no_more() -> None:
    backend = ScriptedBackend(scans=[DAMAGED], recovery=StoreLockedError("held by 4711"))
    shown = text_of(await run_doctor(parse("doctor run"), backend))
    assert "could not be finished" in shown
    assert "nothing is known" not in shown
    assert "log.ndjson at 0 +10" in shown


async def test_a_doctor_waits_as_long_as_it_takes_unless_told() -> None:
    backend = ScriptedBackend(hangs=True)
    outcome = await run_doctor(parse("doctor run --timeout 0.01"), backend)
    assert outcome.verdict == "unproven"


async def test_inspect_says_how_much_is_stored_and_of_what() -> None:
    stats = StoreStats(
        backend="scripted",
        kinds={RecordKind.EVENT: KindStats(records=3, bytes=900, oldest=0.0, newest=5.0)},
        total_bytes=12_000,
        quarantine_bytes=300,
    )
    backend = ScriptedBackend(
        stats_answer=stats, retention=RetentionPolicy(max_records=10, max_age_seconds=86_400 * 30)
    )
    outcome = await run_inspect(parse("persistence inspect"), backend)
    shown = text_of(outcome)
    assert "3 records in 11.7 KiB, 300 bytes of it in quarantine." in shown
    assert "events  3        900 bytes  1970-01-01T00:00:00Z  1970-01-01T00:00:05Z" in shown
    assert "Retention: events 10 records and 30.0 days; audits 10 records" in shown
    assert "metrics" not in document_of(outcome)


async def test_c8_metrics_say_whose_they_are() -> None:
    outcome = await run_inspect(parse("persistence inspect --show-metrics"), ScriptedBackend())
    assert "Counters of this command's own process, not of a running system:" in text_of(outcome)
    assert document_of(outcome)["metrics"]["records_written"] == 0
