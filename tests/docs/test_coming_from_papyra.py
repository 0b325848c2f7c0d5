"""The names on the page for users of the published package are as that page says."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/coming-from-papyra-0.3.md"


def rows(section: str) -> list[list[str]]:
    text = PAGE.read_text(encoding="utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def words(cell: str) -> list[str]:
    return re.findall(r"`([\w.]+)`", cell)


def find(name: str) -> object:
    """Return what ``name``, with its module, stands for; raises `LookupError`."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                raise LookupError(name)
            found = getattr(found, part)
        return found
    raise LookupError(name)


def is_there(name: str) -> bool:
    try:
        return find(name) is not None
    except LookupError:
        return False


def test_what_is_kept_or_changed_is_there_and_stands_on_the_page_once() -> None:
    kept = [
        f"{module}.{name}"
        for modules, names in rows("Names that are kept")
        for module in words(modules)
        for name in words(names)
    ]
    changed = [name for row in rows("Names that changed") for name in words(row[0])]
    assert (len(kept) > 100, len(changed) > 8) == (True, True)
    assert [name for name in kept + changed if not is_there(name)] == []
    assert sorted({*kept, *changed}) == sorted(kept + changed)


def test_what_is_gone_or_to_come_is_not_there() -> None:
    sections = "Names that are gone", "Not there yet"
    gone = [name for section in sections for row in rows(section) for name in words(row[0])]
    assert len(gone) > 15
    assert [name for name in gone if is_there(name)] == []
