"""A scan that judges many lines at once says, to the last byte, what one says that looks at each line."""

from __future__ import annotations

import json
from dataclasses import astuple
from typing import TYPE_CHECKING, Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra.exceptions import RecordDecodeError
from papyra.persistence import codec
from papyra.persistence._files import lines, many
from papyra.persistence._files.check import FileCheck
from papyra.persistence._files.ledger import Ledger
from papyra.persistence._files.lines import Block, LineReader, Piece
from papyra.persistence._files.tally import Tally
from papyra.persistence.models import EventType, RecordKind
from tests.unit.files.stores import HEADER, line, note
from tests.unit.files.test_properties import LEGACY, LIVES, NOISE, STEPS, damage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOSS = {"incarnation": LIVES[0], "kind": "event", "first": 9, "last": 11, "cause": "damaged"}
SIZES = st.tuples(st.sampled_from([64, 700, 4096, 10**6]), st.integers(1, 5))


def sealed(checked: bytes) -> bytes:
    """Frame what no encoder of ours writes, with a sound checksum."""
    return checked + b',"crc":"%08x"}\n' % crc32(checked)


def told(seq: int, type_: EventType, payload: dict[str, Any], life: str = LIVES[0]) -> bytes:
    """Return an event that says something about its system's life."""
    return note(seq, payload, type_=type_.value, incarnation=life)


def named(seq: int, rest: str, *, kind: str = "event", life: str = LIVES[0]) -> bytes:
    """Return a line with this identity and ``rest``."""
    return sealed(f'{{"seq":{seq},"kind":"{kind}","incarnation":"{life}"{rest}'.encode())


MORE = f'{{"seq":5,"kind":"event","incarnation":"{LIVES[0]}","timestamp":1'
ODD = [
    named(4, ',"timestamp":1.5,"payload":[{"a":1'),  # goes on in the next
    named(5, ',"timestamp":1.5}],"a":1'),
    named(4, f',"timestamp":2.5}} {MORE}'),  # two values in one line
    named(4, f',"timestamp":2.5}}{MORE}'),
    named(4, ',"timestamp":1e999'),
    named(4, f',"timestamp":{"9" * 400}'),
    named(4, ',"timestamp":"soon"'),
    named(4, ',"payload":"\\ud800","timestamp":3'),
    named(4, f',"timestamp":4.5,"payload":{"[" * 5000}{"]" * 5000}'),
    named(4, ',"seq":3,"timestamp":4.5'),
    named(4, ',"kind":"audit","timestamp":4.5'),
    named(0, ',"timestamp":4.5'),
    named(2**63, ',"timestamp":4.5'),
    named(4, ',"timestamp":4.5', kind="sample"),
    named(4, ',"timestamp":4.5', life=""),
    named(4, ',"timestamp":4.5').replace(b"{", b"{ ", 1),
    sealed(named(4, ',"timestamp":4.5')[:-19].replace(b"{", b"{ ", 1)),
    sealed(b'{"seq":4,"kind":"event","incarnation":"' + LIVES[0].encode() + b'","payload":"\xff"'),
    sealed(b'{"seq":4,"kind":"event","incarnation":"' + LIVES[0].encode() + b'","payload":"\xc3\xa9"'),
    sealed(b'{"seq":4,"kind":"event","timestamp":1'),
    HEADER,
    LEGACY + b"\n",
    codec.encode_header(store="another", family="all", segment=1),
    Tally().footer(300, "0" * 64, removed=0, sealed_at=5.0),
]
NEWER = sealed(b'{"seq":0,"kind":"header","format":99')
LIFE = {"node": {"host": "elsewhere", "pid": 1, "boot": "x", "started": 1.0}}
TELLING = [
    told(4, EventType.SYSTEM_STARTED, LIFE),
    told(4, EventType.RECORDS_LOST, LOSS),
    told(4, EventType.SYSTEM_STOPPED, {}),
    told(4, EventType.INCARNATION_LOST, {"closes": LIVES[1]}),
]
SOUND = [
    line(seq, kind=kind, incarnation=life) for seq in range(1, 9) for life in LIVES for kind in RecordKind
]

BEFORE = (
    HEADER + line(1, incarnation=LIVES[0]) + line(7, incarnation=LIVES[0]) + line(3, incarnation=LIVES[1])
)
"""The file before one of a set, with numbers that the next may fill in."""


