from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra.node import Node
from papyra.persistence.codec import Head
from papyra.persistence.integrity import HistoryCheck, Placement
from papyra.persistence.models import LossNote

if TYPE_CHECKING:
    from collections.abc import Iterable

NODE = Node(host="here", pid=7, boot_id="boot", started=1)


def head(
    seq: int,
    *,
    kind: str = "event",
    life: str = "a",
    at: float = 0.0,
    type_: str = "",
    payload: object = None,
) -> Head:
    return Head(seq, kind, life, at, type_, msgspec.Raw(msgspec.json.encode(payload)))


def checked(seqs: Iterable[int], check: HistoryCheck | None = None) -> HistoryCheck:
    check = check or HistoryCheck()
    for seq in seqs:
        check.add(head(seq), checksum=f"{seq:08x}")
    return check


def lost(seq: int, note: LossNote, type_: str = "RecordsLost") -> Head:
    return head(seq, type_=type_, payload=note.to_payload(), life="w")


def holes(check: HistoryCheck) -> list[tuple[int, int]]:
    return [(hole.first, hole.last) for hole in check.holes()]


@pytest.mark.parametrize(
    ("seqs", "expected"),
    [
        ([], []),
        ([7, 8, 9], []),
        ([1, 3, 4], [(2, 2)]),
        ([1, 3, 2, 4], []),
        ([5, 3], [(4, 4)]),
        ([9, 7, 5, 6, 8], []),
        ([1, 10, 5, 20], [(2, 4), (6, 9), (11, 19)]),
    ],
)
def test_a_missing_prefix_is_no_hole_and_any_other_gap_is(
    seqs: list[int], expected: list[tuple[int, int]]
) -> None:
    assert holes(checked(seqs)) == expected


@given(st.lists(st.integers(1, 30), max_size=40))
def test_placements_and_holes_are_what_a_set_says(seqs: list[int]) -> None:
    check, seen = HistoryCheck(), set[int]()
    for seq in seqs:
        placement = check.add(head(seq), checksum=f"{seq:08x}")
        if seq in seen:
            assert placement is Placement.DUPLICATE
        else:
            assert placement is (Placement.OUT_OF_ORDER if seen and seq < max(seen) else Placement.NEXT)
        seen.add(seq)
    missing = set(range(min(seen, default=0), max(seen, default=0))) - seen
    assert {seq for first, last in holes(check) for seq in range(first, last + 1)} == missing
    assert check.first_seq("a", "event") == min(seen, default=0)
    assert check.last_seq("a", "event") == max(seen, default=0)
    assert all(
        check.checksum("a", "event", seq) == (f"{seq:08x}" if seq in seen else None) for seq in range(32)
    )


def test_the_same_identity_with_another_checksum_is_a_conflict() -> None:
    check = checked([1, 2, 3])
    assert check.add(head(2), checksum="00000002") is Placement.DUPLICATE
    assert check.add(head(2), checksum="ffffffff") is Placement.CONFLICT


def test_streams_are_told_apart_by_incarnation_and_kind() -> None:
    check = checked([1, 2])
    for other in (head(9, kind="audit"), head(5, life="b"), head(9, kind="weather")):
        assert check.add(other, checksum="00000000") is Placement.NEXT
    assert holes(check) == []


def test_a_record_without_identity_has_no_place() -> None:
    check = HistoryCheck()
    for _ in range(2):
        assert check.add(head(0, life=""), checksum="00000000") is Placement.NEXT
    assert holes(check) == []


@pytest.mark.parametrize("type_", ["RecordsLost", "RecordsDropped"])
def test_a_loss_note_covers_its_range_whether_it_comes_before_or_after(type_: str) -> None:
    for order in (0, 1):
        check = HistoryCheck()
        if order:
            checked([1, 10], check)
        check.add(lost(1, LossNote("a", "event", 3, 5, "x"), type_), checksum="00000000")
        check.add(lost(2, LossNote("a", "event", 8, 10**12, "x"), type_), checksum="00000000")
        check.add(lost(3, LossNote("b", "event", 1, 9, "x"), type_), checksum="00000000")
        if not order:
            checked([1, 10], check)
        assert holes(check) == [(2, 2), (6, 7)]
        assert check.is_noted("a", "event", 4)
        assert not check.is_noted("a", "event", 6)


