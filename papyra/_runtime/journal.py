"""Where every fact goes: into memory, to the recorder, to the hooks. Nothing here waits or raises."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from papyra._runtime import records
from papyra._runtime.texts import error_text
from papyra.events import ActorCrashed, ActorEscalated, ActorRestarted, ActorStopped
from papyra.hooks import FailureInfo
from papyra.payloads import message_name
from papyra.payloads.excerpt import excerpt
from papyra.persistence.models import EventType, RecordKind
from papyra.persistence.ready import NO_PAYLOAD, ReadyEvent
from papyra.supervision import RestartScope, SupervisorDecision

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypedDict

    from papyra._runtime.event_log import EventLog
    from papyra._runtime.facts import End, Failure, Origin, Restart
    from papyra._runtime.hook_runner import HookRunner
    from papyra._runtime.identity import Identity
    from papyra._runtime.recorder import Recorder
    from papyra.audit import AuditReport
    from papyra.clock import Clock
    from papyra.events import ActorEvent
    from papyra.payloads import Redaction
    from papyra.supervision import SupervisionPolicy, Verdict

    class _Common(TypedDict):
        path: str
        actor_type: str
        timestamp: float
        message_id: str
        cause_id: str
        root_id: str


_log = logging.getLogger(__name__)

MAX_EXCERPT = 2_048
_STARTED = EventType.ACTOR_STARTED.value
_EVENT = RecordKind.EVENT  # to look a member up takes longer than all else that is done for a field


class Journal:
    """Turns what cells report into events, records and hook calls of one incarnation."""

    def __init__(  # noqa: PLR0913  # its parts, by name
        self,
        *,
        system_id: str,
        incarnation: str,
        clock: Clock,
        recorder: Recorder,
        log: EventLog,
        hooks: HookRunner,
        redaction: Redaction,
    ) -> None:
        self.log = log
        self.recorder = recorder
        self.hooks = hooks
        self._system_id = system_id
        self._incarnation = incarnation
        self._clock = clock
        self._redaction = redaction
        self._is_watched = hooks.wants("on_event")

    def message_id(self, number: int | str) -> str:
        """Return a message's id as it is stored; as which it may be given, if it is another run's."""
        if isinstance(number, str):
            return number
        return f"{self._incarnation}-{number}" if number else ""

    def started(self, who: Identity, origin: Origin) -> None:
        """Record that ``who`` is ready for messages."""
        ready = self._ready(who, origin, _STARTED)
        self.recorder.emit_event(ready)
        self.log.add(ready)
        if self._is_watched:
            self.hooks.post("on_event", records.started_event(ready))

    def restarted(self, who: Identity, restart: Restart) -> None:
        """Record that a new instance of ``who`` is ready for messages."""
        failure, verdict = restart.failure, restart.verdict
        event = ActorRestarted(
            who.address.to_dict(),
            failure.text,
            restart=verdict.restart,
            limit=verdict.limit,
            sibling=restart.sibling,
            **self._common(who, failure.origin),
        )
        self._add(who, event, failure.origin)

    def crashed(self, who: Identity, failure: Failure, verdict: Verdict, policy: SupervisionPolicy) -> None:
        """Record and log a failure with the decision about it."""
        is_alone = (
            policy.scope is RestartScope.ONE_FOR_ONE or verdict.decision is not SupervisorDecision.RESTART
        )
        event = ActorCrashed(
            who.address.to_dict(),
            failure.text,
            failure.during,
            error_type=_class_of(failure.error),
            traceback=failure.traceback,
            message_type=failure.message_type,
            message=self._excerpt(failure),
            recent=tuple(
                {"message_id": self.message_id(number), "message_type": message_name(cls)}
                for number, cls in failure.recent
            ),
            decision=verdict.decision.value,
            decided_by="parent" if verdict.is_by_parent else "policy",
            restart=verdict.restart,
            limit=verdict.limit,
            scope="" if is_alone else policy.scope.value,
            **self._common(who, failure.origin),
        )
        _log.error(
            "%s%s failed in %s: %s; decision: %s (restart %d of %d)",
            self._system_id,
            who.path,
            failure.during,
            failure.text,
            event.decision,
            verdict.restart,
            verdict.limit,
            exc_info=failure.error,
        )
        self._add(who, event, failure.origin)
        if self.hooks.wants("on_failure"):
            decision = SupervisorDecision(verdict.decision)
            self.hooks.post("on_failure", FailureInfo(who.address, failure.error, policy.strategy, decision))

    def escalated(self, who: Identity, failure: Failure, to: Identity | None) -> None:
        """Record that the failure of ``who`` is its parent's now."""
        event = ActorEscalated(
            who.address.to_dict(),
            error=failure.text,
            to="" if to is None else to.path,
            **self._common(who, failure.origin),
        )
        self._add(who, event, failure.origin)

    def stopped(self, who: Identity, end: End, on_stop_error: BaseException | None) -> None:
        """Record the end of ``who``."""
        verdict = end.verdict
        event = ActorStopped(
            who.address.to_dict(),
            end.reason,
            text=end.text,
            error=end.error,
            decision="" if verdict is None else verdict.decision.value,
            restart=0 if verdict is None else verdict.restart,
            limit=0 if verdict is None else verdict.limit,
            on_stop_error="" if on_stop_error is None else error_text(on_stop_error),
            **self._common(who, end.origin),
        )
        self._add(who, event, end.origin)

    def audited(self, report: AuditReport) -> None:
        """Record an audit."""
        self.recorder.emit(records.audit_record(report))
        self.hooks.post("on_audit", report)

    def system(self, event_type: EventType, payload: Mapping[str, object]) -> None:
        """Record something about the system as a whole."""
        self.recorder.emit(records.system_record(self._system_id, event_type, payload))

    def _excerpt(self, failure: Failure) -> str:
        if not failure.has_message:
            return ""
        return excerpt(failure.message, max_bytes=MAX_EXCERPT, redaction=self._redaction)

    def _common(self, who: Identity, origin: Origin) -> _Common:
        return {
            "path": who.path,
            "actor_type": who.actor_type,
            "timestamp": self._clock.now(),
            "message_id": self.message_id(origin.id),
            "cause_id": self.message_id(origin.cause),
            "root_id": self.message_id(origin.root),
        }

    def _add(self, who: Identity, event: ActorEvent, origin: Origin) -> None:
        self.log.add(event)
        self.recorder.emit_event(self._ready(who, origin, type(event).__name__), event.payload)
        self.hooks.post("on_event", event)

    def _ready(self, who: Identity, origin: Origin, event_type: str) -> ReadyEvent:
        system_id, name = self._system_id, self.message_id
        return ReadyEvent(
            0,
            _EVENT,
            "",
            system_id,
            0.0,
            f"{system_id}:{who.id}",
            event_type,
            NO_PAYLOAD,
            who.path,
            who.actor_type,
            name(origin.id) if origin.id else "",
            name(origin.cause) if origin.cause else "",
            name(origin.root) if origin.root else "",
        )


def _class_of(error: BaseException) -> str:
    cls = type(error)
    return f"{cls.__module__}.{cls.__qualname__}"