def plain(head: codec.Head | None) -> list[Any]:
    """Return what a head says, to compare with another's."""
    assert head is not None
    values = [getattr(head, name) for name in codec.Head.__struct_fields__]
    return [bytes(value) if isinstance(value, msgspec.Raw) else value for value in values]


def histories() -> st.SearchStrategy[bytes]:
    """Return histories that are nearly sound: many good neighbours, a few lines that are not."""
    neighbours = st.tuples(
        st.sampled_from(LIVES), st.sampled_from(list(RecordKind)), st.integers(1, 12), st.integers(1, 12)
    ).map(lambda run: b"".join(line(run[2] + n, incarnation=run[0], kind=run[1]) for n in range(run[3])))
    mixed = st.integers(1, len(SOUND)).map(lambda count: b"".join(SOUND[:count]))
    part = st.one_of(neighbours, neighbours, mixed, st.sampled_from([*ODD, *TELLING, NEWER]), NOISE)
    return st.lists(part, max_size=8).map(lambda parts: HEADER + b"".join(parts))


def judged(
    text: bytes, read: Callable[[LineReader], Any], *, is_set: bool = False, **options: Any
) -> dict[str, Any]:
    """Judge ``text``, in a set as the second of two files, and return all that anybody asks of it."""
    told_records: list[Any] = []

    def tell(part: Piece | Block) -> None:
        told_records.extend((*piece._replace(head=None), plain(piece.head)) for piece in part.pieces())

    ledger = Ledger(is_set=is_set)
    if is_set:
        FileCheck("before", ledger=ledger).feed(LineReader().pieces(source_of(BEFORE), len(BEFORE)))
    check, reader = FileCheck("x", tell, ledger=ledger), LineReader(**options)
    check.feed(read(reader))
    check.finish()
    history = check.history
    streams = [(life, kind.value) for life in (*LIVES, "x") for kind in RecordKind]
    return {
        "told": told_records,
        "anomalies": check.findings.anomalies,
        "counts": check.findings.counts,
        "removals": list(check.edits.removals()),
        "output": list(check.edits.output(len(text))),
        "records": check.records,
        "unordered": check.unordered,
        "samples": list(check.ledger.samples.items()),
        "header": check.header,
        "footer": check.footer and check.footer[1],
        "verdict": (check.newer, check.is_foreign, check.has_lost_header),
        "losses": check.ledger.losses(),
        "holes": history.holes(),
        "lives": [astuple(life) for life in history.open_incarnations(1e12, lambda _: True)],
        "ends": [(history.first_seq(*stream), history.last_seq(*stream)) for stream in streams],
        "checksums": [history.checksum(*stream, seq) for stream in streams for seq in range(30)],
        "reader": (reader.position, reader.is_framed),
    }


def source_of(text: bytes) -> Callable[[int, int], bytes]:
    return lambda length, offset: text[offset : offset + length]


def both(text: bytes, **options: Any) -> None:
    """Compare the two ways to read ``text``."""
    source, growing = source_of(text), options.pop("is_growing", False)
    many = judged(text, lambda r: r.blocks(source, len(text), is_growing=growing), **options)
    each = judged(text, lambda r: r.pieces(source, len(text), is_growing=growing), **options)
    for what, value in each.items():
        if what != "reader" or not each["verdict"][0]:  # nobody goes on behind a newer header
            assert many[what] == value, what


@pytest.fixture(autouse=True)
def _sizes() -> Iterator[None]:
    sizes = lines.READ_BYTES, lines.FEW_LINES
    yield
    lines.READ_BYTES, lines.FEW_LINES = sizes


@settings(max_examples=300, deadline=None)
@given(histories(), st.one_of(st.just([]), STEPS), SIZES, st.booleans(), st.booleans(), st.booleans())
def test_judging_many_lines_at_once_finds_exactly_what_judging_each_finds(
    text: bytes,
    steps: list[tuple[str, int, int, bytes]],
    sizes: tuple[int, int],
    is_growing: bool,  # noqa: FBT001
    is_framed: bool,  # noqa: FBT001
    is_set: bool,  # noqa: FBT001
) -> None:
    lines.READ_BYTES, lines.FEW_LINES = sizes
    both(damage(text, steps), is_growing=is_growing, is_framed=is_framed, is_set=is_set)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([*SOUND, *ODD]), min_size=1, max_size=6))
def test_heads_read_at_once_are_the_heads_read_one_by_one(texts: list[bytes]) -> None:
    whole = b"".join(texts)
    block = Block.of(0, whole)
    if block is not None:
        for piece in block.pieces():
            assert whole[piece.offset : piece.end] == piece.text
            assert plain(piece.head) == plain(codec.decode_head(piece.text))


