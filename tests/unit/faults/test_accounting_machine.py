"""R1, R2 and the history under any schedule: crashes, stops, cancellations, a failing store, a seeded loop.

After every single callback of the loop the accounting balances and its terms are what the actors themselves
have seen; in the end every parcel has one outcome, every actor one end, and every prefix of the stored
history folds into the tree that lived then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from papyra import ActorSystem, MailboxFull, Strategy, SupervisionPolicy
from papyra.events import ActorCrashed
from papyra.exceptions import StoreUnavailableError
from papyra.history import running_at
from papyra.messages import DeadLetterReason, ProxyCall
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.persistence.models import EventType, PersistedEvent
from papyra.persistence.retention import UNLIMITED
from papyra.testing import FaultyBackend
from tests.unit.faults.plans import FEATURES, TARGETS, TURNS, has, orders, plans
from tests.unit.faults.seededloop import LoopClock, SeededLoop
from tests.unit.faults.tree import Book, Order, Parcel, Plan, ask, send, spawn

if TYPE_CHECKING:
    from collections.abc import Callable

ACTOR_EVENTS = {
    EventType.ACTOR_STARTED,
    EventType.ACTOR_RESTARTED,
    EventType.ACTOR_CRASHED,
    EventType.ACTOR_ESCALATED,
    EventType.ACTOR_STOPPED,
}
HANDLED = {DeadLetterReason.HANDLER_FAILED, DeadLetterReason.LATE_REPLY}


def plainly(tell: Callable[[], object]) -> None:
    with contextlib.suppress(MailboxFull):  # which FAIL alone raises at the call
        tell()


class Tree(RuleBasedStateMachine):
    """Does anything to a system in any order, and looks after every callback."""

    @initialize(seed=st.integers(0, 2**32), window=st.sampled_from([1, 2, 4, 1_000]))
    def begin(self, seed: int, window: int) -> None:
        logging.disable(logging.CRITICAL)
        self.loop = SeededLoop(seed, window)
        self.troubles: list[object] = []
        self.loop.set_exception_handler(lambda _, context: self.troubles.append(context))
        self.runner = asyncio.Runner(loop_factory=lambda: self.loop)
        self.book = Book()
        self.store = InMemoryPersistence(UNLIMITED)
        self.tasks: list[asyncio.Task[None]] = []
        self.trees: dict[int, list[str]] = {}
        self.heard = 0
        self.crashed: set[str] = set()
        self.runner.run(self.start())
        self.loop.after_each = self.look
        for _ in range(2):
            self.spawn(Plan(SupervisionPolicy(Strategy.RESTART)))
            self.spawn_below(Plan(), 1)
        self.do(lambda: None, 20)

    async def start(self) -> None:
        self.faults = FaultyBackend(self.store)
        self.system = ActorSystem(
            persistence=self.faults,
            clock=LoopClock(self.loop),
            audit_interval=None,
            letters_per_minute=100_000,
            shutdown_timeout=2.0,
        )
        await self.system.start()

    def do(self, act: Any, turns: int = 0) -> Any:
        async def run() -> Any:
            result = act()
            for _ in range(turns):
                await asyncio.sleep(0)
            return result

        return self.runner.run(run())

    def behind(self, make: Any) -> None:
        async def run() -> None:
            with contextlib.suppress(Exception):
                await make()

        self.tasks.append(self.do(lambda: asyncio.ensure_future(run())))

    # what may be done

    @rule(plan=plans())
    def spawn(self, plan: Plan) -> None:
        self.do(lambda: spawn(self.book, plan, self.system.spawn))

    @rule(plan=plans(), parent=TARGETS)
    def spawn_below(self, plan: Plan, parent: int) -> None:
        def below(*args: Any, **options: Any) -> Any:
            return self.system.spawn(*args, parent=self.book.ref(parent), **options)

        self.do(lambda: spawn(self.book, plan, below))

    @rule(actor=TARGETS, told=orders(), sender=st.sampled_from(["client", "other client"]), turns=TURNS)
    def tell(self, actor: int, told: tuple[Order, ...], sender: str, turns: int) -> None:
        parcel = self.book.parcel
        self.do(lambda: plainly(lambda: self.book.ref(actor).tell(parcel(sender, actor, told))), turns)

    @rule(actor=TARGETS, told=st.lists(orders(), min_size=2, max_size=6), turns=TURNS)
    def tell_many(self, actor: int, told: list[tuple[Order, ...]], turns: int) -> None:
        for each in told:
            self.tell(actor, each, "client", turns)

    @rule(actor=TARGETS, told=orders(), timeout=st.sampled_from([0.0, 0.01, 5.0, None]))
    def ask(self, actor: int, told: tuple[Order, ...], timeout: float | None) -> None:
        self.behind(lambda: ask(self.book, self.book.new_sender(), actor, told, timeout))

    @rule(actor=TARGETS, timeout=st.sampled_from([0.0, 5.0]))
    def ask_what_is_refused(self, actor: int, timeout: float) -> None:
        self.behind(lambda: self.book.ref(actor).ask(ProxyCall(("nosuch",)), timeout=timeout))

    @has("send")
    @rule(actor=TARGETS, told=orders())
    def send(self, actor: int, told: tuple[Order, ...]) -> None:
        self.behind(lambda: send(self.book, self.book.new_sender(), actor, told))

    @has("ttl")
    @rule(actor=TARGETS, told=orders(), ttl=st.sampled_from([0.0, 0.01, 10.0]))
    def tell_for_a_while(self, actor: int, told: tuple[Order, ...], ttl: float) -> None:
        parcel = self.book.parcel
        self.do(lambda: plainly(lambda: self.book.ref(actor).tell(parcel("client", actor, told), ttl=ttl)))

    @rule(actor=TARGETS, drain=st.booleans())
    def stop(self, actor: int, *, drain: bool) -> None:
        self.behind(lambda: self.system.stop(self.book.ref(actor), drain=drain, timeout=0.01))

    @rule(is_meant=st.sampled_from([False, False, False, True]))
    def stop_all(self, *, is_meant: bool) -> None:
        if is_meant:
            self.behind(self.system.stop_all)

    @rule(index=TARGETS)
    def release(self, index: int) -> None:
        if self.book.holds:
            self.do(self.book.holds.pop(index % len(self.book.holds)).set)

    @rule(index=TARGETS)
    def give_up(self, index: int) -> None:
        if self.tasks:
            self.do(self.tasks.pop(index % len(self.tasks)).cancel)

    @rule(actor=TARGETS)
    def cancel_the_task_of_an_actor(self, actor: int) -> None:
        def cancel() -> None:
            for task in asyncio.all_tasks():
                if task.get_name() == self.book.ref(actor).path:
                    task.cancel()

        self.do(cancel)

    @rule(times=st.integers(1, 3))
    def fail_appends(self, times: int) -> None:
        self.faults.fail_appends(times, StoreUnavailableError("down"))

    @rule(is_held=st.booleans())
    def hold_appends(self, *, is_held: bool) -> None:
        self.do(self.faults.hold if is_held else self.faults.release)

    @rule(turns=st.integers(1, 30))
    def let_run(self, turns: int) -> None:
        self.do(lambda: None, turns)

    @rule(seconds=st.sampled_from([0.001, 0.1, 3.0]))
    def let_time_pass(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    # what has to hold

    def look(self) -> None:
        """Judge one moment; what is wrong is kept, for an exception would vanish in the loop."""
        try:
            self.check_the_moment()
        except AssertionError as error:
            self.book.violations.append(f"{error}")

    def check_the_moment(self) -> None:
        accounting, infos = self.system.accounting(), self.system.list_actors()
        assert accounting.is_balanced, accounting
        assert min(accounting.to_payload().values()) >= 0, accounting
        depths = sum(info.mailbox_depth for info in infos)
        assert depths + len(self.book.handling) <= accounting.pending, (depths, accounting)
        if not FEATURES & {"stash", "mailbox_policies"}:
            assert accounting.pending <= depths + len(infos), (depths, len(infos), accounting)
        counts = self.system.dead_letters.counts
        letters = {reason: count for reason, count in counts.items() if count}
        dead = sum(count for reason, count in letters.items() if reason not in HANDLED)
        assert dead == accounting.dead + accounting.expired, (letters, accounting)
        assert letters.get(DeadLetterReason.HANDLER_FAILED, 0) == accounting.failed, (letters, accounting)
        finished, raised = self.book.finished.total(), self.book.raised.total()
        assert accounting.handled == finished, (finished, accounting)
        if "retry" not in FEATURES:
            assert raised <= accounting.failed <= raised + self.book.doubtful, (raised, accounting)
        for event in self.system.events(self.heard):  # who fails to start is heard of by that failure
            self.heard += 1
            if isinstance(event, ActorCrashed):
                self.crashed.add(f"{event.address['system']}:{event.address['actor_id']}")
        shown = self.book.started | self.crashed
        self.trees[self.heard] = sorted(info.path for info in infos if str(info.address) in shown)

    @invariant()
    def nothing_was_ever_wrong(self) -> None:
        if hasattr(self, "book"):
            assert not self.book.violations, "\n".join(self.book.violations[:5])
            assert not self.troubles, self.troubles[:5]

    def teardown(self) -> None:
        if not hasattr(self, "runner"):
            return
        try:
            self.do(self.end_what_waits)
            self.runner.run(self.close())
            self.nothing_was_ever_wrong()
            self.check_the_end()
            self.check_the_history()
        finally:
            self.loop.after_each = lambda: None
            self.runner.close()
            logging.disable(logging.NOTSET)

    def end_what_waits(self) -> None:
        self.faults.heal()
        for hold in self.book.holds:
            hold.set()

    async def close(self) -> None:
        await self.system.flush(60)
        await self.system.aclose()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def check_the_end(self) -> None:
        accounting = self.system.accounting()
        assert accounting.is_balanced
        assert accounting.pending == 0
        assert self.system.list_actors() == ()
        outcomes = self.book.finished.copy()
        del outcomes[0]
        letters = self.system.dead_letters
        for letter in letters.messages:
            if isinstance(letter.message, Parcel) and letter.reason is not DeadLetterReason.LATE_REPLY:
                outcomes[letter.message.id] += 1
        if letters.total == len(letters.messages):
            odd = {each: outcomes[each] for each in range(1, self.book.parcels + 1) if outcomes[each] != 1}
            sent = {each: count for each, count in odd.items() if each not in self.book.withdrawn}
            assert not sent, sent
            assert set(odd.values()) <= {0}, odd

    def check_the_history(self) -> None:
        stored = self.store.events
        stops = Counter(
            event.actor_address for event in stored if event.event_type == EventType.ACTOR_STOPPED
        )
        assert stops == Counter(str(ref.address) for ref in self.book.refs)
        lived = [event for event in stored if event.event_type in ACTOR_EVENTS]
        assert [(type(event).__name__, event.path) for event in self.system.events()] == [
            (event.event_type, event.actor_path) for event in lived
        ]
        for count, paths in self.trees.items():
            if count:
                self.check_the_tree(stored, lived[count - 1], paths)

    def check_the_tree(
        self, stored: tuple[PersistedEvent, ...], newest: PersistedEvent, paths: list[str]
    ) -> None:
        prefix = [event for event in stored if event.seq <= newest.seq]
        for events in (prefix, stored):
            answer = running_at(events, newest.timestamp)
            assert answer.is_complete
            assert sorted(actor.path for actor in answer.actors) == paths, (newest, len(events))


TestTree = Tree.TestCase
TestTree.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
