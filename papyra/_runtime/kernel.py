"""One running incarnation: its parts put together, found, looked at and shut down."""

from __future__ import annotations

import asyncio
from contextvars import Context
from math import isnan
from typing import TYPE_CHECKING

from papyra._runtime import redelivery, reports, shutdown, spawning
from papyra._runtime.calls import is_fatal
from papyra._runtime.cell import Cell, cell_of
from papyra._runtime.dead_letters import DeadLetterMailbox
from papyra._runtime.ending import EndWaits, calling_cell
from papyra._runtime.event_log import EventLog
from papyra._runtime.hook_runner import HookRunner
from papyra._runtime.journal import Journal
from papyra._runtime.linger import Linger
from papyra._runtime.recorder import Recorder
from papyra._runtime.records import DETAILED_ACTORS
from papyra._runtime.scheduling import Alarm, Scheduler
from papyra._runtime.site import Site
from papyra._runtime.startup import announce, require_start
from papyra._runtime.tree import Tree
from papyra._runtime.turns import live
from papyra.address import ActorAddress, split_reference
from papyra.clock import mint_incarnation
from papyra.events import StopReason
from papyra.exceptions import ActorNotFound, MailboxFull, PapyraError, SystemNotRunning
from papyra.payloads import message_name
from papyra.persistence.models import EventType
from papyra.persistence.startup import run_startup_check
from papyra.ref import ActorRef, Refusal

if TYPE_CHECKING:
    from papyra._runtime.mailbox import MailboxLimits
    from papyra._runtime.options import Options
    from papyra.audit import AuditReport
    from papyra.context import ActorFactory, System
    from papyra.messages import Redelivery
    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.models import CompactionReport, PersistedDeadLetter
    from papyra.ref import Delivery
    from papyra.supervision import SupervisionPolicy

DETAILS_EVERY_SECONDS = 300.0
HOOKS_SHARE = 0.1
_AT_ONCE = 64
_REFUSAL_SECONDS = 1.0
_REQUESTED = "it was asked to stop"


