"""The facade: everything a user asks of a running system."""

from __future__ import annotations

import asyncio
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Self

from papyra._runtime import reports, shutdown
from papyra._runtime.cell import cell_of
from papyra._runtime.kernel import Kernel
from papyra._runtime.mailbox import MailboxLimits
from papyra._runtime.options import Options, TimeFunction, recorded_classes, registry_of
from papyra.address import ActorAddress, check_system_id
from papyra.audit import panel_lines
from papyra.clock import SYSTEM_CLOCK, Clock
from papyra.context import DEFAULT_CAPACITY
from papyra.exceptions import SystemNotRunning
from papyra.messages import AS_STORED, MailboxPolicy, Redelivery
from papyra.payloads import DEFAULT_LIMITS, DEFAULT_WORDS, MessageRegistry, PayloadLimits, Redaction
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.ref import ActorRef, DeadLetter
from papyra.signals import StopRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from concurrent.futures import Future
    from types import ModuleType

    from papyra._runtime.dead_letters import DeadLetterMailbox
    from papyra.audit import Accounting, ActorInfo, AuditReport
    from papyra.events import ActorEvent
    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.models import (
        CompactionReport,
        PersistedDeadLetter,
        PersistenceRecoveryConfig,
    )
    from papyra.persistence.startup import PersistenceStartupConfig
    from papyra.ref import M, Recipient
    from papyra.supervision import SupervisionPolicy


_LEAST_SHARE = 0.1


