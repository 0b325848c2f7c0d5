"""The benchmarks say what they measured and what they could not, and print no figure for work not done."""

from __future__ import annotations

import ast
import asyncio
import inspect
import time
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.entries import Entry, Goal, Row
from benchmarks.environments import Missing, environment, interpreter
from benchmarks.meter import Meter, Stalls, expect, percentile, waits
from benchmarks.redis_rows import REDIS_ROWS
from benchmarks.rows import CONTENDERS, HANDLED, ROWS, all_rows
from benchmarks.speed import Cell, Column, Measured
from benchmarks.storage_rows import LARGE_PAGES, STORAGE
from papyra import ActorSystem

ALL_ROWS = [*ROWS, HANDLED, *STORAGE, LARGE_PAGES, *REDIS_ROWS]
ENTRIES = list(dict.fromkeys(entry for row in ALL_ROWS for entry in row.entries))
ROOT = Path(__file__).resolve().parents[2]
COLUMN = Column("3.11")
ROW = Row(
    "tell",
    "tell",
    "",
    (Entry("papyra", "tell_one", 1, "yields"), Entry("Pykka", "tell_one", 1, "a thread")),
    (Goal("papyra over Pykka", "3.11", 0, 1, at_least=1.5),),
)


@pytest.mark.parametrize(
    "entry", ENTRIES, ids=lambda entry: f"{entry.contender}-{entry.measure}-{entry.pattern}"
)
def test_every_line_names_a_measure_that_its_module_has(entry: Entry) -> None:
    source = (ROOT / CONTENDERS[entry.contender].module.replace(".", "/")).with_suffix(".py").read_text()
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    assert entry.measure in {node.name for node in ast.parse(source).body if isinstance(node, functions)}


@pytest.mark.parametrize("row", ALL_ROWS, ids=lambda row: row.name)
def test_every_goal_is_about_lines_of_its_row(row: Row) -> None:
    for goal in row.goals:
        assert {goal.entry, goal.over or 0} <= set(range(len(row.entries)))


def test_recorded_messages_are_measured_as_soon_as_they_can_be_recorded() -> None:
    can = "record_handled" in inspect.signature(ActorSystem).parameters
    assert (HANDLED in all_rows()) is can


@pytest.mark.parametrize("name", ["floors.py", "file_floors.py", "redis_floors.py"])
def test_a_floor_fits_in_forty_lines(name: str) -> None:
    tree = ast.parse((ROOT / "benchmarks" / name).read_text(encoding="utf-8"))
    tall = [
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and (node.end_lineno or 0) - node.lineno >= 40
    ]
    assert tall == []


def test_work_that_was_not_done_gives_no_figure() -> None:
    with pytest.raises(SystemExit, match="no figure"):
        expect(99, 100)


def test_rates_are_by_both_clocks() -> None:
    with Meter() as meter:
        sum(range(100_000))
    assert meter.rates(10) == {"cpu": 10 / meter.cpu, "wall": 10 / meter.wall}


def test_a_long_stall_holds_up_each_request_that_comes_meanwhile() -> None:
    assert waits([0.2, 3.5, 1.0]) == [0.2, 3.5, 2.5, 1.5, 0.5, 1.0]
    late = [0.1] * 500 + [100.0]  # so short a part of all sleeps, and a sixth of the time
    assert percentile(late, 99) == 0.1
    assert percentile(waits(late), 99) > 90


async def test_the_stall_that_the_work_ends_in_is_measured() -> None:
    async with Stalls() as stalls:
        await asyncio.sleep(0.005)
        time.sleep(0.05)  # holds up the loop, as what is measured would
    assert stalls.figures()["longest stall ms"] >= 45


def measured(ours: list[float], theirs: list[float], missing: str = "") -> Measured:
    cells = {place: Cell() for place in product(range(2), (COLUMN,))}
    cells[0, COLUMN].rounds = [{"cpu": value, "wall": value / 2} for value in ours]
    cells[1, COLUMN].rounds = [{"cpu": value, "wall": value / 2} for value in theirs]
    cells[1, COLUMN].missing = missing
    return Measured(ROW, (COLUMN,), cells)


def test_a_ratio_is_the_median_of_those_of_each_round() -> None:
    assert measured([10.0, 90.0, 40.0], [10.0, 10.0, 20.0]).value(ROW.goals[0]) == 2.0


def test_a_library_that_is_not_there_is_named_with_the_reason() -> None:
    text = report.as_text(measured([10.0], [], "not installed: no network"))
    assert "not there: Pykka on 3.11: not installed: no network" in text
    assert "wanted: papyra over Pykka on 3.11: >= 1.5: not measured" in text


def test_a_library_that_is_ahead_is_named_with_both_figures() -> None:
    assert report.ahead(measured([10.0], [20.0])) == ["Pykka (a thread), 3.11: 20 beside 10"]
    assert report.ahead(measured([20.0], [10.0])) == []


def test_a_goal_that_is_missed_says_so() -> None:
    assert "1.4, missed" in report.as_text(measured([14.0], [10.0]))
    assert "1.5, met" in report.as_text(measured([15.0], [10.0]))


def test_a_python_that_a_library_does_not_know_is_a_reason() -> None:
    found = environment(CONTENDERS["everything-is-an-actor"], "3.11")
    assert found == Missing("needs Python 3.12")
    assert interpreter("2.0") is None


def test_the_page_says_which_rows_took_fewer_rounds() -> None:
    once = Measured(replace(ROW, name="trees", most_rounds=2), (COLUMN,), measured([10.0], [20.0]).cells)
    page = report.as_markdown([measured([10.0], [20.0]), once], rounds=3, wanted="Goals")
    assert "Medians of 3 rounds (trees 2), each" in page
    assert "### Goals\n" in page
    assert "Medians of 2 rounds, each" in report.as_markdown([once], rounds=2, wanted="Goals")


def test_the_page_changes_between_its_marks_only(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", encoding="utf-8")
    report.put_into(page, "new")
    assert page.read_text(encoding="utf-8") == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
    page.write_text("no marks", encoding="utf-8")
    with pytest.raises(SystemExit):
        report.put_into(page, "new")