class Kernel:
    """Everything of one incarnation. Made by `start`, of no use after `aclose`."""

    def __init__(self, system: System, backend: PersistenceBackend, options: Options) -> None:
        loop = asyncio.get_running_loop()
        clock = options.clock
        self.incarnation = mint_incarnation(clock.now())
        self.problems = 0
        self._backend = backend
        self._options = options
        self.scheduler = Scheduler(loop, clock)
        self.recorder = Recorder(
            backend,
            system_id=options.system_id,
            clock=clock,
            registry=options.registry,
            on_problem=self._note_problem,
            redaction=options.redaction,
            limits=options.limits,
            max_records=options.max_queued_records,
            max_bytes=options.max_queued_bytes,
            record_handled=options.record_handled,
            time=self.scheduler.time,
        )
        self.log = EventLog(options.max_events)
        self.hooks = HookRunner(loop, options.hooks, options.on_dead_letter)
        journal = Journal(
            system_id=options.system_id,
            incarnation=self.incarnation,
            clock=clock,
            recorder=self.recorder,
            log=self.log,
            hooks=self.hooks,
            redaction=options.redaction,
        )
        self.letters = DeadLetterMailbox(
            self.scheduler, journal, clock, system_id=options.system_id, in_full=options.letters_in_full
        )
        self.tree: Tree[Cell] = Tree()
        self.site = Site(
            system=system,
            loop=loop,
            clock=clock,
            tree=self.tree,
            journal=journal,
            letters=self.letters,
            scheduler=self.scheduler,
            live=live,
            registry=options.registry,
            default_timeout=options.ask_timeout,
        )
        if options.record_handled:
            self.site.handled = self.recorder.handled
        self._ends = EndWaits()
        self._linger = Linger(loop, self.site.active)
        self.site.on_activity = self._linger.start
        self._audit_timer: Alarm | None = None
        self._details_due = 0.0
        self._closing: asyncio.Task[int] | None = None
        self._has_begun_to_close = asyncio.Event()
        self._deadline: float | None = None

    @classmethod
    async def start(cls, system: System, backend: PersistenceBackend, options: Options) -> Kernel:
        """Check the store and open an incarnation; raises `PersistenceStartupError`, nothing written."""
        kernel = cls(system, backend, options)
        try:
            report = await run_startup_check(backend, options.startup)
            if report.scan is not None:
                kernel.hooks.post("on_persistence_scan", report.scan)
            if report.recovery is not None:
                kernel.hooks.post("on_persistence_recovery", report.recovery)
            require_start(report, backend)
            kernel.recorder.begin(kernel.incarnation)
            await announce(backend, kernel.recorder, report, options)
        except BaseException:
            await kernel.recorder.aclose(0)
            await kernel.hooks.drain(kernel.site.loop.time() + _REFUSAL_SECONDS)
            raise
        kernel._schedule_audit()
        return kernel

    @property
    def is_open(self) -> bool:
        """Whether actors may be spawned."""
        return self._closing is None

    def spawn(
        self,
        factory: ActorFactory,
        args: tuple[object, ...],
        *,
        name: str | None,
        policy: SupervisionPolicy | None,
        limits: MailboxLimits,
        parent: ActorRef | None,
    ) -> ActorRef:
        """Spawn an actor."""
        if not self.is_open:
            raise SystemNotRunning("the system is closing and starts no actors", reason="shutdown")
        cell = spawning.spawn(
            self.site, factory, args, name=name, policy=policy, limits=limits, parent=parent
        )
        return cell.ref

    def find(self, target: ActorAddress | str) -> Cell:
        """Return the living cell with this address, path or name; raises `ActorNotFound`."""
        cell: Cell | None = None
        if isinstance(target, str) and ":" in target:
            target = ActorAddress.parse(target)
        if isinstance(target, ActorAddress):
            system_id = target.system
            if system_id == self.site.system_id:
                cell = self.tree.get(target.actor_id)
        else:
            system_id, path = split_reference(target, system_id=self.site.system_id)
            if system_id == self.site.system_id:
                cell = self.tree.find(path)
        if system_id != self.site.system_id:
            raise ActorNotFound(f"{target} belongs to another system than {self.site.system_id!r}")
        if cell is None or cell.end is not None:
            raise ActorNotFound(f"no living actor is {target}")
        return cell

    def cells(self, actor_type: type | str | None = None, *, alive_only: bool) -> tuple[Cell, ...]:
        """Return those that have not stopped yet, of one class if it is given."""
        name = actor_type if isinstance(actor_type, str | None) else message_name(actor_type)
        return tuple(
            cell
            for cell in self.tree
            if (cell.is_alive or not alive_only)
            and (name is None or name == cell.actor_type or cell.actor_type.endswith(f".{name}"))
        )

    async def broadcast(self, message: object, actor_type: type | str | None, *, alive_only: bool) -> int:
        """Tell everybody first, then wait for room where it is wanting; returns how many took the message."""
        deliveries = [_offer(cell, message) for cell in self.cells(actor_type, alive_only=alive_only)]
        outcomes = await asyncio.gather(*deliveries, return_exceptions=True)
        return sum(not isinstance(outcome, PapyraError) for outcome in outcomes)

    async def compact(self) -> CompactionReport:
        """Make retention physical, and record that."""
        report = await self._backend.compact()
        payload = {
            "removed": {kind.value: count for kind, count in report.removed.items()},
            "before_records": report.before_records,
            "after_records": report.after_records,
            "before_bytes": report.before_bytes,
            "after_bytes": report.after_bytes,
        }
        self.site.journal.system(EventType.COMPACTION_RUN, payload)
        return report

    async def redeliver(
        self, letter: PersistedDeadLetter, *, to: ActorRef | str | None, message: object, dry_run: bool
    ) -> Redelivery:
        """Send a letter's message again, or say what would be sent."""
        planned = redelivery.plan(
            letter,
            self.find,
            self._options.registry,
            to=cell_of(to) if isinstance(to, ActorRef) else to,
            message=message,
        )
        return planned.said("", is_dry_run=True) if dry_run else await redelivery.send(planned)

    async def stop(self, ref: ActorRef, *, drain_seconds: float | None = None) -> None:
        """Stop an actor and wait until it has, unless its end waits for the caller."""
        if drain_seconds is not None and isnan(drain_seconds):
            raise ValueError("nan is no time to drain in")
        cell = cell_of(ref)
        cell.request_stop(StopReason.REQUESTED, _REQUESTED, drain_seconds=drain_seconds)
        await self._ends.wait((cell,))

    async def stop_all(self) -> None:
        """Stop every actor and wait until all have."""
        cells = self.tree.roots()
        for number, cell in enumerate(cells, 1):
            cell.request_stop(StopReason.REQUESTED, _REQUESTED)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        await self._ends.wait(cells)

    def counters(self) -> dict[str, int]:
        """Return how often something went wrong beside the actors."""
        letters = {f"letters_{reason}": count for reason, count in self.letters.counts.items() if count}
        return {
            "hooks_failed": self.hooks.failed,
            "hooks_slow": self.hooks.slow,
            "hooks_dropped": self.hooks.dropped,
            "store_problems": self.problems,
            **letters,
        }

    def audit(self, *, most_actors: int | None) -> AuditReport:
        """Look at everything, record it, tell the hooks."""
        report = reports.audit_of(
            self.site,
            self.tree,
            self.recorder,
            incarnation=self.incarnation,
            most_actors=most_actors,
            counters=self.counters(),
        )
        self.site.journal.audited(report)
        return report

    async def aclose(self, seconds: float) -> int:
        """Shut down within ``seconds``; called again it waits for the same.

        Returns how many records were not written.
        """
        self._has_begun_to_close.set()
        if self._deadline is None:  # one for all: a shutdown that was cancelled goes on under it
            self._deadline = self.site.loop.time() + seconds
        while True:
            if self._closing is None or self._closing.cancelled():
                self._closing = self.site.loop.create_task(
                    self._shut_down(self._deadline), name="papyra shutdown", context=Context()
                )
            if calling_cell() is not None:  # its own message would have to end first
                return 0
            try:
                return await asyncio.shield(self._closing)
            except asyncio.CancelledError as error:
                if is_fatal(error):
                    raise  # the caller was cancelled; else it was the shutdown, and it begins anew

    async def wait_closing(self, requested: asyncio.Event) -> None:
        """Return once ``requested`` is set, or somebody closes the system."""
        waits = [asyncio.ensure_future(event.wait()) for event in (requested, self._has_begun_to_close)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _shut_down(self, deadline: float) -> int:
        site = self.site
        seconds = max(0.0, deadline - site.loop.time())
        site.is_closing = True
        if self._audit_timer is not None:
            self._audit_timer.cancel()
        killed = await shutdown.stop_actors(site, self.tree, seconds)
        self._linger.stop()
        pipes_left = await shutdown.end_pipes(site, deadline - HOOKS_SHARE * seconds)
        hooks_left = await shutdown.drain_hooks(self.hooks, deadline)
        if self.recorder.is_open:
            self.letters.close()
            totals = reports.accounting_of(site, self.recorder)
            site.journal.system(
                EventType.SYSTEM_STOPPED,
                {
                    "reason": "requested",
                    "accounting": totals.to_payload(),
                    "killed": list(killed),
                    "pipes_left": pipes_left,
                    "hooks_left": hooks_left,
                },
            )
        self.scheduler.close()
        left = max(0.0, deadline - site.loop.time())
        return await self.recorder.aclose(left, close_backend=self._options.close_persistence)

    def _schedule_audit(self) -> None:
        interval = self._options.audit_interval
        if interval is not None:
            self._audit_timer = self.scheduler.call_later(interval, self._audit_now)

    def _audit_now(self) -> None:
        self._schedule_audit()  # first: whatever befalls this one, the heartbeat goes on
        now = self.site.clock.monotonic()
        is_full = now >= self._details_due
        if is_full:
            self._details_due = now + DETAILS_EVERY_SECONDS
        self.audit(most_actors=DETAILED_ACTORS if is_full else 0)

    def _note_problem(self, problem: str, error: BaseException | None) -> None:
        del problem, error  # the recorder has logged it
        self.problems += 1


def _offer(cell: Cell, message: object) -> Delivery:
    try:
        return cell.tell(message)
    except MailboxFull as error:
        return Refusal(error)