class ActorSystem:
    """One tree of actors under one name, with its history on one backend. Belongs to the loop that starts it.

    ``close_persistence``: `aclose` also closes the backend; say ``False`` where others go on using it.
    ``record_handled``: each message that actors (of these classes) handle is an event, ``MessageHandled``.
    ``letters_per_minute``: so many letters of one target and reason are kept in full, more are counted.
    """

    def __init__(  # noqa: PLR0913  # options, all by name
        self,
        *,
        system_id: str = "local",
        persistence: PersistenceBackend | None = None,
        persistence_startup: PersistenceStartupConfig | None = None,
        persistence_recovery: PersistenceRecoveryConfig | None = None,
        close_persistence: bool = True,
        on_dead_letter: Callable[[DeadLetter], object] | None = None,
        hooks: object = None,
        clock: Clock | None = None,
        time_fn: Callable[[], float] | None = None,
        messages: Iterable[type | ModuleType] = (),
        redact: Iterable[str] = DEFAULT_WORDS,
        limits: PayloadLimits = DEFAULT_LIMITS,
        ask_timeout: float | None = 30.0,
        shutdown_timeout: float = 10.0,
        audit_interval: float | None = 60.0,
        max_events: int = 10_000,
        letters_per_minute: int = 2_048,
        max_queued_records: int = 100_000,
        max_queued_bytes: int = 64 * 1024 * 1024,
        record_handled: bool | Collection[type] = False,
    ) -> None:
        self.persistence_startup = persistence_startup
        self.persistence_recovery = persistence_recovery
        self._persistence = InMemoryPersistence() if persistence is None else persistence
        self._kernel: Kernel | None = None
        self._is_closed = False
        self._has_given_up = False
        self._starting = asyncio.Lock()
        self._options = Options(
            system_id=check_system_id(system_id),
            clock=clock or (SYSTEM_CLOCK if time_fn is None else TimeFunction(time_fn)),
            registry=registry_of(messages),
            redaction=Redaction(redact),
            limits=limits,
            hooks=hooks,
            on_dead_letter=on_dead_letter,
            ask_timeout=ask_timeout,
            shutdown_timeout=shutdown_timeout,
            audit_interval=audit_interval,
            max_events=max_events,
            letters_in_full=letters_per_minute,
            max_queued_records=max_queued_records,
            max_queued_bytes=max_queued_bytes,
            close_persistence=close_persistence,
            record_handled=recorded_classes(record_handled),
        )

    @property
    def system_id(self) -> str:
        """The stable name."""
        return self._options.system_id

    @property
    def persistence(self) -> PersistenceBackend:
        """Where the history goes."""
        return self._persistence

    @property
    def registry(self) -> MessageRegistry:
        """The messages that stored letters may be rebuilt into."""
        return self._options.registry

    @property
    def incarnation(self) -> str:
        """The id of this run; empty before `start`."""
        return "" if self._kernel is None else self._kernel.incarnation

    @property
    def is_running(self) -> bool:
        """Whether actors may be spawned."""
        return self._kernel is not None and self._kernel.is_open

    @property
    def is_degraded(self) -> bool:
        """Whether records do not reach the store at present; actors do not notice."""
        return self._kernel is not None and self._kernel.recorder.is_degraded

    @property
    def dead_letters(self) -> DeadLetterMailbox:
        """The newest letters and exact counts of all of this run."""
        return self._begun().letters

    @property
    def event_count(self) -> int:
        """How many events there were in this run: the index of the next one."""
        return 0 if self._kernel is None else self._kernel.log.count

    async def start(self) -> None:
        """Check the store, then run; raises `PersistenceStartupError` with nothing written or started."""
        if self._is_closed or self._starting.locked():
            raise SystemNotRunning("a system starts once; make another one", reason="shutdown")
        if self._kernel is not None:
            return
        async with self._starting:
            options = self._options.starting(self.persistence_startup, self.persistence_recovery)
            self._kernel = await Kernel.start(self, self._persistence, options)
            if self._has_given_up:
                await self._kernel.aclose(self._options.shutdown_timeout)
                raise SystemNotRunning("the system was closed before it had started", reason="shutdown")

    async def aclose(self) -> None:
        """Stop intake, actors, hooks and recording in this order, within ``shutdown_timeout`` altogether.

        What did not get done is recorded. A second call waits for the first; an actor's own returns at once.
        One that comes while the system starts lets it start, within that time, and closes it then; what had
        not started by then is closed as soon as it has.
        """
        self._is_closed = True
        loop, seconds = asyncio.get_running_loop(), self._options.shutdown_timeout
        deadline = loop.time() + seconds
        try:
            async with asyncio.timeout(seconds), self._starting:
                pass
        except TimeoutError:
            self._has_given_up = self._kernel is None
        left = max(deadline - loop.time(), _LEAST_SHARE * seconds)
        if self._kernel is not None:
            await self._kernel.aclose(left)
        elif self._options.close_persistence:
            await shutdown.close_backend(self._persistence, left)

    async def serve(self) -> int | None:
        """Start if need be, run until SIGTERM or SIGINT, and close; returns the signal.

        A second signal does not wait: it ends the process, and the next start records what was lost. For the
        main thread only. Returns ``None`` if the system was closed by somebody else.
        """
        stop = StopRequest()
        with stop.listening():
            async with self:
                await self._begun().wait_closing(stop.requested)
        return stop.signal

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def spawn(  # noqa: PLR0913  # options, all by name
        self,
        actor_factory: Callable[..., Recipient[M]],
        *args: object,
        name: str | None = None,
        policy: SupervisionPolicy | None = None,
        mailbox_capacity: int | None = DEFAULT_CAPACITY,
        mailbox_policy: MailboxPolicy | str = MailboxPolicy.BACKPRESSURE,
        passivate_after: float | None = None,
        parent: ActorRef | None = None,
    ) -> ActorRef[M]:
        """Spawn ``actor_factory(*args)``: a class or a function that returns a fresh `papyra.Actor`.

        Default policy: restart for an actor with a name, else stop. ``mailbox_capacity=None``: no bound.
        ``passivate_after``: seconds of idling after which the actor stops, `StopReason.PASSIVATED`; not while
        it has children, messages set aside or work that pipes to it. Timers are cancelled as by any stop.
        """
        limits = MailboxLimits.of(mailbox_capacity, mailbox_policy, passivate_after)
        return self._running().spawn(
            actor_factory, args, name=name, policy=policy, limits=limits, parent=parent
        )

    def ref_for(self, target: ActorAddress | str) -> ActorRef:
        """Return the living actor with this address, path, or top-level name; raises `ActorNotFound`."""
        return self._running().find(target).ref

    def ref_for_name(self, name: str) -> ActorRef:
        """Return the living top-level actor of this name; raises `ActorNotFound`."""
        return self._running().find(f"/{name}").ref

    async def stop(self, ref: ActorRef, *, drain: bool = False, timeout: float | None = None) -> None:
        """Stop an actor once its current message has ended, its children first, and wait until it has.

        Queued messages become letters, or are handled first with ``drain``, for ``timeout`` seconds at most
        (default: ``shutdown_timeout``). Does not wait for the calling actor itself or one above it.
        """
        seconds = self._options.shutdown_timeout if timeout is None else timeout
        await self._begun().stop(ref, drain_seconds=seconds if drain else None)

    async def stop_all(self) -> None:
        """Stop every actor; the system runs on."""
        await self._running().stop_all()

    def refs(self, *, alive_only: bool = True) -> tuple[ActorRef, ...]:
        """Return all actors; with ``alive_only`` those that take messages."""
        return tuple(cell.ref for cell in self._begun().cells(alive_only=alive_only))

    def refs_by_type(self, actor_type: type | str, *, alive_only: bool = True) -> tuple[ActorRef, ...]:
        """Return the actors of a class, or of a class name: bare, qualified, or with its module."""
        return tuple(cell.ref for cell in self._begun().cells(actor_type, alive_only=alive_only))

    async def broadcast(
        self, message: object, *, actor_type: type | str | None = None, alive_only: bool = True
    ) -> int:
        """Tell ``message`` to all actors, or all of a class, at once; returns how many took it."""
        return await self._running().broadcast(message, actor_type, alive_only=alive_only)

    def list_names(self) -> tuple[str, ...]:
        """Return the names of living top-level actors."""
        return tuple(self._begun().tree.top_names())

    def list_actors(self, *, alive_only: bool = False) -> tuple[ActorInfo, ...]:
        """Return what there is to know about each actor that has not stopped yet."""
        return tuple(reports.info_of(cell) for cell in self._begun().cells(alive_only=alive_only))

    def actor_info(self, target: ActorRef | ActorAddress | str | int) -> ActorInfo:
        """Return what there is to know about one actor, by reference, address, path, name or id."""
        if isinstance(target, ActorRef):
            return reports.info_of(cell_of(target))
        if isinstance(target, int):
            target = ActorAddress(self.system_id, target)
        return reports.info_of(self._begun().find(target))

    def control_panel(self, *, alive_only: bool = False) -> tuple[str, ...]:
        """Return `list_actors` as rows of text."""
        return panel_lines(self.list_actors(alive_only=alive_only))

    def audit(self, *, include_actor_details: bool = True) -> AuditReport:
        """Take a snapshot, record it, and return it."""
        return self._begun().audit(most_actors=None if include_actor_details else 0)

    def accounting(self) -> Accounting:
        """Return where every accepted message went."""
        kernel = self._begun()
        return reports.accounting_of(kernel.site, kernel.recorder)

    def events(self, start_index: int = 0) -> tuple[ActorEvent, ...]:
        """Return the newest events (10,000 unless ``max_events`` says otherwise), oldest first."""
        return () if self._kernel is None else self._kernel.log.since(start_index)

    async def wait_for_event(
        self,
        predicate: Callable[[ActorEvent], bool] | type[ActorEvent],
        *,
        timeout: float | None = 1.0,
        start_index: int = 0,
        poll_interval: float = 0.0,
    ) -> ActorEvent:
        """Return the first event from ``start_index`` on that matches; raises `TimeoutError`."""
        del poll_interval  # published; nothing is polled
        matches = (lambda event: isinstance(event, predicate)) if isinstance(predicate, type) else predicate
        return await self._begun().log.wait_for(matches, timeout, start_index)

    async def redeliver(
        self,
        letter: PersistedDeadLetter,
        *,
        to: ActorRef | str | None = None,
        message: object = AS_STORED,
        dry_run: bool = False,
    ) -> Redelivery:
        """Send a stored letter's message again, under a new id: to who has its path now, or to ``to``.

        ``message`` goes in its place: another message, or the data of an edited one. Further letters of it
        name this letter and count on. ``dry_run`` sends nothing. Raises `RedeliveryRefused`: a message that
        is not stored exactly, is of an unknown type, or has a wrong field; a target that is gone, has become
        another kind of actor, or had a generated name.
        """
        return await self._running().redeliver(letter, to=to, message=message, dry_run=dry_run)

    def now(self) -> float:
        """Return UTC epoch seconds by the system's clock."""
        return self._options.clock.now()

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was recorded so far is durable; ``False`` if it is not within ``timeout``."""
        return await self._begun().recorder.flush(timeout)

    async def compact(self) -> CompactionReport:
        """Make the backend's retention physical, and record that; raises what the backend raises."""
        return await (self._persistence.compact() if self._kernel is None else self._kernel.compact())

    def call_threadsafe(
        self, function: Callable[..., object], *args: object, **kwargs: object
    ) -> Future[Any]:
        """Call ``function`` in the system's loop, from any other thread; awaits what it returns, if it can.

        ``system.call_threadsafe(ref.ask, question, timeout=1).result()`` asks from a plain thread.
        """
        loop = self._running().site.loop
        if loop.is_closed():
            raise SystemNotRunning("the system's loop is closed", reason="shutdown")

        async def call() -> object:
            result = function(*args, **kwargs)
            return await result if isawaitable(result) else result

        return asyncio.run_coroutine_threadsafe(call(), loop)

    def _begun(self) -> Kernel:
        if self._kernel is None:
            raise SystemNotRunning("the system was not started; await start()", reason="not_started")
        return self._kernel

    def _running(self) -> Kernel:
        kernel = self._begun()
        if not kernel.is_open:
            raise SystemNotRunning("the system is closed or closing", reason="shutdown")
        return kernel
