from __future__ import annotations

import argparse
from typing import Any

import pytest

from papyra.cli import arguments
from papyra.cli.arguments import Misuse, Parser
from papyra.cli.commands import COMMANDS, Command, build_parser
from papyra.persistence.models import PersistenceRecoveryMode, RecordKind, ScanDepth
from papyra.persistence.startup import PersistenceStartupMode

WITH_ONE_STORE = [command for command in COMMANDS if command.has_one_store]


def parse(line: str) -> argparse.Namespace:
    return build_parser().parse_args(line.split())


def test_the_words_of_the_options_are_the_wire_words() -> None:
    assert tuple(RecordKind) == arguments.KINDS
    assert tuple(PersistenceStartupMode) == arguments.STARTUP_MODES
    assert tuple(PersistenceRecoveryMode) == arguments.RECOVERY_MODES
    assert tuple(ScanDepth) == arguments.DEPTHS


@pytest.mark.parametrize("command", WITH_ONE_STORE, ids=lambda command: command.name)
def test_every_command_is_parsed_and_has_json_a_store_and_help(
    command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    args = parse(f"{command.name} --json --path x")
    assert (args.command, args.json, args.path) == (command, True, "x")
    with pytest.raises(SystemExit) as stop:
        parse(f"{command.name} --help")
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    assert "examples:" in shown
    assert "UNSET" not in shown


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_example_is_parsed(command: Command) -> None:
    for example in command.examples:
        words = example.partition(" &&")[0].split()
        assert build_parser().parse_args(words[1:]).command is command


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "persistence nonsense",
        "persistence scan --nonsense",
        "persistence scan extra",
        "persistence scan --path",
        "persistence scan --pa x",
        "persistence scan --path a --store memory:",
        "persistence scan --depth deep",
        "persistence recover --mode fix",
        "copy",
        "copy --from a",
        "copy --from a --to b --kind moods",
        "copy --from a --to b extra",
        "persistence compact --max-records -1",
        "persistence compact --max-records many",
        "persistence compact --max-age 30",
        "doctor run --mode repair",
        "doctor run --timeout 0",
        "doctor run --timeout -1",
        "doctor run --timeout soon",
        "inspect events --limit 0",
        "inspect events --limit -1",
        "inspect events --limit ten",
        "inspect events --limit ²",
        "inspect events --since yesterday",
    ],
)
def test_misuse_leaves_with_64_and_says_what_was_wrong(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Misuse) as misuse:
        parse(line)
    assert misuse.value.code == 64
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("usage: papyra")
    assert misuse.value.message in shown.err


@pytest.mark.parametrize("limit", ["1", "000100", "999999999999999999999999999"])
def test_a_limit_is_any_positive_whole_number(limit: str) -> None:
    assert parse(f"inspect events --limit {limit}").limit >= 1


def test_modes_are_read_as_people_write_them() -> None:
    assert parse("doctor run --mode FAIL-ON-ANOMALY").mode == "fail_on_anomaly"
    assert parse("persistence recover --mode rebuild").mode == "repair"


def test_timeouts_are_seconds_or_spans() -> None:
    assert parse("doctor run --timeout 2.5").timeout == 2.5
    assert parse("doctor run --timeout 5m").timeout == 300
    assert parse("doctor run").timeout is None


def test_a_doctor_does_what_a_start_does_and_a_startup_check_only_looks() -> None:
    doctor, check = parse("doctor run"), parse("persistence startup-check")
    assert (doctor.mode, doctor.recovery_mode, doctor.depth) == ("recover", "repair", "full")
    assert (check.mode, check.depth, check.timeout) == ("fail_on_anomaly", "tail", 30)


@pytest.mark.parametrize(
    ("words", "shown"), [((), "usage: papyra"), (("persistence",), "usage: papyra persistence")]
)
def test_half_a_command_is_misuse_with_the_usage_of_that_half(
    words: tuple[str, ...], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    args = build_parser().parse_args(words)
    assert args.command is None
    with pytest.raises(Misuse):
        args.parser.error("a command is needed")
    assert capsys.readouterr().err.startswith(shown)


class StrictParser(argparse.ArgumentParser):
    """Stands for Django's, which has an ``error`` of its own."""

    def __init__(self, *args: Any, called_from_command_line: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self.called_from_command_line = called_from_command_line

    def error(self, message: str) -> Any:
        raise AssertionError(message)


def test_another_parser_takes_the_same_arguments_its_own_defaults_and_our_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class BothParser(Parser, StrictParser):
        pass

    parser = BothParser(prog="manage.py papyra_doctor", called_from_command_line=True)
    arguments.add_doctor_arguments(parser)
    parser.set_defaults(mode="scan_only")
    assert parser.parse_args([]).mode == "scan_only"
    assert "(default: scan_only)" in " ".join(parser.format_help().split())
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--depth", "deep"])
    assert stop.value.code == 64
    assert "manage.py papyra_doctor: argument --depth" in capsys.readouterr().err
