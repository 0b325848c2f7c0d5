"""What a failure leads to, by tables and at random: the pure half of supervision."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from papyra import Backoff, RestartScope, RestartType, Strategy, SupervisionPolicy, SupervisorDecision
from papyra.supervision import decide, goes_on, restarts_with

STOP, RESTART, RESUME, ESCALATE = Strategy.STOP, Strategy.RESTART, Strategy.RESUME, Strategy.ESCALATE
ERRORS = (KeyError, IndexError, LookupError, ValueError, UnicodeError, KeyboardInterrupt, RuntimeError)
POLICIES = st.builds(
    SupervisionPolicy,
    st.sampled_from(Strategy),
    st.integers(0, 4),
    decisions=st.dictionaries(st.sampled_from((BaseException, *ERRORS)), st.sampled_from(Strategy)),
    restart=st.sampled_from(RestartType),
    when_exhausted=st.sampled_from((STOP, ESCALATE)),
)


@pytest.mark.parametrize(
    ("strategy", "restart", "exhausted", "recent", "answer", "may_resume", "expected"),
    [
        (STOP, "transient", STOP, 0, None, True, "stop"),
        (RESTART, "transient", STOP, 0, None, True, "restart"),
        (RESTART, "permanent", STOP, 0, None, False, "restart"),
        (RESTART, "temporary", STOP, 0, None, True, "stop"),
        (RESTART, "temporary", ESCALATE, 9, None, True, "stop"),
        (RESTART, "transient", STOP, 3, None, True, "stop"),
        (RESTART, "transient", ESCALATE, 3, None, True, "escalate"),
        (RESTART, "permanent", ESCALATE, 3, None, False, "escalate"),
        (RESUME, "transient", STOP, 3, None, True, "resume"),
        (RESUME, "transient", ESCALATE, 0, None, False, "stop"),
        (ESCALATE, "temporary", STOP, 0, None, True, "escalate"),
        (STOP, "transient", STOP, 0, "restart", True, "restart"),
        (STOP, "temporary", STOP, 0, "restart", True, "stop"),
        (STOP, "transient", ESCALATE, 3, "restart", True, "escalate"),
        (RESTART, "transient", STOP, 3, "ignore", True, "ignore"),
        (RESTART, "transient", STOP, 0, "resume", False, "stop"),
        (RESTART, "transient", STOP, 0, "escalate", True, "escalate"),
    ],
)
def test_a_failure_leads_to_what_the_table_says(  # noqa: PLR0913  # a row of the table
    strategy: Strategy,
    restart: str,
    exhausted: Strategy,
    recent: int,
    answer: str | None,
    *,
    may_resume: bool,
    expected: str,
) -> None:
    policy = SupervisionPolicy(strategy, 3, restart=RestartType(restart), when_exhausted=exhausted)
    said = None if answer is None else SupervisorDecision(answer)
    verdict = decide(policy, recent, answer=said, may_resume=may_resume, error=ValueError())
    assert verdict.decision == expected
    assert goes_on(verdict) is (expected in {"restart", "resume", "ignore"})


@given(
    policy=POLICIES,
    recent=st.integers(0, 6),
    answer=st.one_of(st.none(), st.sampled_from(SupervisorDecision)),
    may_resume=st.booleans(),
    error=st.sampled_from(ERRORS),
)
def test_no_decision_breaks_a_limit_a_type_or_what_never_started(
    policy: SupervisionPolicy,
    recent: int,
    answer: SupervisorDecision | None,
    *,
    may_resume: bool,
    error: type[BaseException],
) -> None:
    verdict = decide(policy, recent, answer=answer, may_resume=may_resume, error=error())
    is_restart = verdict.decision is SupervisorDecision.RESTART
    assert verdict.restart == recent + is_restart
    if is_restart:
        assert recent < policy.max_restarts
        assert policy.restart is not RestartType.TEMPORARY
    if verdict.decision in {SupervisorDecision.IGNORE, SupervisorDecision.RESUME}:
        assert may_resume
    if verdict.is_over_limit:
        assert recent >= policy.max_restarts
        assert verdict.decision.value == policy.when_exhausted.value
    assert verdict.is_by_parent is (answer is not None)


@given(policy=POLICIES, error=st.sampled_from(ERRORS))
def test_the_nearest_class_of_an_exception_decides(
    policy: SupervisionPolicy, error: type[BaseException]
) -> None:
    fitting = [cls for cls in policy.decisions if issubclass(error, cls)]
    chosen = policy.strategy_for(error())
    if not fitting:
        assert chosen is policy.strategy
    else:
        nearest = max(fitting, key=lambda cls: len(cls.__mro__))
        assert chosen is policy.decisions[nearest]


@given(
    scope=st.sampled_from(RestartScope),
    family=st.lists(st.integers(1, 50), unique=True, min_size=1),
    data=st.data(),
)
def test_who_restarts_with_one_that_failed_is_never_itself_and_the_youngest_is_first(
    scope: RestartScope, family: list[int], data: st.DataObject
) -> None:
    failed = data.draw(st.sampled_from(family))
    together = restarts_with(scope, failed, family)
    assert failed not in together
    assert together == sorted(set(together), reverse=True)
    expected = {
        RestartScope.ONE_FOR_ONE: set(),
        RestartScope.ONE_FOR_ALL: {each for each in family if each != failed},
        RestartScope.REST_FOR_ONE: {each for each in family if each > failed},
    }
    assert set(together) == expected[scope]


@given(
    first=st.floats(0, 10),
    more=st.floats(0, 1_000),
    jitter=st.floats(0, 1),
    failures=st.integers(1, 10_000),
    chance=st.floats(0, 1, exclude_max=True),
)
def test_a_pause_stays_within_its_bounds_and_never_shrinks_but_by_chance(
    first: float, more: float, jitter: float, failures: int, chance: float
) -> None:
    backoff = Backoff(first, first + more, jitter)
    longest = backoff.delay(failures, 0.0)
    assert longest <= backoff.delay(failures + 1, 0.0) <= backoff.last_seconds
    assert longest * (1 - jitter) <= backoff.delay(failures, chance) <= longest
