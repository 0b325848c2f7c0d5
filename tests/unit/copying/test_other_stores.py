"""Stores that are no files, targets that keep less, and pipes that give nonsense."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from papyra.cli.pipes import PipeReader
from papyra.exceptions import ConfigurationError, RecordTooLargeError, StoreUnavailableError
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.copied import CopySelection
from papyra.persistence.copying import copy, copy_stream
from papyra.persistence.models import RecordKind
from papyra.persistence.restoring import restore, verify
from papyra.persistence.retention import RetentionPolicy
from papyra.persistence.stores import NewFile, is_same_place
from papyra.testing.faultybackend import FaultyBackend
from tests.unit.copying.stores import fill, lines, opened, records, seqs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from papyra.persistence.models import Record


async def test_out_of_memory_into_a_file_and_back_it_is_the_same_history(tmp_path: Path) -> None:
    source, target = InMemoryPersistence(), InMemoryPersistence()
    await source.append(records(range(1, 201)))
    backup = f"ndjson:{tmp_path / 'backup.ndjson'}"
    async with opened(backup) as store:
        assert not (await copy(source, store)).differs
        again = await copy(source, store)
        assert again.kinds[RecordKind.EVENT].resumed_after is not None
        assert not (await copy(store, target)).differs
    assert target.events == source.events


async def test_a_target_that_keeps_less_than_it_is_given_is_told() -> None:
    source, target = InMemoryPersistence(), InMemoryPersistence(RetentionPolicy(max_records=100))
    await source.append(records(range(1, 301)))
    report = await copy(source, target)
    assert report.differs
    assert report.kinds[RecordKind.EVENT].missing == 200
    assert report.differences[0].what == "missing"


async def test_a_target_that_refuses_a_record_is_told_and_gets_the_others() -> None:
    source, target = InMemoryPersistence(), InMemoryPersistence()
    await source.append(records(range(1, 11)))
    picky = FaultyBackend(target)
    picky.poison(lambda record: record.seq == 4)
    report = await copy(source, picky)
    assert [(one.what, one.id.seq) for one in report.differences] == [("refused", 4)]
    assert [event.seq for event in target.events] == [1, 2, 3, *range(5, 11)]


async def test_fingerprints_are_the_same_in_whatever_store(tmp_path: Path) -> None:
    place = f"ndjson:{tmp_path / 'log.ndjson'}"
    memory = InMemoryPersistence()
    await fill(place, records(range(1, 51)))
    await memory.append(records(range(1, 51)))
    async with opened(place) as store:
        proven = await verify(store)
    prints = [one.fingerprint for one in proven.kinds.values()]
    assert [one.fingerprint for one in (await verify(memory)).kinds.values()] == prints


async def test_a_target_that_reads_back_another_record_than_it_was_given_is_told() -> None:
    class Altering(InMemoryPersistence):
        async def append(self, records: Sequence[Record]) -> None:
            await super().append([replace(one, timestamp=one.timestamp + (one.seq == 2)) for one in records])

    source = InMemoryPersistence()
    await source.append(records(range(1, 4)))
    report = await copy(source, Altering())
    assert [(one.what, one.id.seq) for one in report.differences] == [("conflicting", 2)]
    assert report.differs


async def test_a_store_without_a_quarantine_says_so() -> None:
    assert (await restore(InMemoryPersistence())).listed == 0
    with pytest.raises(ConfigurationError, match="no quarantine that can be listed"):
        await restore(FaultyBackend(InMemoryPersistence()))


def test_times_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="nothing can match"):
        CopySelection(since=2.0, until=1.0)


async def test_a_pipe_without_an_end_of_line_is_not_held_in_memory_for_ever(tmp_path: Path) -> None:
    (tmp_path / "endless").write_bytes(b"x" * (65 * 1024 * 1024))
    reader = PipeReader(os.open(tmp_path / "endless", os.O_RDONLY))  # noqa: TID251  # a descriptor, as stdin is
    with pytest.raises(RecordTooLargeError, match="is no record"):
        await copy_stream(reader, InMemoryPersistence())
    await reader.aclose()


class Counted(bytes):
    """What a pipe gives, which counts how many bytes are copied to take it in."""

    copied: ClassVar[int] = 0

    def __add__(self, after: Any) -> Counted:
        return self._counted(bytes.__add__(self, after))

    def __radd__(self, before: Any) -> Counted:
        return self._counted(bytes(before) + bytes(self))

    def split(self, *arguments: Any) -> list[bytes]:
        return [self._counted(part) for part in bytes.split(self, *arguments)]

    @staticmethod
    def _counted(made: bytes) -> Counted:
        Counted.copied += len(made)
        return Counted(made)


@pytest.mark.parametrize("ending", [b"", b"\n"])
async def test_a_long_line_out_of_a_pipe_is_not_copied_anew_with_each_piece(
    monkeypatch: pytest.MonkeyPatch, ending: bytes
) -> None:
    pieces = [*[b"\0" * 1024] * 1024, ending]
    given = [Counted(piece) for piece in pieces if piece]
    monkeypatch.setattr("papyra.cli.pipes.os.read", lambda _fd, _length: given.pop(0) if given else b"")
    monkeypatch.setattr(Counted, "copied", 0)
    reader = PipeReader(0)
    assert not (await copy_stream(reader, InMemoryPersistence())).kinds[RecordKind.EVENT].selected
    await reader.aclose()
    assert reader.left_out == 1
    assert Counted.copied <= 2 * sum(map(len, pieces))


async def test_a_pipe_may_give_a_record_twice_and_out_of_order(tmp_path: Path) -> None:
    place = f"ndjson:{tmp_path / 'log.ndjson'}"
    await fill(place, records([2, 1, 3]))
    text = b"".join(await lines(place))
    (tmp_path / "twice").write_bytes(text + text)
    target = f"ndjson:{tmp_path / 'target.ndjson'}"
    async with opened(target) as store:
        reader = PipeReader(os.open(tmp_path / "twice", os.O_RDONLY))  # noqa: TID251
        report = await copy_stream(reader, store)
        await reader.aclose()
    assert (report.kinds[RecordKind.EVENT].copied, report.kinds[RecordKind.EVENT].late) == (3, 1)
    assert sorted(await seqs(target)) == [1, 2, 3]


def test_stores_are_the_same_by_what_they_are_and_not_by_what_they_are_called(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    assert is_same_place(f"ndjson:{one}", f"ndjson:{tmp_path}/./one")
    assert not is_same_place(f"ndjson:{one}", f"ndjson:{other}")
    assert not is_same_place("memory:", "memory:")
    assert is_same_place("redis://h/0", "redis://h/0")
    one.write_bytes(b"")
    other.symlink_to(one)
    assert is_same_place(f"ndjson:{one}", f"ndjson:{other}")


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("segments:log", "segments:log.segments", True),
        ("segments:log", "ndjson:log.segments/event-00000001.ndjson", True),
        ("segments:log", "ndjson:log.2", True),
        ("segments:log", "ndjson:log/log.ndjson", True),
        ("ndjson:log/log.ndjson", "segments:log", True),
        ("ndjson:log", "ndjson:log.lock", True),
        ("NDJSON:log", "ndjson:./log", True),
        ("ndjson:log", "ndjson:log.2", False),
        ("ndjson:log", "ndjson:log.broken", False),
        ("ndjson:log.quarantine/log.1b2f", "ndjson:log", False),
        ("segments:log", "segments:log2", False),
        ("django:default", "DJANGO:default", True),
    ],
)
def test_a_part_of_a_store_is_no_other_store(
    one: str, other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_same: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_same_place(one, other) == is_same_place(other, one) == is_same


async def test_a_pipe_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    reader = PipeReader(os.open(tmp_path, os.O_RDONLY))  # noqa: TID251  # a folder, as after < /tmp
    with pytest.raises(StoreUnavailableError, match="stdin gives no records: Is a directory"):
        await copy_stream(reader, InMemoryPersistence())
    await reader.aclose()


def test_a_new_file_in_which_nothing_came_before_an_error_is_gone(tmp_path: Path) -> None:
    for data in (b"", b"some"):
        with suppress(LookupError), NewFile(str(tmp_path / "rest")) as file:
            if data:
                file.write(data)
            raise LookupError
        assert (tmp_path / "rest").exists() == bool(data)


def test_a_new_file_is_never_an_old_one(tmp_path: Path) -> None:
    place = tmp_path / "rest"
    with NewFile(str(place)) as file:
        file.write(b"some")
    assert place.read_bytes() == b"some"
    with pytest.raises(ConfigurationError, match="is there already"), NewFile(str(place)):
        pass
    assert place.read_bytes() == b"some"
