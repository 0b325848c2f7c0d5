"""The pure halves: what a failure leads to, which letters of a storm are kept, who lives below whom."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import papyra
from papyra import Strategy, SupervisionPolicy, SupervisorDecision
from papyra import supervisor as published_supervisor
from papyra._runtime.storms import Group, StormGuard
from papyra._runtime.texts import MAX_ERROR, MAX_TRACEBACK, error_text, error_texts
from papyra._runtime.tree import Tree, path_below
from papyra.exceptions import NameTaken
from papyra.supervision import RestartHistory, decide

POLICIES = st.builds(
    SupervisionPolicy, st.sampled_from(Strategy), st.integers(0, 5), st.floats(0.1, 100, allow_nan=False)
)
ANSWERS = st.one_of(st.none(), st.sampled_from(SupervisorDecision))


@given(policy=POLICIES, answer=ANSWERS, recent=st.integers(0, 10), may_resume=st.booleans())
def test_a_restart_is_never_beyond_the_limit_whoever_decides(
    policy: SupervisionPolicy, answer: SupervisorDecision | None, recent: int, *, may_resume: bool
) -> None:
    verdict = decide(policy, recent, answer=answer, may_resume=may_resume)
    if verdict.decision is SupervisorDecision.RESTART:
        assert verdict.restart == recent + 1 <= policy.max_restarts
    else:
        assert verdict.restart == recent
    assert verdict.limit == policy.max_restarts
    assert verdict.is_by_parent is (answer is not None)
    assert verdict.is_over_limit <= (verdict.decision is SupervisorDecision.STOP)
    assert (verdict.decision is SupervisorDecision.IGNORE) <= may_resume


@given(policy=POLICIES, gaps=st.lists(st.floats(0, 50, allow_nan=False), max_size=40))
def test_no_window_ever_holds_more_restarts_than_the_limit(
    policy: SupervisionPolicy, gaps: list[float]
) -> None:
    history, restarts, now = RestartHistory(), [], 0.0
    for gap in gaps:
        now += gap
        recent = history.recent(now, policy.within_seconds)
        verdict = decide(policy, recent, answer=SupervisorDecision.RESTART, may_resume=True)
        if verdict.decision is SupervisorDecision.RESTART:
            history.add(now)
            restarts.append(now)
    for end in restarts:
        assert sum(0 <= end - each <= policy.within_seconds for each in restarts) <= policy.max_restarts


@given(
    letters=st.lists(st.sampled_from("abc"), max_size=60),
    in_full=st.integers(1, 5),
    closes=st.sets(st.integers(0, 59)),
)
def test_a_storm_is_counted_exactly(letters: list[str], in_full: int, closes: set[int]) -> None:
    guard, admitted, counted = StormGuard(in_full), 0, 0
    for number, name in enumerate(letters):
        admitted += guard.admit(Group(name, f"/{name}", "overflow"), float(number))
        if number in closes:
            counted += sum(summary.count for summary in guard.close_window())
    last = guard.close_window()
    assert admitted + counted + sum(summary.count for summary in last) == len(letters)
    assert guard.close_window() == []
    for summary in last:
        assert summary.first <= summary.last
        assert summary.to_payload()["target_path"] == f"/{summary.group.target}"


class Branch:
    def __init__(self, number: int, name: str | None = None, parent: Branch | None = None) -> None:
        self.id = number
        self.name = name
        self.parent = parent
        self.path: str = path_below("" if parent is None else parent.path, number, name)
        self.children: dict[int, Branch] | None = None


def test_a_tree_finds_what_is_in_it_and_nothing_else() -> None:
    tree: Tree[Branch] = Tree()
    desk = Branch(1, "desk")
    stock, unnamed = Branch(2, "stock", desk), Branch(3, None, desk)
    for branch in (desk, stock, unnamed):
        tree.attach(branch)
        assert tree.find(branch.path) is branch
    assert (tree.find("/stock"), tree.find("/$3"), tree.find("/desk/$9")) == (None, None, None)
    assert tree.roots() == [desk]
    assert tree.top_names() == ["desk"]
    assert tree.deepest_first() == [unnamed, stock, desk]
    with pytest.raises(NameTaken):
        tree.attach(Branch(4, "stock", desk))
    tree.free_name(stock)
    tree.attach(again := Branch(5, "stock", desk))
    tree.detach(stock)
    assert tree.find("/desk/stock") is again
    for branch in (again, unnamed):
        tree.detach(branch)
    assert desk.children is None
    assert len(tree) == tree.name_count == 1


def test_errors_read_well_and_stay_short() -> None:
    class OurError(Exception):
        pass

    def deep(level: int) -> None:
        if level:
            deep(level - 1)
        raise OurError("x" * 10_000)

    with pytest.raises(OurError) as raised:
        deep(300)
    text, trace = error_texts(raised.value)
    assert text == error_text(raised.value)
    assert text.startswith("test_errors_read_well_and_stay_short.<locals>.OurError: xxx")
    assert len(text) < MAX_ERROR + 50
    assert len(trace) <= MAX_TRACEBACK + 1
    assert error_text(KeyError("key")) == "KeyError: 'key'"
    assert error_text(ValueError()) == "ValueError"


def test_the_public_names_are_there_and_no_others() -> None:
    for name in papyra.__all__:
        assert getattr(papyra, name) is not None
    assert set(papyra.__all__) <= set(dir(papyra))
    assert published_supervisor.SupervisorDecision is SupervisorDecision
    with pytest.raises(AttributeError, match="no attribute 'monkay'"):
        _ = papyra.monkay


def test_p6_a_cut_traceback_begins_with_a_whole_line_so_that_no_secret_loses_its_key() -> None:
    lines = [f"{'.' * n} password=hunter{n}" for n in range(200)]
    _, trace = error_texts(ValueError("\n".join(lines)))
    cut, first, *_ = trace.splitlines()
    assert cut == "…"
    assert first in lines
