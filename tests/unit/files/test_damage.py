from __future__ import annotations

from pathlib import Path

import pytest

from papyra.exceptions import ConfigurationError, ForeignStoreError
from papyra.persistence import codec
from papyra.persistence.models import PersistenceRecoveryConfig, RecordKind, ScanDepth, Severity
from tests.unit.files.stores import (
    HEADER,
    QUARANTINE,
    REPAIR,
    entries_of,
    everything,
    fresh,
    known,
    line,
    named,
    numbers,
    opened,
    quarantine_of,
    recovered,
    without,
)

LINES = [line(1), line(2), line(1, kind=RecordKind.DEAD_LETTER), line(3)]
ORIGINAL = HEADER + b"".join(LINES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.ndjson"


async def test_i1_torn_at_any_byte_the_next_record_is_read_and_the_fragment_is_kept(path: Path) -> None:
    begun = len(ORIGINAL) - len(LINES[-1])
    for cut in range(begun, len(ORIGINAL) + 1):
        path.write_bytes(ORIGINAL[:cut])
        whole = [1, 2] if cut < len(ORIGINAL) - 1 else [1, 2, 3]
        async with opened(path) as store:
            await store.append([fresh(1)])
        assert await numbers(path) == [*whole, 1], cut
        assert path.read_bytes().startswith(ORIGINAL[:cut]), cut
        is_torn = begun < cut < len(ORIGINAL) - 1
        assert await named(path) == ["torn_tail"] * is_torn, cut


async def test_i6_torn_at_any_byte_of_the_file_a_repair_is_clean_and_loses_no_whole_record(
    path: Path,
) -> None:
    ends = [len(HEADER), *(len(HEADER) + len(b"".join(LINES[: n + 1])) for n in range(len(LINES)))]
    begun = len(ORIGINAL) - len(LINES[-1])
    for cut in (*range(len(HEADER) + 2), *range(begun - 2, len(ORIGINAL))):
        path.write_bytes(ORIGINAL[:cut])
        await recovered(path)
        assert await named(path) == [], cut
        whole = sum(end - 1 <= cut for end in ends[1:])
        async with opened(path) as store:
            found = await everything(store)
        assert sum(map(len, found.values())) == whole, cut
        kept = without(ORIGINAL[:cut], entries_of(quarantine_of(path)))
        assert not kept or path.read_bytes().startswith(kept), cut
        quarantine_of(path).joinpath("quarantine.ndjson").unlink(missing_ok=True)


async def test_i2_i3_i7_any_flipped_bit_is_named_and_costs_at_most_its_own_record(path: Path) -> None:
    path.write_bytes(ORIGINAL)
    async with opened(path) as store:
        whole = await everything(store)
    sound = [record for records in whole.values() for record in records]
    starts = [0]
    for text in (HEADER, *LINES):
        starts.append(starts[-1] + len(text))
    middle = range(starts[2] - 1, starts[3])
    for at in range(len(ORIGINAL)):
        for bit in range(8) if at in middle else [at % 8]:
            damaged = bytearray(ORIGINAL)
            damaged[at] ^= 1 << bit
            path.write_bytes(damaged)
            async with opened(path) as store:
                found = [record for records in (await everything(store)).values() for record in records]
                report = await store.scan()
            lost = [record for record in sound if record not in found]
            assert all(record in sound for record in found), (at, bit)
            assert len(found) + len(lost) == len(sound), (at, bit)
            assert len(lost) == (ORIGINAL[at] != ord("\n") and at >= len(HEADER)), (at, bit)
            assert report.has_anomalies, (at, bit)
            if ORIGINAL[at] != ord("\n"):
                assert any(finding.severity is Severity.DAMAGE for finding in report.anomalies), (at, bit)
                where = max(start for start in starts if start <= at)
                assert any(finding.offset == where for finding in report.anomalies), (at, bit)


@pytest.mark.parametrize(
    "legacy", [b'{"kind":"event","timestamp":1}\n', b'{"kind":"audit","timestamp":NaN}\n']
)
async def test_a_damaged_frame_is_never_taken_for_a_legacy_line(path: Path, legacy: bytes) -> None:
    original = legacy + line(1)
    for at in range(len(legacy), len(original)):
        damaged = bytearray(original)
        damaged[at] ^= 1
        path.write_bytes(damaged)
        async with opened(path) as store:
            found = await everything(store)
        is_whole = at == len(original) - 1
        assert sum(map(len, found.values())) == 1 + is_whole, at


@pytest.mark.parametrize(
    "noise", [b"\0" * 40, b"\xff" * 7, b"\n\n\n", b'{"seq":', b',"crc":"00000000"}', b":,[{"]
)
async def test_i7_noise_between_two_records_costs_neither(path: Path, noise: bytes) -> None:
    path.write_bytes(HEADER + LINES[0][:-1] + noise + LINES[1])
    assert await numbers(path) == [1, 2]
    await recovered(path)
    assert await numbers(path) == [1, 2]
    assert await named(path) == []


async def test_a_fragment_glued_to_a_record_by_another_writer_costs_only_itself(path: Path) -> None:
    for cut in range(1, len(LINES[1])):
        path.write_bytes(HEADER + LINES[0] + LINES[1][:cut] + LINES[3])
        assert (await numbers(path))[-1] == 3, cut


async def test_zeros_and_fragments_between_two_lives_are_a_crash_and_within_one_life_damage(
    path: Path,
) -> None:
    other = line(1, incarnation="01JDGH5Q7W0000000000000002")
    for remains in (b"\0" * 512 + b"\n", line(3)[:60] + b"\n"):
        path.write_bytes(HEADER + line(1) + line(2) + remains + other)
        assert await named(path) in (["nul_tail"], ["torn_tail"])
        path.write_bytes(HEADER + line(1) + line(2) + remains + line(4))
        assert await named(path) == ["garbage"]
        await recovered(path)
        assert await named(path) == []


async def test_more_records_missing_than_the_damage_can_have_held_are_named_too(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + b"x\n" + line(9))
    assert await named(path) == ["garbage", "missing_records"]


async def test_a_damaged_last_record_leaves_a_loss_note_for_the_records_that_follow(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + line(2) + line(3).replace(b"ActorStarted", b"ActorStopped"))
    async with opened(path) as store:
        report = await store.recover(REPAIR)
        assert [(loss.first, loss.last, loss.cause) for loss in report.losses] == [(3, 3, "damaged")]
        await store.append([known(4), fresh(1)])
        assert not (await store.scan()).has_anomalies
    assert await numbers(path) == [1, 2, 4, 3]


async def test_a_damaged_header_is_replaced(path: Path) -> None:
    path.write_bytes(ORIGINAL.replace(b'"family":"all"', b'"family":"any"'))
    assert await named(path) == ["bad_header"]
    await recovered(path)
    assert await named(path) == []
    assert path.read_bytes().startswith(b'{"seq":0,"kind":"header"')
    assert await numbers(path) == [1, 2, 3]


async def test_lines_of_another_store_are_never_repaired(path: Path) -> None:
    other = codec.encode_header(store="another", family="all", segment=1)
    path.write_bytes(ORIGINAL + other + line(1, incarnation="01JDGH5Q7W0000000000000002"))
    assert await named(path) == ["foreign_file"]
    with pytest.raises(ForeignStoreError, match="two stores"):
        await recovered(path)
    path.write_bytes(ORIGINAL + HEADER + line(4))
    assert await named(path) == ["bad_header"]
    await recovered(path)
    assert await named(path) == []


async def test_the_same_identity_with_other_bytes_is_read_once_and_the_second_goes_to_quarantine(
    path: Path,
) -> None:
    path.write_bytes(HEADER + line(1) + line(2) + line(2, event_type="Other") + line(3))
    assert await named(path) == ["conflicting_record"]
    await recovered(path)
    assert await named(path) == []
    assert await numbers(path) == [1, 2, 3]
    assert b"Other" in entries_of(quarantine_of(path))[0]["content"]


async def test_a_byte_order_mark_goes_and_the_record_behind_it_stays(path: Path) -> None:
    for first in (line(1), b'{"kind":"event","timestamp":1}\n'):
        path.write_bytes(b"\xef\xbb\xbf" + first)
        assert await named(path) == ["bom"]
        assert len(await numbers(path)) == 1
        await recovered(path)
        assert await named(path) == []
        assert path.read_bytes().startswith(first)


async def test_records_that_lost_their_line_end_are_two_records(path: Path) -> None:
    path.write_bytes(HEADER + line(1)[:-1] + line(2)[:-1] + line(3))
    assert await numbers(path) == [1, 2, 3]
    assert await named(path) == ["missing_newline"]
    await recovered(path)
    assert path.read_bytes().startswith(HEADER + line(1) + line(2) + line(3))


async def test_a_report_holds_a_thousand_findings_and_counts_all(path: Path) -> None:
    path.write_bytes(HEADER + line(1) + b"rubbish\n" * 1500)
    async with opened(path) as store:
        report = await store.scan()
    assert len(report.anomalies) == 1000
    assert sum(report.counts.values()) == 1500


@pytest.mark.parametrize("config", [REPAIR, QUARANTINE])
async def test_i4_a_report_says_where_removed_bytes_lie(
    path: Path, config: PersistenceRecoveryConfig
) -> None:
    path.write_bytes(HEADER + line(1) + b"rubbish\n" + line(2))
    report = await recovered(path, config)
    assert report.quarantine == str(quarantine_of(path))
    assert [entry["content"] for entry in entries_of(Path(report.quarantine))] == [b"rubbish\n"]
    elsewhere = path.parent / "elsewhere"
    path.write_bytes(HEADER + line(1) + b"rubbish\n" + line(2))
    report = await recovered(path, PersistenceRecoveryConfig(config.mode, str(elsewhere)))
    assert report.quarantine == str(elsewhere)
    assert len(entries_of(elsewhere)) == 1


async def test_a_report_of_what_removed_nothing_names_no_quarantine(path: Path) -> None:
    path.write_bytes(HEADER + line(1)[:-1])
    report = await recovered(path)
    assert (report.repaired_files, report.quarantine) == ((str(path),), "")
    assert (await recovered(path)).quarantine == ""


@pytest.mark.parametrize("mode", ["ignore", "repair", "quarantine", "rebuild"])
async def test_i4_a_mode_given_as_its_word_does_that_and_no_more(path: Path, mode: str) -> None:
    path.write_bytes(HEADER + line(1) + b"rubbish\n" + line(2))
    before = path.read_bytes()
    async with opened(path) as store:
        config = PersistenceRecoveryConfig(mode)  # type: ignore[arg-type]  # what untyped callers do
        await store.recover(config, depth="full")  # type: ignore[arg-type]
        assert (path.read_bytes() == before) is (mode == "ignore")
        assert (await store.scan("tail")).depth is ScanDepth.TAIL  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="one of tail, footers, full"):
            await store.scan("deep")  # type: ignore[arg-type]