@pytest.mark.parametrize(
    "payload", [None, 3, [], {}, {"incarnation": "a"}, {"incarnation": 1, "kind": "event"}]
)
def test_a_note_that_says_nothing_explains_nothing(payload: object) -> None:
    check = checked([1, 3])
    check.add(head(1, life="w", type_="RecordsLost", payload=payload), checksum="00000000")
    assert holes(check) == [(2, 2)]


def test_below_what_retention_kept_there_are_no_holes() -> None:
    assert holes(checked([1, 5, 9, 12], HistoryCheck({("a", "event"): 8}))) == [(8, 8), (10, 11)]


def test_leading_loss_notes_that_retention_carried_open_no_hole() -> None:
    check = HistoryCheck()
    for seq in (1, 2, 5):
        check.add(lost(seq, LossNote("a", "event", 3, 3, "x")), checksum="00000000")
    check.add(head(20, life="w"), checksum="00000000")
    check.add(head(22, life="w"), checksum="00000000")
    assert holes(check) == [(21, 21)]


def started(life: str, at: float, node: Node | None = NODE) -> Head:
    payload = {"node": node.to_dict()} if node else {"node": "unreadable"}
    return head(1, life=life, at=at, type_="SystemStarted", payload=payload)


def test_a_life_without_end_is_lost_when_its_process_is_gone_or_it_is_silent() -> None:
    check = HistoryCheck()
    for life, at, node in (
        ("gone", 999, NODE),
        ("silent", 700, None),
        ("heard", 700, None),
        ("ended", 1, None),
    ):
        check.add(started(life, at, node), checksum="00000000")
    check.add(head(1, kind="audit", life="heard", at=900), checksum="00000000")
    check.add(head(2, life="ended", at=2, type_="SystemStopped"), checksum="00000000")
    found = check.open_incarnations(1000.0, lambda node: node == NODE)
    assert [(life.incarnation, life.last_seen, life.node) for life in found] == [
        ("gone", 999, NODE),
        ("silent", 700, None),
    ]


def test_a_living_process_of_this_host_is_not_lost_however_silent() -> None:
    check = HistoryCheck()
    check.add(started("quiet", 0.0), checksum="00000000")
    here = Node(host="here", pid=8, boot_id="boot", started=2)
    assert check.open_incarnations(10_000.0, lambda _: False, here=here) == []
    assert len(check.open_incarnations(10_000.0, lambda _: True, here=here)) == 1
    assert len(check.open_incarnations(10_000.0, lambda _: False)) == 1


@pytest.mark.parametrize(
    "here",
    [
        Node(host="here", pid=8, boot_id="boot", started=2, machine="another"),
        Node(host="here", pid=8, boot_id="boot", started=2, pid_namespace="another"),
        Node(host="here", pid=8, boot_id="another", started=2),
        Node(host="another", pid=8, boot_id="boot", started=2),
    ],
)
def test_a_silent_process_that_cannot_be_asked_is_lost(here: Node) -> None:
    check = HistoryCheck()
    check.add(started("quiet", 0.0), checksum="00000000")
    assert len(check.open_incarnations(10_000.0, lambda _: False, here=here)) == 1


def test_a_life_that_another_closed_is_not_open_whatever_comes_first() -> None:
    closed = head(9, life="w", type_="IncarnationLost", payload={"closes": "quiet", "last_seen": 0.0})
    for records in ([started("quiet", 0.0), closed], [closed, started("quiet", 0.0)]):
        check = HistoryCheck()
        for record in records:
            check.add(record, checksum="00000000")
        assert check.open_incarnations(10_000.0, lambda _: True) == []


def test_memory_that_was_freed_reads_as_absent_and_the_end_stays_known() -> None:
    check = checked(range(1, 100))
    check.forget_before(("a", "event"), 50)
    check.forget_before(("b", "event"), 50)
    assert check.checksum("a", "event", 49) is None
    assert check.checksum("a", "event", 50) == f"{50:08x}"
    assert check.last_seq("a", "event") == 99
