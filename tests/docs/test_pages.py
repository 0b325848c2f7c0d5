"""What README and docs show is what happens: their code blocks run, their examples are sound."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from papyra.persistence import codec
from papyra.persistence.models import LossNote

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
BIN = Path(sys.executable).parent


def blocks(page: str, language: str) -> list[str]:
    return re.findall(
        rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1"}
    return subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_quickstart_does_what_the_readme_says(tmp_path: Path) -> None:
    quickstart = blocks("README.md", "python")[0]
    (tmp_path / "quickstart.py").write_text(quickstart)
    ran = run(f"{sys.executable} quickstart.py", tmp_path)
    promised = re.findall(r"print\(.*?\)  # (.*)", quickstart)
    assert ran.stdout.splitlines() == promised, ran.stderr
    commands = [line for line in blocks("README.md", "sh")[1].splitlines() if line.startswith("papyra ")]
    assert len(commands) == 3
    for command in commands:
        answered = run(command, tmp_path)
        assert answered.returncode == 0, answered.stderr
    assert "boom" in run(commands[-1], tmp_path).stdout
    for line in (tmp_path / "papyra.ndjson").read_text().splitlines():
        json.loads(line)


@pytest.mark.parametrize("page", ["README.md", "docs/reference/settings.md"])
def test_every_settings_example_is_accepted(page: str) -> None:
    from django.test import override_settings  # noqa: PLC0415  # only this test needs Django

    from django_papyra.conf import get_settings  # noqa: PLC0415

    examples = [text for text in blocks(page, "python") if "PAPYRA = {" in text]
    assert examples
    for text in examples:
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PAPYRA":
                namespace: dict[str, object] = {}
                exec(compile(ast.Module([node], []), page, "exec"), namespace)  # noqa: S102  # our own page
                with override_settings(PAPYRA=namespace["PAPYRA"]):
                    assert get_settings().system_id == "orders"


def test_every_settings_key_is_on_the_settings_page() -> None:
    from dataclasses import fields  # noqa: PLC0415

    from django_papyra.conf import PapyraSettings  # noqa: PLC0415

    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert [f"| `{field.name.upper()}` |" in page for field in fields(PapyraSettings)] == [True] * len(
        fields(PapyraSettings)
    )


def test_the_lines_on_the_file_format_page_are_sound() -> None:
    record, header, note = blocks("docs/reference/file-format.md", "json")
    for line in (record, header):
        text = line.strip().encode()
        assert codec.is_framed(text)
        assert codec.has_sound_checksum(text)
    assert LossNote.from_payload(json.loads(note)) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []
