"""Find what keeps a record safe in papyra/persistence: each of it can be taken out, one at a time. Pure."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    TextOf = Callable[[ast.expr | ast.stmt], str]

_SYNC = re.compile(r"_*(?:f|fdata)?sync(?:_\w+)?")
_CHECKSUM = re.compile(r"checksum|crc|sha256|digest", re.IGNORECASE)
_SET_ASIDE = frozenset({"keep", "set_aside", "set_leftover_aside"})
_WRITES_ANEW = frozenset({"renew", "_renew", "_renew_doubtful", "make_name_durable", "doubt", "write_ledger"})
"""What is done after a sync that failed, so that nothing rests on it."""
_REFUSES = frozenset(
    {"refuse_shared", "refuse_exclusive", "_refuse_others", "refuse_newer", "refuse_unrepairable"}
)
_IS_LOCKED = frozenset({"is_held_by_anybody", "is_other"})
_NEWLINE = b"\n"


class Mutant(NamedTuple):
    """One change: ``text`` at ``start`` (an offset in bytes) becomes ``instead``."""

    path: str
    line: int
    within: str
    kind: str
    start: int
    text: str
    instead: str

    @property
    def name(self) -> str:
        """Return what tells it from the others as long as nobody rewrites that line; without line numbers."""
        return f"{self.path}::{self.within}::{self.kind}: {' '.join(self.text.split())} -> {self.instead}"

    def apply(self, source: bytes) -> bytes:
        """Return the file with this change."""
        end = self.start + len(self.text.encode())
        return source[: self.start] + self.instead.encode() + source[end:]


def find_mutants(path: str, source: bytes) -> list[Mutant]:
    """Return every mutant of one file, in file order."""
    finder = _Finder(path, source)
    finder.visit(ast.parse(source))
    return sorted(set(finder.found), key=lambda mutant: mutant.start)


class _Finder(ast.NodeVisitor):
    def __init__(self, path: str, source: bytes) -> None:
        self.found: list[Mutant] = []
        self._path = path
        self._source = source
        self._line_starts = [0]
        for text in source.splitlines(keepends=True):
            self._line_starts.append(self._line_starts[-1] + len(text))
        self._within: list[str] = []

    def visit(self, node: ast.AST) -> None:
        """Note the changes at ``node`` and look further down."""
        is_named = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        if is_named:
            self._within.append(node.name)  # type: ignore[attr-defined]
        if isinstance(node, ast.expr | ast.stmt):
            for kind, instead in _changes(node, self._text_of):
                self._add(node, kind, instead)
        self.generic_visit(node)
        if is_named:
            self._within.pop()

    def _span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        assert node.end_lineno is not None  # noqa: S101  # the parser says where
        assert node.end_col_offset is not None  # noqa: S101
        start = self._line_starts[node.lineno - 1] + node.col_offset
        return start, self._line_starts[node.end_lineno - 1] + node.end_col_offset

    def _text_of(self, node: ast.expr | ast.stmt) -> str:
        start, end = self._span(node)
        return self._source[start:end].decode()

    def _add(self, node: ast.expr | ast.stmt, kind: str, instead: str) -> None:
        start, _ = self._span(node)
        within = ".".join(self._within) or "module"
        self.found.append(Mutant(self._path, node.lineno, within, kind, start, self._text_of(node), instead))


def _changes(node: ast.expr | ast.stmt, text_of: TextOf) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Expr(value=ast.Call() as call):
            yield from _of_statement(call, text_of)
        case ast.AugAssign(value=ast.Call() as call) if _name_of(call) in _SET_ASIDE:
            yield "quarantine", "pass"
        case ast.Attribute():
            yield from _of_attribute(node, text_of)
        case ast.IfExp(body=ast.BinOp(left=ast.Constant(value=value))) if value == _NEWLINE:
            yield "newline", text_of(node.orelse)
        case ast.Compare():
            yield from _of_comparison(node)
        case ast.Call():
            yield from _of_value(node)
        case ast.If() if _guards_a_change(node):
            yield "truncate", f"if False:{text_of(node)[len(_head_of(node, text_of)) :]}"


def _of_attribute(node: ast.Attribute, text_of: TextOf) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Attribute(attr="write_synced", ctx=ast.Load()):
            yield "sync", f"{text_of(node.value)}.write"
        case ast.Attribute(attr="is_doubtful", ctx=ast.Load()):
            yield "sync", "False"
        case ast.Attribute(attr="is_lost", ctx=ast.Load()):
            yield "lock", "False"
        case ast.Attribute(attr="RWF_DSYNC"):
            yield "sync", "0"
        case _:
            pass


def _of_comparison(node: ast.Compare) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Compare(ops=[ast.NotEq()], comparators=[ast.Constant(value=value)]) if value == _NEWLINE:
            yield "newline", "False"
        case ast.Compare(ops=[ast.Eq()], comparators=[ast.Constant(value=value)]) if value == _NEWLINE:
            yield "newline", "True"
        case ast.Compare(ops=[ast.Eq() | ast.NotEq() as how]) if _is_about_checksums(node):
            yield "checksum", str(isinstance(how, ast.Eq))


def _head_of(node: ast.If, text_of: TextOf) -> str:
    """Return ``if …:`` as it stands."""
    whole, test = text_of(node), text_of(node.test)
    at = whole.index(test) + len(test)
    return whole[: whole.index(":", at) + 1]


def _of_statement(call: ast.Call, text_of: TextOf) -> Iterator[tuple[str, str]]:
    name = _name_of(call)
    given = {keyword.arg for keyword in call.keywords}
    if _SYNC.fullmatch(name) or name in _WRITES_ANEW:
        yield "sync", "pass"
    elif name in _REFUSES:
        yield "refusal", "pass"
    elif name == "close" and "keeping" in given:
        yield "truncate", f"{text_of(call.func)}()"
    elif name in {"truncate", "ftruncate", "take_back"}:
        yield "truncate", "pass"
    elif name in _SET_ASIDE:
        yield "quarantine", "pass"
    elif name == "flock":
        yield "lock", "pass"
    elif name in {"insert", "write_all"} and _ends_in_newline(call):
        yield "newline", "pass"


def _of_value(call: ast.Call) -> Iterator[tuple[str, str]]:
    name = _name_of(call)
    if name == "has_sound_checksum":
        yield "checksum", "True"
    elif name == "has_synced_writes":
        yield "sync", "True"
    elif (name == "lock" and call.args) or name == "is_current":
        yield "lock", "True"
    elif name in _IS_LOCKED:
        yield "lock", "False"
    elif name == "endswith" and _ends_in_newline(call):
        yield "newline", "True"


def _name_of(call: ast.Call) -> str:
    match call.func:
        case ast.Attribute(attr=name) | ast.Name(id=name):
            return name
        case _:
            return ""


def _ends_in_newline(call: ast.Call) -> bool:
    return any(isinstance(given, ast.Constant) and given.value == _NEWLINE for given in call.args)


def _is_about_checksums(node: ast.Compare) -> bool:
    names = [part.attr if isinstance(part, ast.Attribute) else "" for part in ast.walk(node)]
    names += [part.id if isinstance(part, ast.Name) else "" for part in ast.walk(node)]
    return any(_CHECKSUM.search(name) for name in names)


def _guards_a_change(node: ast.If) -> bool:
    """Whether this refuses to go on where a file is not as it was looked at, or a cut would be unsafe."""
    match node:
        case ast.If(test=ast.Compare(left=ast.Attribute(attr="size"), ops=[ast.NotEq()]), body=[ast.Raise()]):
            return True
        case ast.If(body=[ast.Assign(value=ast.Constant(value=None))], orelse=[]):
            return any(isinstance(part, ast.Attribute) and part.attr == "end" for part in ast.walk(node.test))
        case _:
            return False
