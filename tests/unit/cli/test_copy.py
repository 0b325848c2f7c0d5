from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from papyra.cli import app
from papyra.cli.commands import build_parser
from papyra.persistence import codec
from tests.unit.copying.stores import FORMS, files_of, fill, lines, opened, path_of, records, seqs, url
from tests.unit.files.stores import HEADER, line, quarantine_of

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.parametrize("form", FORMS)
PAPYRA = (sys.executable, "-m", "papyra")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PAPYRA_STORE", raising=False)
    monkeypatch.delenv("PAPYRA_DEBUG", raising=False)


@pytest.fixture
def source(tmp_path: Path, form: str) -> str:
    return url(form, tmp_path, "source")


@pytest.fixture
def target(tmp_path: Path, form: str) -> str:
    return url(form, tmp_path, "target")


def filled(store_url: str, numbers: Sequence[int] = range(1, 11)) -> None:
    asyncio.run(fill(store_url, records(numbers)))


def run(*words: str) -> int:
    return app.main(["copy", *words])


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    shown = capsys.readouterr()
    assert shown.out.count("\n") == 1
    answer: dict[str, Any] = json.loads(shown.out)
    return answer


def test_a_copy_says_what_it_did_and_exits_with_0(
    source: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(source)
    assert run("--from", source, "--to", target) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out.startswith(
        f"COPIED  {source} -> {target}\n10 records copied, 0 were there already; "
        "what was copied was read back and is equal.\n"
    )


def test_json_is_one_object_with_counts_and_fingerprints(
    source: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(source)
    assert run("--from", source, "--to", target, "--json") == 0
    answer = document(capsys)
    assert (answer["command"], answer["verdict"], answer["verified"]) == ("copy", "copied", True)
    events = answer["kinds"]["event"]
    assert (events["copied"], events["missing"]) == (10, 0)
    assert events["source_fingerprint"] == events["target_fingerprint"]
    assert run("--from", source, "--to", target, "--json", "--dry-run", "--recheck") == 0
    answer = document(capsys)
    assert (answer["verdict"], answer["verified"], answer["kinds"]["event"]["present"]) == (
        "would_copy",
        False,
        10,
    )


def test_the_same_store_twice_is_misuse_by_whatever_names(
    source: str, target: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(source)
    place = path_of(source)
    link, twin = tmp_path / "link.ndjson", tmp_path / "twin.ndjson"
    link.symlink_to(place)
    scheme = source.partition(":")[0]
    others = [source, f"{scheme}:{link}", f"{scheme}:./{place.name}", f"{scheme}://{place}"]
    if place.is_file():
        os.link(place, twin)
        others.append(f"{scheme}:{twin}")
    for other in others:
        assert run("--from", source, "--to", other) == 64
        assert "are the same store" in capsys.readouterr().err
    assert run("--from", target, "--to", source) == 64
    assert "there is no store at" in capsys.readouterr().err


def test_pipes_are_refused_where_they_make_no_sense(source: str, capsys: pytest.CaptureFixture[str]) -> None:
    filled(source)
    assert run("--from", "-", "--to", "-") == 64
    assert run("--from", source, "--to", "-", "--json") == 64
    assert document(capsys)["verdict"] == "misuse"
    assert run("--from", source, "--to", "memory:", "--since", "1h", "--until", "2h") == 64


def test_a_closed_stream_is_misuse_and_what_no_record_can_be_is_damage(source: str, tmp_path: Path) -> None:
    filled(source)
    for command in ("papyra copy --from - --to memory: <&-", f"papyra copy --from {source} --to - >&-"):
        done = shell(command, tmp_path)
        assert done.returncode == 64
        assert b"was started with that stream closed" in done.stderr
    done = shell("head -c 70000000 /dev/zero | papyra copy --from - --to memory:", tmp_path)
    assert done.returncode == 2
    assert b"is no record" in done.stderr


def test_a_conflict_is_shown_and_exits_with_2(
    source: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(source)
    asyncio.run(fill(target, [replace(records([3])[0], timestamp=5.0)]))
    assert run("--from", source, "--to", target) == 2
    shown = capsys.readouterr().out
    assert shown.startswith("DIFFERS  ")
    assert "conflicting  event  01JDGH5Q7W0000000000000001  3" in shown
    assert run("--from", source, "--to", target, "--json") == 2
    assert document(capsys)["differences"][0]["what"] == "conflicting"


def test_a_damaged_source_exits_with_2_and_says_what_was_left_out(
    source: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(source, range(1, 4))
    (place,) = files_of(source)
    place.write_bytes(place.read_bytes().replace(line(2), b"rubbish\n"))
    assert run("--from", source, "--to", target) == 2
    shown = capsys.readouterr().out
    assert shown.startswith("INCOMPLETE  ")
    assert "The source is damaged (1 anomaly): what cannot be read there was left out." in shown


def test_records_behind_later_ones_are_told_with_what_puts_them_in_order(
    source: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(source, range(1, 11))
    filled(target, range(6, 11))
    assert run("--from", source, "--to", target) == 2
    shown = capsys.readouterr().out
    assert shown.startswith("UNORDERED  ")
    (step,) = [text for text in shown.splitlines() if text.startswith("Next: ")]
    words = step.removeprefix("Next: ").partition("  #")[0].split()
    assert words[:3] == ["papyra", "persistence", "recover"]
    assert app.main(words[1:]) == 0
    assert run("--from", source, "--to", target) == 0


def test_a_locked_target_exits_with_69_and_says_that_it_can_be_gone_on_with(
    source: str, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(source)

    async def hold() -> int:
        async with opened(target) as holder:
            await holder.append(records([99]))
            return await asyncio.to_thread(run, "--from", source, "--to", target)

    assert asyncio.run(hold()) == 69
    assert "the same command goes on from there" in capsys.readouterr().err


def shell(command: str, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    script = command.replace("papyra ", f"{' '.join(PAPYRA)} ")
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=60,
        check=False,
    )


async def test_out_of_one_pipe_into_another_it_is_the_same_history(
    source: str, target: str, tmp_path: Path
) -> None:
    await fill(source, records(range(1, 1500)))
    done = shell(
        f"papyra copy --from {source} --to - | gzip > backup.gz && "
        f"gunzip -c backup.gz | papyra copy --from - --to {target}",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert b"1,499 records copied; what a pipe took cannot be read back" in done.stderr
    assert await lines(target) == await lines(source)
    again = shell(f"gunzip -c backup.gz | papyra copy --from - --to {target}", tmp_path)
    assert b"0 records copied, 1,499 were there already" in again.stdout


async def test_lines_of_a_pipe_are_what_the_file_format_says(source: str, tmp_path: Path) -> None:
    await fill(source, records(range(1, 4)))
    done = shell(f"papyra copy --from {source} --to -", tmp_path)
    assert done.stdout == b"".join(await lines(source))
    assert [json.loads(text)["seq"] for text in done.stdout.splitlines()] == [1, 2, 3]


async def test_what_is_no_record_in_a_pipe_is_counted(target: str, tmp_path: Path) -> None:
    newer = b'{"seq":9,"kind":"mood","incarnation":"x"'
    framed = newer + b',"crc":"%08x"}\n' % zlib.crc32(newer)
    (tmp_path / "in").write_bytes(HEADER + line(1) + b"rubbish\n" + framed + line(2)[:-1])
    done = shell(f"papyra copy --from - --to {target} --json < in", tmp_path)
    assert done.returncode == 2
    answer = json.loads(done.stdout)
    assert answer["verdict"] == "incomplete"
    assert answer["left_out"] == {"unknown": 1, "no_record": 1}
    assert await seqs(target) == [1, 2]


async def test_a_header_of_a_newer_format_in_a_pipe_is_refused(target: str, tmp_path: Path) -> None:
    text = codec.frame(0, b"", b'"kind":"header","format":99,"store":"x","family":"all","segment":1')[0]
    (tmp_path / "in").write_bytes(text + line(1))
    done = shell(f"papyra copy --from - --to {target} < in", tmp_path)
    assert done.returncode == 2
    assert b"upgrade papyra" in done.stderr
    assert await seqs(target) == []


async def test_a_reader_that_leaves_an_export_is_told_apart_from_its_end(source: str, tmp_path: Path) -> None:
    await fill(source, records(range(1, 3001)))
    done = shell(f"papyra copy --from {source} --to - | head -n 1", tmp_path)
    assert done.returncode == 69
    assert b"stdout takes no more records" in done.stderr


def with_quarantine(folder: Path) -> tuple[Path, str]:
    """Return a store and the name of what was set aside of it: a record that is missing, and rubbish."""
    path = folder / "log.ndjson"
    path.write_bytes(HEADER + line(1) + line(2))
    quarantine_of(path).mkdir()
    content = line(3) + b"\x1b[2J\n"
    name = f"log.ndjson.{hashlib.sha256(content).hexdigest()[:16]}"
    (quarantine_of(path) / name).write_bytes(content)
    return path, name


def test_verify_and_the_list_say_what_could_go_back(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del form
    path, name = with_quarantine(tmp_path)
    assert app.main(["persistence", "verify", "--path", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("PROVEN  ")
    assert "1 entry in quarantine: 1 record can go back, 5 bytes that are no record." in shown
    assert app.main(["persistence", "restore", "--path", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert f"{name}  set_aside" in shown
    assert "Next: papyra persistence restore all --path" in shown


def test_restore_puts_back_exports_the_rest_and_refuses_what_it_should(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del form
    path, _ = with_quarantine(tmp_path)
    words = ["persistence", "restore", "all", "--path", str(path), "--export", "rest", "--json"]
    assert app.main(words) == 0
    answer = document(capsys)
    assert (answer["verdict"], answer["restore"]["restored"]) == ("restored", 1)
    assert (tmp_path / "rest").read_bytes() == b"\x1b[2J\n"
    assert app.main(words) == 64
    assert "is there already" in document(capsys)["error"]["message"]
    assert app.main(["persistence", "restore", "nothing", "--path", str(path), "--export", "other"]) == 64
    assert app.main(["persistence", "restore", "--path", str(path), "--export", "other"]) == 64
    assert "name the entries to restore" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    path.write_bytes(path.read_bytes() + b"rubbish\n" + line(9))
    capsys.readouterr()
    assert app.main(["persistence", "restore", "all", "--path", str(path)]) == 2
    assert "recover it first" in capsys.readouterr().err
    assert app.main(["persistence", "verify", "--path", str(path), "--json"]) == 2
    assert document(capsys)["verdict"] == "damage"


def test_a_parser_takes_dashes_as_pipes(form: str) -> None:
    del form
    args = build_parser().parse_args(["copy", "--from", "-", "--to", "memory:", "--kind", "dead-letter"])
    assert (args.origin, args.target, args.kinds) == ("-", "memory:", ["dead_letter"])


def test_a_copy_to_segments_keeps_all_unless_it_is_told_how_many_stay(
    source: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(source, range(1, 61))
    target = f"segments:{tmp_path}/bounded"
    assert run("--from", source, "--to", target, "--max-bytes", "2kB", "--json") == 0
    assert document(capsys)["verdict"] == "copied"
    segments = sorted((tmp_path / "bounded").glob("event-*.ndjson"))
    assert len(segments) > 5
    assert max(path.stat().st_size for path in segments) <= 2_000
    other = f"segments:{tmp_path}/few"
    run("--from", source, "--to", other, "--max-bytes", "2kB", "--max-files", "2")
    assert len(list((tmp_path / "few").glob("event-*.ndjson"))) == 2


@pytest.mark.parametrize("option", ["--max-bytes", "--max-files"])
@pytest.mark.parametrize("to", ["ndjson:other", "memory:", "-"])
def test_a_bound_of_what_is_no_set_of_segments_is_misuse(
    source: str, option: str, to: str, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(source)
    assert run("--from", source, "--to", to, option, "7") == 64
    assert f"{option} is about a set of segments; write --to segments:PATH" in capsys.readouterr().err
