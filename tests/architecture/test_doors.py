"""The disk has one door, broad handlers stand at the firewalls only: what the imports do not show."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("papyra", "django_papyra")

FILE_FUNCTIONS = re.compile(
    "fdatasync|fsync|ftruncate|link|listdir|makedirs|mkdir|open|pread|preadv|pwrite|pwritev|remove|rename|replace"
    "|rmdir|scandir|stat|symlink|truncate|unlink|walk|write|writev"
)
FILE_METHODS = re.compile(
    "glob|is_dir|is_file|iterdir|read_bytes|read_text|rglob|rmdir|touch|unlink|write_bytes|write_text"
)
DISK_DOORS = {
    "django_papyra/_sql/connection.py",  # asks whether a SQLite file is still the one it opened
    "papyra/node.py",  # reads the kernel's boot id and process start
    "papyra/persistence/_files/fs.py",
}

DAMAGES_ON_PURPOSE = "papyra/testing/"

FIREWALLS = {
    "django_papyra/asgi.py": (
        2,
        "the hosting loop: it answers the server with what keeps it from starting or ending",
    ),
    "django_papyra/hosting.py": (
        2,
        "the hosting loop: the heartbeat goes on; an error goes to the thread that tells",
    ),
    "django_papyra/management/hostingcommand.py": (1, "the hosting loop: exit code 70 and a sentence"),
    "django_papyra/wsgi.py": (1, "an edge, as asgi.py: what keeps the check from passing is a refusal"),
    "papyra/_runtime/calls.py": (
        2,
        "the cell: an actor's error goes to its supervisor, from an async and a sync call",
    ),
    "papyra/_runtime/hook_runner.py": (1, "hooks"),
    "papyra/_runtime/intake.py": (1, "the recorder: an actor does not feel that a record cannot be taken"),
    "papyra/_runtime/recorder.py": (5, "the recorder: its store, its listener, a proof, and its own end"),
    "papyra/_runtime/turns.py": (
        1,
        "the cell: an actor's error goes to its supervisor, as the message is handled",
    ),
    "papyra/cli/conduct.py": (1, "a command's edge: exit code 70 and a sentence"),
    "papyra/payloads/encoding.py": (2, "a message's own code, run while it is stored"),
    "papyra/payloads/excerpt.py": (2, "a message's own repr"),
    "papyra/payloads/messages.py": (1, "a message's own code, run while it is stored"),
    "papyra/payloads/walk.py": (1, "a message's own code, run while it is stored"),
    "papyra/persistence/chores.py": (1, "the store's writer thread: its upkeep"),
    "papyra/persistence/threads.py": (
        3,
        "the store's writer thread: a batch, a job, and who hears of that",
    ),
}
"""Where everything is caught and does not go on: how often, and why."""


def modules(package: str) -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / package).rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text(encoding="utf-8"))


def touches_the_disk(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id="open")):
            return True
        case ast.Attribute(value=ast.Name(id="os"), attr=name):
            return FILE_FUNCTIONS.fullmatch(name) is not None
        case ast.Call(func=ast.Attribute(attr=name)):
            return FILE_METHODS.fullmatch(name) is not None
        case _:
            return False


def swallows_everything(node: ast.AST) -> bool:
    """Whether ``node`` catches every error there is and does not end by raising."""
    if not isinstance(node, ast.ExceptHandler) or isinstance(node.body[-1], ast.Raise):
        return False
    caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(kind is None or ast.unparse(kind) in {"Exception", "BaseException"} for kind in caught)


def test_only_the_disk_doors_touch_files() -> None:
    found = {
        name
        for package in PACKAGES
        for name, tree in modules(package)
        if any(touches_the_disk(node) for node in ast.walk(tree))
    }
    assert {name for name in found if not name.startswith(DAMAGES_ON_PURPOSE)} == DISK_DOORS


def test_broad_handlers_stand_at_the_firewalls_only() -> None:
    found = Counter(
        name
        for package in PACKAGES
        for name, tree in modules(package)
        for node in ast.walk(tree)
        if swallows_everything(node)
    )
    assert found == {name: count for name, (count, _) in FIREWALLS.items()}
