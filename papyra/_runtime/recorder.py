"""The one ordered writer between the runtime and a backend: `Recorder.emit` never waits and never raises."""

from __future__ import annotations

import asyncio
import logging
import random
from contextvars import Context
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from papyra._runtime.backlog import Storable, count_of, is_loss_note, singles
from papyra._runtime.intake import Intake
from papyra._runtime.texts import error_text
from papyra.exceptions import (
    AppendError,
    BackendClosedError,
    PersistenceError,
    RecordDroppedError,
    StoreUnavailableError,
)
from papyra.payloads import DEFAULT_LIMITS
from papyra.persistence import codec
from papyra.persistence.models import PersistedDeadLetter
from papyra.supervision import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from papyra.clock import Clock
    from papyra.payloads import MessageRegistry, PayloadLimits, Redaction
    from papyra.persistence.backend import PersistenceBackend
    from papyra.persistence.models import Record

MAX_BATCH_RECORDS: Final = 1_000
MAX_BATCH_BYTES: Final = 1024 * 1024
HANGS_AFTER_SECONDS: Final = 5.0
_CANCEL_GRACE_SECONDS: Final = 0.5
_LAST_SECONDS: Final = 0.1
_PROOF_SECONDS: Final = 0.002

RETRIES: Final = Backoff(first_seconds=0.05, last_seconds=5.0, jitter=0.5)
_log = logging.getLogger(__name__)


class _Waiter(NamedTuple):
    """Who waits for what was emitted up to ``order``; ``due``: the last note of what was refused of that."""

    order: int
    due: int
    future: asyncio.Future[bool]


