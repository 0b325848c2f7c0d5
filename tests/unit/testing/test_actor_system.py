"""The fixture `actor_system` fails a test that left something behind, and no other."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

INI = """[pytest]
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
filterwarnings = error
strict_markers = true
"""
HEAD = """
import asyncio
import pytest
from papyra import Actor, ActorSystem, ActorStopped, AskTimeout

class Desk(Actor):
    async def receive(self, message):
        match message:
            case "fail":
                raise ValueError("no stock")
            case asyncio.Event():
                await message.wait()
        return message
"""


def run(pytester: pytest.Pytester, body: str, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(HEAD + body)
    pytester.makeini(INI)
    return pytester.runpytest_inprocess(
        "-p", "papyra.testing.plugin", "-p", "no:django", "-p", "no:cacheprovider", *arguments
    )


def test_a_good_test_passes(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
async def test_it(actor_system):
    assert actor_system.system_id == "test"
    assert await actor_system.spawn(Desk).ask(1) == 1

async def test_a_message_that_nobody_waits_for_is_handled_before_the_end(actor_system):
    actor_system.spawn(Desk).tell(1)

async def test_an_actor_that_waits_for_messages_is_not_busy(actor_system):
    actor_system.spawn(Desk)
""",
    )
    result.assert_outcomes(passed=3)


def test_a_letter_that_was_not_announced_fails_the_test(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
async def test_it(actor_system):
    ref = actor_system.spawn(Desk, name="desk")
    with pytest.raises(ValueError):
        await ref.ask("fail")
    await actor_system.stop(ref)
    ref.tell("late")
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*unexpected dead letters: 1 handler_failed, 1 target_stopped where 0 were expected*",
            "*  handler_failed to /desk: 'fail' (ValueError: no stock)*",
            "*  target_stopped to /desk: 'late'*",
        ]
    )


@pytest.mark.parametrize(
    "expected", ["expected=2", "2", "expected=['target_stopped', 'handler_failed']", "expected=ALL"]
)
def test_letters_may_be_announced_by_number_or_reason(pytester: pytest.Pytester, expected: str) -> None:
    result = run(
        pytester,
        f"""
from papyra.messages import DeadLetterReason
ALL = (DeadLetterReason.HANDLER_FAILED, DeadLetterReason.TARGET_STOPPED)

@pytest.mark.dead_letters({expected})
async def test_it(actor_system):
    ref = actor_system.spawn(Desk)
    with pytest.raises(ValueError):
        await ref.ask("fail")
    await actor_system.stop(ref)
    ref.tell("late")
""",
    )
    result.assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("expected", "complaint"),
    [
        ("1", "*unexpected dead letters: 2 target_stopped where 1 were expected*"),
        ("3", "*dead letters that were expected and did not come: 1 letters*"),
        ("['target_stopped']", "*unexpected dead letters: 1 target_stopped*"),
        ("['target_stopped', 'overflow']", "*did not come: 1 overflow*"),
    ],
)
def test_letters_other_than_announced_fail_the_test(
    pytester: pytest.Pytester, expected: str, complaint: str
) -> None:
    result = run(
        pytester,
        f"""
@pytest.mark.dead_letters(expected={expected})
async def test_it(actor_system):
    ref = actor_system.spawn(Desk)
    await actor_system.stop(ref)
    ref.tell("late")
    ref.tell("later")
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines([complaint])


@pytest.mark.parametrize("expected", ["True", "-1", "['nonsense']", "'handler_failed'", "1, 2"])
def test_a_senseless_announcement_says_so(pytester: pytest.Pytester, expected: str) -> None:
    result = run(
        pytester,
        f"""
@pytest.mark.dead_letters({expected})
async def test_it(actor_system):
    pass
""",
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*@pytest.mark.dead_letters: *"])


def test_an_actor_that_never_ends_fails_the_test_and_names_itself(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
async def test_it(actor_system):
    parent = actor_system.spawn(Desk, name="parent")
    child = actor_system.spawn(Desk, name="child", parent=parent)
    child.tell(asyncio.Event())
    child.tell("behind it")
    child.tell("behind that")
    actor_system.spawn(Desk, name="other").tell(asyncio.Event())
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*still busy when the test ended: /parent/child had 2 more in its mailbox*",
            "*still busy when the test ended: /other did not come to its end*",
        ]
    )
    result.stdout.no_fnmatch_line("*unexpected dead letters*")


def test_an_actor_that_never_starts_or_never_stops_fails_the_test(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
class Starting(Actor):
    async def on_start(self):
        await asyncio.Event().wait()

class Stopping(Actor):
    async def on_stop(self):
        await asyncio.Event().wait()

async def test_it(actor_system):
    actor_system.spawn(Starting, name="starting")
    actor_system.spawn(Stopping, name="stopping")
""",
    )
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        ["*/starting did not come to its end*", "*/stopping did not come to its end*"]
    )


def test_a_failing_test_fails_as_itself(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
async def test_it(actor_system):
    assert await actor_system.spawn(Desk).ask(1) == 2
""",
    )
    result.assert_outcomes(failed=1)


def test_a_test_may_close_the_system_itself(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
async def test_it(actor_system, history):
    ref = actor_system.spawn(Desk, name="desk")
    await ref.ask(1)
    await actor_system.aclose()
    assert (await history.events())[-1].event_type == "SystemStopped"

@pytest.mark.dead_letters(["shutdown"])
async def test_what_that_leaves_has_to_be_announced(actor_system):
    ref = actor_system.spawn(Desk)
    await actor_system.aclose()
    ref.tell("late")
""",
    )
    result.assert_outcomes(passed=2)


def test_options_of_the_system_may_be_marked_on_test_and_class(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.retention import RetentionPolicy
STORE = InMemoryPersistence(RetentionPolicy(max_records=3))

@pytest.mark.actor_system(system_id="orders", ask_timeout=0.001)
class TestOptions:
    @pytest.mark.actor_system(system_id="desk")
    @pytest.mark.dead_letters(["late_reply"])
    async def test_the_nearest_goes_first(self, actor_system):
        assert actor_system.system_id == "desk"
        hold = asyncio.Event()
        with pytest.raises(AskTimeout):
            await actor_system.spawn(Desk).ask(hold)
        hold.set()

    @pytest.mark.actor_system(persistence=STORE)
    async def test_a_backend_of_ones_own(self, actor_system, history, faults):
        assert faults.inner is STORE
        assert actor_system.persistence is faults
        for _ in range(5):
            actor_system.spawn(Desk)
        assert len(await history.events()) == 3
""",
    )
    result.assert_outcomes(passed=2)


def test_markers_are_known_and_a_wrong_option_is_an_error(pytester: pytest.Pytester) -> None:
    result = run(
        pytester,
        """
@pytest.mark.actor_system(nonsense=1)
async def test_it(actor_system):
    pass
""",
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*unexpected keyword argument 'nonsense'*"])
    listed = run(pytester, "", "--markers")
    listed.stdout.fnmatch_lines(["*@pytest.mark.actor_system(*", "*@pytest.mark.dead_letters(*"])
