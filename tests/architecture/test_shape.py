"""The house stays small and legible."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("papyra", "django_papyra")
FOLDERS = (*PACKAGES, "tests", "example_project", "benchmarks", "tools", "docs")


def sources(*folders: str) -> list[Path]:
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path.relative_to(ROOT) for path in found if "migrations" not in path.parts)


@pytest.mark.parametrize("path", sources(*FOLDERS), ids=str)
def test_a_file_fits_in_one_sitting(path: Path) -> None:
    lines = len((ROOT / path).read_text(encoding="utf-8").splitlines())
    assert lines <= 400


@pytest.mark.parametrize("path", sources(*PACKAGES), ids=str)
def test_a_folder_is_a_package(path: Path) -> None:
    assert (ROOT / path.parent / "__init__.py").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_prose_stays_under_a_third_of_the_code(package: str) -> None:
    prose = code = 0
    for path in sources(package):
        text = (ROOT / path).read_text(encoding="utf-8")
        documented, written = count_lines(text)
        prose += documented
        code += written
    assert prose * 3 < code, f"{prose} lines of prose beside {code} of code"


def count_lines(text: str) -> tuple[int, int]:
    """Return the lines that are docstring or comment only, and the lines that are code."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        ) and ast.get_docstring(node):
            docstring = node.body[0]
            documented.update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    commented: set[int] = set()
    written: set[int] = set()
    silent = {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        lines = range(token.start[0], token.end[0] + 1)
        if token.type == tokenize.COMMENT:
            commented.update(lines)
        elif token.type not in silent:
            written.update(lines)
    code = written - documented
    return len(documented | (commented - code)), len(code)
