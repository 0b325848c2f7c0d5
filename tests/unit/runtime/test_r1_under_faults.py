"""R1 under random faults: crashes, stops, cancellations, a failing store, at any step of any schedule."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from papyra import ActorRef, ActorSystem, PapyraError, Strategy, SupervisionPolicy, SupervisorDecision
from papyra.exceptions import StoreUnavailableError
from papyra.messages import ProxyCall
from papyra.persistence.models import LossNote
from tests.unit.runtime.actors import Boom, Hold, Parent, Store

POLICIES = st.sampled_from(
    [
        SupervisionPolicy(Strategy.STOP),
        SupervisionPolicy(Strategy.RESTART, max_restarts=2),
        SupervisionPolicy(Strategy.ESCALATE),
    ]
)
DECISIONS = st.sampled_from([None, *SupervisorDecision])


class Chaotic(Parent):
    """May fail to start or to stop, as the odds of its number say."""

    def __init__(self, decision: SupervisorDecision | None, flaw: str) -> None:
        super().__init__(lambda _: decision)
        self.flaw = flaw

    async def on_start(self) -> None:
        await asyncio.sleep(0)
        if self.flaw == "start":
            raise RuntimeError("on_start")

    async def on_stop(self) -> None:
        await asyncio.sleep(0)
        if self.flaw == "stop":
            raise RuntimeError("on_stop")


class Chaos(RuleBasedStateMachine):
    """Does anything to a system in any order, one turn of the loop or more at a time."""

    actors: Bundle[ActorRef] = Bundle("actors")

    @initialize()
    def begin(self) -> None:
        logging.disable(logging.CRITICAL)
        self.runner = asyncio.Runner()
        self.store = Store()
        self.holds: list[Hold] = []
        self.asks: list[asyncio.Task[Any]] = []
        self.system = ActorSystem(persistence=self.store, letters_per_minute=3, shutdown_timeout=2)
        self.runner.run(self.system.start())

    def do(self, act: Any, turns: int = 0) -> Any:
        async def run() -> Any:
            result = act()
            for _ in range(turns):
                await asyncio.sleep(0)
            return result

        return self.runner.run(run())

    def background(self, make: Any) -> None:
        async def run() -> None:
            with contextlib.suppress(PapyraError, TimeoutError, ValueError, AttributeError, RuntimeError):
                await make()

        self.asks.append(self.do(lambda: asyncio.ensure_future(run())))

    @rule(
        target=actors,
        policy=POLICIES,
        decision=DECISIONS,
        flaw=st.sampled_from(["", "", "", "start", "stop"]),
        capacity=st.sampled_from([1, 2, None]),
    )
    def spawn(
        self, policy: SupervisionPolicy, decision: SupervisorDecision | None, flaw: str, capacity: int | None
    ) -> ActorRef:
        ref: ActorRef = self.do(
            lambda: self.system.spawn(Chaotic, decision, flaw, policy=policy, mailbox_capacity=capacity)
        )
        return ref

    @rule(target=actors, parent=actors, policy=POLICIES, decision=DECISIONS)
    def spawn_below(
        self, parent: ActorRef, policy: SupervisionPolicy, decision: SupervisorDecision | None
    ) -> ActorRef:
        def spawn() -> ActorRef:
            try:
                return self.system.spawn(Chaotic, decision, "", policy=policy, parent=parent)
            except PapyraError:
                return parent

        ref: ActorRef = self.do(spawn)
        return ref

    @rule(
        ref=actors, message=st.sampled_from([1, "seen", "stop", "boom", "cancelled"]), count=st.integers(1, 4)
    )
    def tell(self, ref: ActorRef, message: object, count: int) -> None:
        errors = {"boom": ValueError("boom"), "cancelled": asyncio.CancelledError()}
        for _ in range(count):
            self.do(lambda: ref.tell(Boom(errors[message]) if message in errors else message))

    @rule(
        ref=actors,
        timeout=st.sampled_from([None, 0.0, 0.001, 30.0]),
        message=st.sampled_from([1, "boom", "proxy"]),
    )
    def ask(self, ref: ActorRef, timeout: float | None, message: object) -> None:
        odd: dict[object, object] = {"boom": Boom(), "proxy": ProxyCall(("context", "nosuch"))}
        self.background(lambda: ref.ask(odd.get(message, message), timeout=timeout))

    @rule(ref=actors)
    def hold(self, ref: ActorRef) -> None:
        hold = self.do(Hold)
        self.holds.append(hold)
        self.do(lambda: ref.tell(hold))

    @rule(index=st.integers(0, 50))
    def release(self, index: int) -> None:
        if self.holds:
            self.do(self.holds.pop(index % len(self.holds)).release.set)

    @rule(index=st.integers(0, 50))
    def give_up_asking(self, index: int) -> None:
        if self.asks:
            self.do(self.asks.pop(index % len(self.asks)).cancel)

    @rule(ref=actors, drain=st.booleans())
    def stop(self, ref: ActorRef, *, drain: bool) -> None:
        self.background(lambda: self.system.stop(ref, drain=drain, timeout=0.001))

    @rule(watcher=actors, watched=actors)
    def watch(self, watcher: ActorRef, watched: ActorRef) -> None:
        self.do(lambda: watcher.tell(("watch", watched)))

    @rule(ref=actors)
    def cancel_the_task(self, ref: ActorRef) -> None:
        def cancel() -> None:
            for task in asyncio.all_tasks():
                if task.get_name() == ref.path:
                    task.cancel()

        self.do(cancel)

    @rule(times=st.integers(1, 3))
    def break_the_store(self, times: int) -> None:
        self.store.script.extend(StoreUnavailableError("down") for _ in range(times))

    @rule(turns=st.integers(1, 12))
    def let_run(self, turns: int) -> None:
        self.do(lambda: None, turns)

    @invariant()
    def every_message_is_in_one_place(self) -> None:
        if not hasattr(self, "system") or not self.system.event_count:
            return
        accounting = self.system.accounting()
        assert accounting.is_balanced, accounting
        depths = sum(info.mailbox_depth for info in self.system.list_actors())
        assert depths <= accounting.pending
        assert min(accounting.to_payload().values()) >= 0

    def teardown(self) -> None:
        try:
            for hold in self.holds:
                self.do(hold.release.set)
            self.store.script.clear()
            assert self.runner.run(self.system.flush(10))
            self.runner.run(self.system.aclose())
            self.check_the_end()
        finally:
            self.runner.close()
            logging.disable(logging.NOTSET)

    def check_the_end(self) -> None:
        accounting = self.system.accounting()
        assert accounting.is_balanced
        assert accounting.pending == 0
        assert self.system.list_actors() == ()
        settled = accounting.dead + accounting.failed + accounting.expired + accounting.late_replies
        letters = self.system.dead_letters
        assert letters.total == sum(letters.counts.values()) == settled
        self.check_the_history(accounting.to_payload())

    def check_the_history(self, accounting: dict[str, int]) -> None:
        starts = [event.actor_address for event in self.store.of("ActorStarted")]
        stops = [event.actor_address for event in self.store.of("ActorStopped")]
        assert len(set(stops)) == len(stops)
        assert set(starts) <= set(stops)
        assert self.store.events[-1].payload["accounting"] == accounting  # type: ignore[index]
        assert not [event for event in self.store.events if LossNote.from_payload(event.payload)]
        suppressed = sum(event.payload["count"] for event in self.store.of("DeadLettersSuppressed"))  # type: ignore[index]
        assert len(self.store.dead_letters) + suppressed == self.system.dead_letters.total


TestChaos = Chaos.TestCase
TestChaos.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
