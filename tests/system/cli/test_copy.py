"""A real process that copies: interrupted, killed, and gone on with."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.system.cli.process import PAPYRA, environment, papyra_json
from tests.unit.copying.stores import FORMS, fill, lines, records, seqs, url

if TYPE_CHECKING:
    from pathlib import Path

TELLING = """
import sys
from papyra.cli import app
from papyra.persistence.base import BasePersistence

append = BasePersistence.append

async def told(self, batch):
    await append(self, batch)
    print("stored", file=sys.stderr, flush=True)

BasePersistence.append = told
sys.exit(app.main())
"""


def started(
    cwd: Path, *words: str, before: str = "", stdin: int | None = None, stderr: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    """Start a copy that says of each batch when it is stored."""
    return subprocess.Popen(
        [sys.executable, "-c", before + TELLING, "copy", *words],
        cwd=cwd,
        env=environment(TERM="xterm"),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )


def wait_for_batches(process: subprocess.Popen[bytes], number: int) -> None:
    assert process.stderr is not None
    for _ in range(number):
        assert process.stderr.readline() == b"stored\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("form", FORMS)
async def test_a_copy_that_was_stopped_is_completed_by_the_next(
    form: str, number: signal.Signals, tmp_path: Path
) -> None:
    source, target = url(form, tmp_path, "source"), url(form, tmp_path, "target")
    await fill(source, records(range(1, 8001)))
    expected = await lines(source)
    got: list[bytes] = []
    for batches in (1, 2, 4):
        process = started(tmp_path, "--from", source, "--to", target)
        wait_for_batches(process, batches)
        process.send_signal(number)
        process.communicate(timeout=60)
        assert process.returncode in {130, -signal.SIGKILL, 0}
        got = await lines(target)
        assert len(got) >= 64
        assert got == expected[: len(got)]
    document = papyra_json("copy", "--from", source, "--to", target, cwd=tmp_path)
    assert document["verdict"] == "copied"
    assert document["kinds"]["event"]["resumed_after"] is not None
    assert document["kinds"]["event"]["present"] == len(got)
    assert await seqs(target) == list(range(1, 8001))


async def test_an_interrupted_copy_exits_with_130_and_one_sentence(tmp_path: Path) -> None:
    source, target = (f"ndjson:{tmp_path / name}.ndjson" for name in ("source", "target"))
    await fill(source, records(range(1, 30_001)))
    process = started(tmp_path, "--from", source, "--to", target)
    wait_for_batches(process, 1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert err.replace(b"stored\n", b"") == b"papyra: interrupted\n"


async def test_an_import_that_waits_for_its_pipe_can_be_interrupted(tmp_path: Path) -> None:
    target = f"ndjson:{tmp_path / 'target'}.ndjson"
    batch = records(range(1, 51))
    process = started(tmp_path, "--from", "-", "--to", target, stdin=subprocess.PIPE)
    await fill(f"ndjson:{tmp_path / 'source'}.ndjson", batch)
    assert process.stdin is not None
    process.stdin.write((tmp_path / "source.ndjson").read_bytes())
    process.stdin.flush()
    wait_for_batches(process, 1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    process.communicate()
    assert await seqs(target) == list(range(1, 51))


async def test_a_bar_is_drawn_on_a_terminal_only(tmp_path: Path) -> None:
    source, target = (f"ndjson:{tmp_path / name}.ndjson" for name in ("source", "target"))
    await fill(source, records(range(1, 3_001)))
    shown, terminal = pty.openpty()
    impatient = "from papyra.cli import terminal\nterminal.PATIENCE_SECONDS = 0.0\n"
    process = started(tmp_path, "--from", source, "--to", target, before=impatient, stderr=terminal)
    os.close(terminal)
    drawn = b""
    try:
        while chunk := os.read(shown, 65536):
            drawn += chunk
    except OSError:  # the other end is closed
        pass
    out, _ = process.communicate(timeout=60)
    os.close(shown)
    assert process.returncode == 0
    assert b"MiB" in drawn or b"KiB" in drawn
    assert b"COPIED" in out
    quiet = subprocess.run(
        [*PAPYRA, "persistence", "verify", "--store", target],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        check=True,
    )
    assert quiet.stderr == b""
