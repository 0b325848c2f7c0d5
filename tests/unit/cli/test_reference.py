from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from papyra.cli.commands import COMMANDS, Command, build_parser
from papyra.cli.exit_codes import ExitCode

if TYPE_CHECKING:
    import argparse

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")


def parser_of(command: Command) -> argparse.ArgumentParser:
    words = [] if command.has_one_store else ["--from", "memory:", "--to", "memory:"]
    parser: argparse.ArgumentParser = build_parser().parse_args([*command.name.split(), *words]).parser
    return parser


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_and_option_is_on_the_reference_page(command: Command) -> None:
    assert f"papyra {command.name} " in PAGE
    options = set(re.findall(r"--[a-z][a-z-]+", parser_of(command).format_help()))
    missing = {option for option in options if option != "--help" and f"`{option}" not in PAGE}
    assert missing == set()


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_on_the_reference_page(code: ExitCode) -> None:
    assert f"| {int(code)} | {code.word} |" in PAGE


def test_every_line_of_the_page_that_calls_papyra_is_a_command() -> None:
    lines = re.findall(r"^\$ papyra (.+?)(?: \||$)", PAGE, flags=re.MULTILINE)
    assert len(lines) >= 5
    for line in lines:
        assert build_parser().parse_args(line.split()).command is not None
