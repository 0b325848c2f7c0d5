"""The page on recovery has a word on everything that a scan can find."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from papyra.cli.repairs import REPAIRS
from papyra.persistence.models import PersistenceAnomalyType, Severity

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "recover-a-store.md"
SECTIONS = dict(
    re.findall(r"^### `(\w+)`\n\n(.*?)(?=^#|\Z)", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
)


def test_every_anomaly_has_its_section_and_no_other() -> None:
    assert list(SECTIONS) == sorted(SECTIONS, key=lambda word: PersistenceAnomalyType(word).severity)
    assert set(SECTIONS) == {type_.value for type_ in PersistenceAnomalyType}


@pytest.mark.parametrize("type_", PersistenceAnomalyType)
def test_a_section_says_what_it_means_what_a_repair_does_and_what_is_left_to_do(
    type_: PersistenceAnomalyType,
) -> None:
    section = " ".join(SECTIONS[type_.value].split())
    meaning, _, rest = section.partition("- A repair: ")
    repair, _, by_hand = rest.partition("- By hand: ")
    assert meaning.strip()
    assert repair.strip() == f"{REPAIRS[type_]}."
    assert by_hand.strip().endswith((".", "`"))


def test_a_crash_trace_stands_among_the_crash_traces() -> None:
    text = PAGE.read_text(encoding="utf-8")
    traces, damage = text.index("## Crash traces"), text.index("## Damage")
    for type_ in PersistenceAnomalyType:
        at = text.index(f"### `{type_.value}`")
        assert (traces < at < damage) is (type_.severity is Severity.CRASH_TRACE)
