from __future__ import annotations

import json

from papyra.cli.exit_codes import ExitCode
from papyra.cli.outcome import NextStep, Outcome, Table

STEP = NextStep("persistence recover", "repairs", ("--mode", "quarantine"))
OUTCOME = Outcome(
    verdict="crash_trace",
    exit_code=ExitCode.DAMAGE,
    document={"found": 1},
    lines=[
        "One \x1b[31mline.",
        Table(("where", "what"), (("a\nb", "last"), ("longer than", "[red]x[/red]"))),
    ],
    next_steps=(STEP,),
)


def spell(step: NextStep) -> str:
    return f"manage.py papyra_{step.command.split()[1]} {' '.join(step.options)}"


def test_the_verdict_comes_first_and_the_next_command_last() -> None:
    lines = OUTCOME.to_text(store="log.ndjson", spell=spell).splitlines()
    assert lines[0] == "CRASH TRACE  log.ndjson"
    assert lines[-1] == "Next: manage.py papyra_recover --mode quarantine  # repairs"


def test_every_line_is_safe_and_a_cell_stays_one_line() -> None:
    lines = OUTCOME.to_text(store="log.\x1b[2Jndjson", spell=spell).splitlines()
    assert lines == [
        r"CRASH TRACE  log.\x1b[2Jndjson",
        r"One \x1b[31mline.",
        "where        what",
        r"a\x0ab        last".replace("        last", "       last"),
        "longer than  [red]x[/red]",
        "Next: manage.py papyra_recover --mode quarantine  # repairs",
    ]


def test_one_long_cell_does_not_push_the_others_away() -> None:
    table = Table(("a", "b"), (("x" * 500, "end"), ("y", "end")))
    lines = (
        Outcome(verdict="ok", exit_code=ExitCode.OK, lines=[table])
        .to_text(store="", spell=spell)
        .splitlines()
    )
    assert max(len(line) for line in lines[1:] if not line.startswith("x")) < 60


def test_json_is_one_ascii_line_with_the_envelope_of_every_command() -> None:
    text = OUTCOME.to_json(command="persistence scan", store="läg.ndjson", spell=spell)
    assert text.isascii()
    assert "\n" not in text
    assert json.loads(text) == {
        "command": "persistence scan",
        "store": "läg.ndjson",
        "verdict": "crash_trace",
        "exit_code": 2,
        "found": 1,
        "next": ["manage.py papyra_recover --mode quarantine"],
    }


def test_a_list_has_no_headline() -> None:
    outcome = Outcome(verdict="ok", exit_code=ExitCode.OK, lines=["No events recorded."], has_headline=False)
    assert outcome.to_text(store="x", spell=spell) == "No events recorded."
