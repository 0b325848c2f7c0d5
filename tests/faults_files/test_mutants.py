"""F19: the guards that `tools/try_mutants.py` takes out are found by themselves, in every file there is."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tools.mutants import find_mutants
from tools.try_mutants import all_mutants

ROOT = Path(__file__).resolve().parents[2]

SOURCE = b"""
class Store:
    def write(self, data):
        data = b"\\n" + data if self.needs_newline else data
        self.fs.write_synced(self.fd, data)
        self.fs.sync(self.fd)
        if self.size != self.end:
            raise ValueError
        if codec.has_sound_checksum(data) and self.checksum == other:
            self.quarantine.keep(data)
        self.fs.truncate(self.fd, 0)
        refuse_newer(self.fd)
        if self.lock.is_lost or not self.file.is_current() or other.is_held_by_anybody():
            self.file.close(keeping=self.end)
        if self.tail.endswith(b"\\n") or self.last == b"\\n":
            renew(self.place)
            self.lock.doubt(0, now)
        return self.fs.lock(self.fd)
"""


def test_f19_a_guard_of_each_kind_is_found_and_taken_out() -> None:
    found = {mutant.text: mutant.instead for mutant in find_mutants("store.py", SOURCE)}
    assert found == {
        'b"\\n" + data if self.needs_newline else data': "data",
        "self.fs.write_synced": "self.fs.write",
        "self.fs.sync(self.fd)": "pass",
        "if self.size != self.end:\n            raise ValueError": "if False:\n            raise ValueError",
        "codec.has_sound_checksum(data)": "True",
        "self.checksum == other": "True",
        "self.quarantine.keep(data)": "pass",
        "self.fs.truncate(self.fd, 0)": "pass",
        "refuse_newer(self.fd)": "pass",
        "self.lock.is_lost": "False",
        "self.file.is_current()": "True",
        "other.is_held_by_anybody()": "False",
        "self.file.close(keeping=self.end)": "self.file.close()",
        'self.tail.endswith(b"\\n")': "True",
        'self.last == b"\\n"': "True",
        "renew(self.place)": "pass",
        "self.lock.doubt(0, now)": "pass",
        "self.fs.lock(self.fd)": "True",
    }


def test_a_change_is_of_its_own_place_only() -> None:
    for mutant in find_mutants("store.py", SOURCE):
        changed = mutant.apply(SOURCE)
        assert changed.decode().count("\n") == SOURCE.decode().count("\n")
        assert len(changed) == len(SOURCE) - len(mutant.text) + len(mutant.instead)
        ast.parse(changed)


def test_f19_every_guard_of_the_stores_is_found() -> None:
    found = all_mutants()
    kinds = Counter(mutant.kind for mutant in found)
    assert set(kinds) == {"sync", "newline", "checksum", "quarantine", "truncate", "lock", "refusal"}
    assert len({mutant.name for mutant in found}) >= len(found) - 2
    for path in (ROOT / "papyra" / "persistence").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        here = [mutant for mutant in found if mutant.path == str(path.relative_to(ROOT))]
        if ".sync_folder(" in text or "os.fsync(" in text:
            assert "sync" in {mutant.kind for mutant in here}, path


@pytest.mark.parametrize("mutant", all_mutants(), ids=lambda mutant: f"{mutant.path}:{mutant.start}")
def test_what_is_left_can_still_be_run(mutant: object) -> None:
    path = ROOT / mutant.path  # type: ignore[attr-defined]
    ast.parse(mutant.apply(path.read_bytes()))  # type: ignore[attr-defined]