class Recorder(Intake):
    """Takes records from one system on one loop, and brings them to the store in order, in batches.

    What is emitted gets identity and time, is encoded and redacted at once, and waits in a bounded backlog.
    While the store is down the same batch is tried again. ``on_problem`` hears of each trouble as it begins.
    """

    def __init__(  # noqa: PLR0913  # one object wires it all, by name
        self,
        backend: PersistenceBackend,
        *,
        system_id: str,
        clock: Clock,
        registry: MessageRegistry,
        on_problem: Callable[[str, BaseException | None], None],
        redaction: Redaction | None = None,
        limits: PayloadLimits = DEFAULT_LIMITS,
        max_records: int = 100_000,
        max_bytes: int = 64 * 1024 * 1024,
        backoff: Backoff = RETRIES,
        record_handled: Collection[type] = (),
        time: Callable[[], float] | None = None,
    ) -> None:
        super().__init__(
            system_id=system_id,
            clock=clock,
            registry=registry,
            redaction=redaction,
            limits=limits,
            max_records=max_records,
            max_bytes=max_bytes,
            record_handled=record_handled,
            time=time,
        )
        self._backend = backend
        self._on_problem = on_problem
        self._backoff = backoff
        self._task: asyncio.Task[None] | None = None  # there while anything waits
        self._hurry = asyncio.Event()
        self._turn = asyncio.Lock()
        self._waiters: list[_Waiter] = []
        self._written = 0
        self._last_error: BaseException | None = None
        self._trying_since: float | None = None
        self._is_failing = False
        self._is_overflowing = False
        self._has_told_of_clock = False
        self._is_closed = False
        self._has_ended = False

    @property
    def written(self) -> int:
        """Records known to be durable, loss notes included."""
        return self._written

    @property
    def last_error(self) -> BaseException | None:
        """The newest trouble with the store, even if it is over."""
        return self._last_error

    @property
    def is_open(self) -> bool:
        """Whether records are taken; others are counted as lost."""
        return not (self._is_closed or self._has_ended)

    @property
    def is_degraded(self) -> bool:
        """Whether records do not reach the store now: it fails, hangs, is too slow, or was closed."""
        hangs = self._trying_since is not None and (
            self._clock.monotonic() - self._trying_since >= HANGS_AFTER_SECONDS
        )
        has_trouble = self._is_failing or self._is_overflowing or self._has_ended or hangs
        return has_trouble or not self._backend.state.is_ok

    async def append_now(self, records: Sequence[Record]) -> None:
        """Store ``records`` ahead of anything emitted; durable when it returns, else a `PersistenceError`.

        Their numbers are given back when it raises, so that it may be tried again, or the records emitted.
        """
        async with self._turn:
            if not self.is_open:
                raise BackendClosedError("the recorder was closed")
            if len(self._backlog):
                raise StoreUnavailableError("records that were emitted earlier are not stored yet")
            batch = [self._stamp(record, self._sealing.seal(record)) for record in records]
            try:
                refusal = await self._append(batch)
            except BaseException as error:
                self._take_back(batch, error)
                if isinstance(error, PersistenceError) or not isinstance(error, Exception):
                    raise
                raise StoreUnavailableError(f"the store failed: {error_text(error)}") from error
            if refusal is not None:
                raise refusal

    async def flush(self, timeout: float | None = None) -> bool:
        """Wait until nothing emitted so far waits for the store any more, nor the note that it was lost.

        ``False``: not within ``timeout``, or never, because writing has ended. What was lost is in `dropped`.
        """
        self.take_handled()
        order = self._backlog.last_order
        if self._backlog.is_done(order):
            return True
        if self._has_ended:
            return False
        self._go_on()
        self._hurry.set()
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(_Waiter(order, order, future))
        try:
            async with asyncio.timeout(timeout):
                return await future
        except TimeoutError:
            return False

    async def aclose(self, deadline_seconds: float, *, close_backend: bool = False) -> int:
        """Take nothing more, write what waits until the deadline, and return how many were not written.

        ``close_backend``: let the store go too; how well that works is logged.
        """
        self.take_handled()
        self._is_closed = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + deadline_seconds
        try:
            while len(self._backlog) and not self._has_ended and (left := deadline - loop.time()) > 0:
                await self.flush(left)
        finally:
            self._has_ended = True
            if (task := self._task) is not None:
                task.cancel()
        if task is not None:
            await asyncio.wait({task}, timeout=_CANCEL_GRACE_SECONDS)  # a store may hang even then
        if self.queued:
            _log.error("%d records were not written before the deadline", self.queued)
        if close_backend:
            await self._close_backend(max(_LAST_SECONDS, deadline - loop.time()))
        return self.queued

    async def _close_backend(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._backend.aclose()
        except TimeoutError:
            _log.error("the %s store did not close before the deadline", self._backend.name)
        except Exception:  # noqa: BLE001  # the recorder's firewall, at its end
            _log.exception("the %s store did not close well", self._backend.name)

    def _has_pushed(self, has_dropped: bool) -> None:  # noqa: FBT001  # what the backlog says
        if self._task is None:
            self._go_on()
        if self._stamps.stepped_back and not self._has_told_of_clock:
            self._has_told_of_clock = True
            self._tell(
                f"the clock was set back by {self._stamps.stepped_back:g} s; times go on from before", None
            )
        if has_dropped and not self._is_overflowing:
            self._is_overflowing = True
            self._tell(
                "records come faster than the store takes them: the oldest are dropped, and noted", None
            )

    def _tell(self, problem: str, error: BaseException | None) -> None:
        _log.warning("%s%s", problem, "" if error is None else f" ({error_text(error)})")
        try:
            self._on_problem(problem, error)
        except Exception:  # noqa: BLE001  # the recorder's firewall, around its listener
            _log.exception("the listener for problems failed")

    def _take_back(self, batch: Sequence[Record], error: BaseException) -> None:
        kept = [record for record in reversed(batch) if not self._stamps.give_back(record.kind, record.seq)]
        cause = self._sealing.redact(error_text(error))
        self._backlog.note_refused((record, cause) for record in kept)
        self._go_on()

    def _note_refused(self, batch: Sequence[Storable], error: AppendError) -> int:
        records = [record for each in batch for record in singles(each)]
        refused = {at: cause for at, cause in error.refused if 0 <= at < len(records)}
        if not refused:
            raise StoreUnavailableError("the store refused records, but did not say which") from error
        let_go = [at for at, cause in refused.items() if isinstance(cause, RecordDroppedError)]
        self._backlog.count_dropped(
            records[at] for at in let_go
        )  # which ones they are, the store notes itself
        lost = refused.keys() - set(let_go)
        if lost:
            self._note_lost([(records[at], error_text(refused[at])) for at in lost])
            first, due = self._backlog.order_of(min(lost)), self._backlog.last_order
            self._waiters = [
                each._replace(due=due) if each.order >= first else each for each in self._waiters
            ]
        self._last_error = error
        verb = "refused" if lost else "let go of"
        self._tell(f"the store {verb} {len(refused)} records for good", error)
        self._go_on()
        return len(refused)

    def _note_lost(self, lost: Sequence[tuple[Storable, str]]) -> None:
        for record, cause in lost:
            level = logging.CRITICAL if is_loss_note(record) else logging.ERROR
            _log.log(level, "the store refused a %s for good: %s", record.kind, cause)
        self._backlog.note_refused((record, self._sealing.redact(cause)) for record, cause in lost)

    async def _append(self, batch: Sequence[Storable]) -> AppendError | None:
        refused, refusal = 0, None
        try:
            await self._backend.append(cast("Sequence[Record]", batch))  # it takes what was asked of it
        except AppendError as error:
            refused, refusal = self._note_refused(batch, error), error
        self._written += sum(map(count_of, batch)) - refused
        return refusal

    def _go_on(self) -> None:
        """Write until nothing waits; anew if a sweep over all tasks, as `asyncio.run` does, ended that."""
        if self._task is None and len(self._backlog) and not self._has_ended:
            self._task = asyncio.get_running_loop().create_task(
                self._write_all(), name=f"papyra-recorder-{self._stamps.incarnation}", context=Context()
            )
            self._task.add_done_callback(self._end, context=Context())  # a task may not even get to run

    def _end(self, task: asyncio.Task[None]) -> None:
        self._task = None
        self._tell_waiters()
        if self._waiters or not (task.cancelled() or task.exception()):
            self._go_on()

    async def _write_all(self) -> None:
        try:
            while len(self._backlog) and not _is_cancelled():
                batch = self._backlog.take(MAX_BATCH_RECORDS, MAX_BATCH_BYTES)
                await self._write(await self._prepared(batch))
                await asyncio.sleep(0)  # a store that never waits must not keep the loop to itself
        except Exception as error:  # noqa: BLE001  # the backend was closed, or a fault of ours: no way to go on
            self._last_error = error
            self._has_ended = True
            self._tell("recording has ended", error)

    async def _prepared(self, batch: list[Storable]) -> list[Storable]:
        """Return ``batch`` as the store takes it, with the proof of each letter, a few at a time."""
        if not self._backend.capabilities.takes_ready_events:
            batch = [record for each in batch for record in codec.plain_records(each)]
        until = self._clock.monotonic() + _PROOF_SECONDS
        for place, record in enumerate(batch):
            if isinstance(record, PersistedDeadLetter):
                batch[place] = self._proven(record)
                if self._clock.monotonic() > until:
                    await asyncio.sleep(0)
                    until = self._clock.monotonic() + _PROOF_SECONDS
        return batch

    def _proven(self, letter: PersistedDeadLetter) -> PersistedDeadLetter:
        try:
            return self._sealing.prove(letter)
        except Exception:  # noqa: BLE001  # the recorder's firewall: it stays unproven
            _log.exception("a %s could not be checked", letter.message_type)
            return letter

    async def _write(self, batch: list[Storable]) -> None:
        failures = 0
        while not await self._try(batch):
            failures = 0 if await self._is_hurried(failures + 1) else failures + 1
        self._backlog.settle()
        if self._is_failing:
            self._is_failing = False
            _log.info("the store takes records again; %d wait", self.queued)
        if self._backlog.has_room:
            self._is_overflowing = False
        self._tell_waiters()

    async def _try(self, batch: list[Storable]) -> bool:
        try:
            async with self._turn:
                self._trying_since = self._clock.monotonic()
                await self._append(batch)
        except (BackendClosedError, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException as error:  # whatever a store raises, it is asked again
            if _is_cancelled():
                raise asyncio.CancelledError from error
            self._last_error = error
            if not self._is_failing:
                self._is_failing = True
                self._tell("the store does not take records; they wait in memory", error)
            return False
        finally:
            self._trying_since = None
        return True

    async def _is_hurried(self, failures: int) -> bool:
        """Wait before the next try; whether somebody waits for it, so that the pauses begin anew."""
        try:
            async with asyncio.timeout(self._backoff.delay(failures, random.random())):  # noqa: S311  # no secret
                await self._hurry.wait()
        except TimeoutError:
            return False
        self._hurry.clear()
        return True

    def _tell_waiters(self) -> None:
        waiting = []
        for waiter in self._waiters:
            is_done = self._backlog.is_done(waiter.due)
            if waiter.future.done():
                continue
            if is_done or self._has_ended:
                waiter.future.set_result(is_done)
            else:
                waiting.append(waiter)
        self._waiters = waiting


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
