"""Records as the recorder would have written them, one microsecond apart."""

from __future__ import annotations

from papyra.persistence.models import EventType, LossNote, PersistedDeadLetter, PersistedEvent

T0 = 1_800_000_000.0


class Tape:
    """Writes the events of one incarnation, one second apart."""

    def __init__(self, incarnation: str = "A", system_id: str = "orders", start: float = T0) -> None:
        self.incarnation = incarnation
        self.system_id = system_id
        self.now = start
        self.events: list[PersistedEvent] = []

    def add(
        self,
        event_type: str,
        payload: object = None,
        *,
        path: str = "",
        actor_type: str = "",
        address: str = "",
    ) -> PersistedEvent:
        event = PersistedEvent(
            self.system_id,
            address or (f"{self.system_id}:{path}" if path else ""),
            event_type,
            payload,
            self.now,
            incarnation=self.incarnation,
            seq=len(self.events) + 1,
            actor_path=path,
            actor_type=actor_type,
        )
        self.now += 1.0
        self.events.append(event)
        return event

    def begin(self) -> Tape:
        self.add(EventType.SYSTEM_STARTED, {"node": {}})
        return self

    def started(self, path: str, actor_type: str = "shop.Desk", *, address: str = "") -> PersistedEvent:
        payload = {"type": actor_type, "parent": path.rpartition("/")[0]}
        return self.add(EventType.ACTOR_STARTED, payload, path=path, actor_type=actor_type, address=address)

    def crashed(self, path: str, decision: str = "restart", *, address: str = "") -> PersistedEvent:
        payload = {
            "error": "ValueError: no stock",
            "reason": "receive",
            "error_type": "ValueError",
            "traceback": "Traceback …",
            "message_id": "A-7",
            "message_type": "shop.Order",
            "decision": decision,
            "restart": 1,
            "limit": 3,
        }
        return self.add(EventType.ACTOR_CRASHED, payload, path=path, address=address)

    def restarted(self, path: str, *, address: str = "") -> PersistedEvent:
        payload = {"reason": "ValueError: no stock", "restart": 1, "limit": 3}
        return self.add(EventType.ACTOR_RESTARTED, payload, path=path, address=address)

    def stopped(self, path: str, reason: str = "requested", *, address: str = "") -> PersistedEvent:
        payload = {"reason": reason, "text": "as asked"}
        return self.add(EventType.ACTOR_STOPPED, payload, path=path, address=address)

    def ended(self, accounting: object = None) -> PersistedEvent:
        return self.add(EventType.SYSTEM_STOPPED, {"reason": "requested", "accounting": accounting})

    def lost(self, incarnation: str, last_seen: float) -> PersistedEvent:
        return self.add(EventType.INCARNATION_LOST, {"closes": incarnation, "last_seen": last_seen})

    def loss_note(self, first: int, last: int, *, kind: str = "event", of: str = "A") -> PersistedEvent:
        return self.add(EventType.RECORDS_LOST, LossNote(of, kind, first, last, "garbage").to_payload())


def letter(
    path: str,
    timestamp: float,
    *,
    reason: str = "handler_failed",
    incarnation: str = "A",
    count: int = 1,
    address: str = "",
) -> PersistedDeadLetter:
    return PersistedDeadLetter(
        "orders",
        address or f"orders:{path}",
        "shop.Order",
        None,
        timestamp,
        incarnation=incarnation,
        seq=1,
        target_path=path,
        reason=reason,
        count=count,
    )