@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_no_odd_line_hides_among_sound_ones(odd: bytes) -> None:
    around = [line(seq, incarnation=LIVES[0]) for seq in range(1, 7)]
    for follower in (b"", *ODD):
        both(HEADER + b"".join([*around[:3], odd, follower, *around[3:]]))


@pytest.mark.parametrize("at", range(0, 1200, 7))
def test_no_flipped_bit_is_overlooked(at: int) -> None:
    text = bytearray(HEADER + b"".join(line(seq) for seq in range(1, 9)))
    text[at % len(text)] ^= 1 << (at % 8)
    both(bytes(text))


def run(first: int, last: int, life: str = LIVES[0]) -> bytes:
    """Return neighbouring events."""
    return b"".join(line(seq, incarnation=life) for seq in range(first, last + 1))


@pytest.mark.parametrize(
    "text",
    [
        run(1, 3) + told(4, EventType.SYSTEM_STARTED, LIFE) + run(5, 20),
        told(1, EventType.SYSTEM_STARTED, LIFE)
        + run(2, 11)
        + told(12, EventType.SYSTEM_STOPPED, {})
        + run(13, 20),
        run(1, 3) + told(4, EventType.RECORDS_LOST, LOSS) + run(5, 8) + run(12, 20),
        run(1, 3) + line(4, incarnation=LIVES[0])[:60] + b"\n" + run(4, 20),
        run(1, 3) + line(4, incarnation=LIVES[1])[:60] + b"\n" + run(4, 20),
        run(1, 3) + b"rotten\n" + run(4, 11) + run(13, 20),
        run(1, 3) + b"rotten\n" + run(5, 11) + run(13, 20),
        LEGACY + b"\n" + run(1, 8) + LEGACY + b"\n",
        run(1, 8) + run(1, 12) + run(15, 20) + run(13, 15),
        b"".join(
            [run(1, 1, LIVES[1]), run(1, 1), run(2, 3, LIVES[1]), line(9)[:60], b"\n", run(4, 9, LIVES[1])]
        ),
        run(1, 8) + run(1, 5, LIVES[1]) + line(20)[:50] + b"\n" + run(6, 9, LIVES[1]) + run(9, 20),
    ],
    ids=range(11),
)
@pytest.mark.parametrize("few", [1, 2, 3, 4, 64])
def test_what_came_before_a_block_and_what_it_tells_count_as_ever(text: bytes, few: int) -> None:
    lines.FEW_LINES = few
    both(HEADER + text)
    both(text)


def test_lines_of_a_sound_file_are_judged_together() -> None:
    text = HEADER + b"".join(SOUND)
    parts = list(LineReader().blocks(source_of(text), len(text)))
    assert [type(part) for part in parts] == [Piece, Block]
    assert isinstance(parts[1], Block)
    assert [piece.text + b"\n" for piece in parts[1].pieces()] == SOUND
    both(text * 2)


def test_one_bad_line_costs_its_neighbours_alone_the_look_at_each() -> None:
    lines.FEW_LINES = 4
    bad = SOUND[9].replace(b"0", b"1", 1)
    text = HEADER + b"".join([*SOUND[:9], bad, *SOUND[10:20]])
    parts = list(LineReader().blocks(source_of(text), len(text)))
    assert sum(isinstance(part, Piece) for part in parts) == 1 + 4
    both(text)


def test_the_kinds_that_are_judged_together_are_all_kinds_there_are() -> None:
    for kind in RecordKind:
        assert many.decode_heads(line(1, kind=kind)) is not None
    assert many.decode_heads(named(1, ',"timestamp":1', kind="sample")) is None


@pytest.mark.parametrize("number", ["1e999", "-1e999", "9" * 400, "NaN", "Infinity"])
def test_no_time_without_an_end_is_read_with_others(number: str) -> None:
    text = named(1, f',"timestamp":{number}')
    assert many.decode_heads(text) is None
    with pytest.raises(RecordDecodeError):
        codec.decode_head(text[:-1])


def test_a_line_that_goes_on_in_the_next_is_not_taken_for_two() -> None:
    first, second = ODD[0], ODD[1]
    assert json.loads(b"[" + first[:-1] + b"," + second[:-1] + b"]")  # as one array they would do
    assert Block.of(0, first + second) is None
