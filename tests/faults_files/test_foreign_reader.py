"""The page about the file format is precise enough: a reader written from it reads what papyra reads."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from papyra.persistence.models import Record, RecordKind
from tests.faults_files.works import DAMAGED, NAME, RUBBISH, SOUND, TORN
from tests.unit.files.stores import HEADER, everything, known, line, named, opened

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reference" / "file-format.md"
GOLDEN = ROOT / "tests" / "trials" / "golden"
FROZEN = sorted(GOLDEN.glob("*/*/log.ndjson*"))
MOST_LINES = 40

STORES = {
    "sound": SOUND,
    "no header": line(1) + line(2),
    "torn": SOUND + TORN,
    "no newline at the end": (SOUND + line(6))[:-1],
    "garbage and a torn tail": DAMAGED,
    "a value that was changed": SOUND.replace(b'"number":3', b'"number":8'),
    "a checksum that was changed": HEADER + line(1)[:-4] + b'0"}\n' + line(2),
    "an end that was changed": HEADER + line(1)[:-3] + b"x}\n" + line(2),
    "records that stand twice": SOUND + line(2) + line(5),
    "legacy lines": b'{"kind":"event","timestamp":1.5}\n{"timestamp": 2.5, "kind": "audit"}\n',
    "legacy lines, then ours": b'{"kind":"event","timestamp":1.5}\n' + line(1) + line(2),
    "a legacy line after ours": SOUND + b'{"kind":"event","timestamp":1.5}\n',
    "a legacy line after a damaged one of ours": line(1)[:50] + b'\n{"kind":"event","timestamp":1.5}\n',
    "lines that are no records": SOUND + b"\n42\n[]\n" + RUBBISH,
}


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("gzip") is None or shutil.which("od") is None:
        pytest.skip("the reader needs gzip and od")
    found = re.search(
        r"^```sh\n(#!/bin/sh\n.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    assert found is not None
    path = tmp_path_factory.mktemp("reader") / "read-store.sh"
    path.write_text(found[1], encoding="utf-8")
    return path


def read(script: Path, content: bytes) -> tuple[list[tuple[str, int, str]], int]:
    """Return the identities that the shell script reads, and how many lines it calls damage."""
    ran = subprocess.run(["sh", str(script)], input=content, capture_output=True, timeout=60, check=True)
    assert ran.stderr == b""
    words = [text.split() for text in ran.stdout.decode().splitlines()]
    records = [one for one in words if one[0] != "damage"]
    return [(kind, int(seq), incarnation.strip("-")) for kind, seq, incarnation in records], len(words) - len(
        records
    )


def identity(record: Record) -> tuple[str, int, str]:
    return record.kind.value, record.seq, record.incarnation


def by_kind(found: list[tuple[str, int, str]]) -> list[tuple[str, int, str]]:
    order = [kind.value for kind in RecordKind]
    return sorted(found, key=lambda one: order.index(one[0]))


async def ours(path: Path) -> list[tuple[str, int, str]]:
    async with opened(path) as store:
        return [identity(record) for records in (await everything(store)).values() for record in records]


def test_the_reader_fits_on_a_page(script: Path) -> None:
    lines = [text for text in script.read_text(encoding="utf-8").splitlines() if text.strip()]
    assert len(lines) <= MOST_LINES


@pytest.mark.parametrize("name", STORES)
async def test_a_reader_in_shell_reads_what_we_read(script: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / NAME
    path.write_bytes(STORES[name])
    found, damage = read(script, STORES[name])
    assert by_kind(found) == by_kind(await ours(path))
    harmless = {"duplicate_record", "missing_newline", "missing_records"}
    assert (damage > 0) is bool(set(await named(path)) - harmless)


async def test_a_reader_in_shell_reads_what_a_store_writes(script: Path, tmp_path: Path) -> None:
    path = tmp_path / NAME
    texts = ['"', "\\", "größer", "\n", '","crc":"00000000"}', '{"seq":1,"kind":"audit","incarnation":"X"']
    async with opened(path) as store:
        await store.append([known(seq, payload=text) for seq, text in enumerate(texts, start=1)])
        await store.append([known(1, kind=kind) for kind in (RecordKind.AUDIT, RecordKind.DEAD_LETTER)])
    found, damage = read(script, path.read_bytes())
    assert by_kind(found) == by_kind(await ours(path))
    assert (len(found), damage) == (len(texts) + 2, 0)


@pytest.mark.parametrize(
    "path", sorted(GOLDEN.glob("*/*/log.ndjson*")), ids=lambda path: "/".join(path.parts[-3:])
)
async def test_a_reader_in_shell_reads_every_golden_store(script: Path, tmp_path: Path, path: Path) -> None:
    copy = Path(shutil.copy(path, tmp_path / NAME))
    found, damage = read(script, path.read_bytes())
    assert by_kind(found) == by_kind(await ours(copy))
    assert damage == 0


def test_a_newer_format_ends_it(script: Path) -> None:
    newer = (ROOT / "tests" / "trials" / "line-format" / "newer-format.ndjson").read_bytes()
    ran = subprocess.run(["sh", str(script)], input=newer, capture_output=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (1, b"")
