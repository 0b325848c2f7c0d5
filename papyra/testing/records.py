"""Records to store in tests: plain ones, full ones, and those that no store can hold."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from papyra.persistence.models import PersistedAudit, PersistedDeadLetter, PersistedEvent, RecordKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.persistence.models import Record

EPOCH = 1_750_000_000.0
INCARNATION = "01JDGH5Q7W0000000000000001"
OTHER_INCARNATION = "01JDGH5Q7W0000000000000002"


def event(number: int, **changes: Any) -> PersistedEvent:
    """Return an event that is told from others by its ``number``."""
    return PersistedEvent(
        **{
            "system_id": "orders",
            "actor_address": f"orders:{number}",
            "event_type": "ActorStarted",
            "payload": {"number": number},
            "timestamp": EPOCH + number,
            **changes,
        }
    )


def audit(number: int, **changes: Any) -> PersistedAudit:
    """Return an audit that is told from others by its ``number``."""
    return PersistedAudit(
        **{
            "system_id": "orders",
            "timestamp": EPOCH + number,
            "total_actors": number,
            "alive_actors": number,
            "stopping_actors": 0,
            "restarting_actors": 0,
            "registry_size": number,
            "registry_orphans": (),
            "registry_dead": (),
            "dead_letters_count": 0,
            **changes,
        }
    )


def letter(number: int, **changes: Any) -> PersistedDeadLetter:
    """Return a dead letter that is told from others by its ``number``."""
    return PersistedDeadLetter(
        **{
            "system_id": "orders",
            "target": f"orders:{number}",
            "message_type": "shop.PlaceOrder",
            "payload": {"number": number},
            "timestamp": EPOCH + number,
            **changes,
        }
    )


MAKERS: dict[RecordKind, Callable[..., Record]] = {
    RecordKind.EVENT: event,
    RecordKind.AUDIT: audit,
    RecordKind.DEAD_LETTER: letter,
}

_TRACE: dict[str, Any] = {
    "message_id": "m-3",
    "cause_id": "m-2",
    "root_id": "m-1",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "span_id": "00f067aa0ba902b7",
}


def full_records() -> tuple[Record, ...]:
    """Return a record of each kind with every field set to something that is not its default."""
    return (
        event(
            1,
            payload={"why": "größer \u2028 als 中\x00\x7f", "nested": [1, 2.5, None, True, {"$": "x"}]},
            actor_path="/desk/stock",
            actor_type="shop.Stock",
            extra={"weather": {"sky": ["grey"]}},
            **_TRACE,
        ),
        audit(
            2,
            registry_orphans=("orders:7", "orders:8"),
            registry_dead=("orders:9",),
            dead_letters_count=3,
            stopping_actors=1,
            restarting_actors=2,
            accepted=10,
            handled=4,
            failed=3,
            dead=2,
            expired=1,
            pending=5,
            records_dropped=6,
            details={"tree": [{"path": "/desk", "depth": 2}]},
            extra={"weather": "grey"},
        ),
        letter(
            3,
            target_path="/desk/stock",
            target_type="shop.Stock",
            reason="handler_failed",
            error="ValueError: no \ud800 stock\x00",
            attempts=2,
            expects_reply=True,
            deadline=EPOCH + 30.25,
            sender_path="/desk",
            headers={"traceparent": "00-4bf9-00f0-01", "baggage": "größe=1"},
            redelivered_from="m-0",
            fidelity="inexact",
            fidelity_detail="data.when: a zone",
            count=7,
            extra={"weather": None},
            **_TRACE,
        ),
    )


def unstorable_records() -> tuple[Record, ...]:
    """Return what no store can hold: each is refused, and takes nothing else with it."""
    untyped: Any = "not a record"
    return (
        event(0, timestamp=math.nan),
        event(0, timestamp=-math.inf),
        event(0, timestamp=10**400),
        event(0, timestamp=True),
        event(0, timestamp="yesterday"),
        event(0, event_type=5),
        event(0, seq=5),
        event(0, incarnation=INCARNATION),
        event(0, incarnation=INCARNATION, seq=-1),
        event(0, incarnation=INCARNATION, seq=1.0),
        event(0, incarnation=INCARNATION, seq=2**63),
        event(0, incarnation='x","seq":1', seq=1),
        event(0, extra={"seq": 77}),
        event(0, extra={"kind": "audit"}),
        event(0, extra={"crc": "00000000"}),
        event(0, extra={"incarnation": OTHER_INCARNATION}),
        event(0, extra={"system_id": "payments"}),
        event(0, extra={"weather": math.nan}),
        event(0, extra={"weather": {1, 2}}),
        audit(0, registry_orphans=(1, 2)),
        audit(0, total_actors=2**70),
        audit(0, alive_actors=True),
        letter(0, deadline=math.inf),
        letter(0, headers={"n": 1}),
        letter(0, expects_reply=1),
        letter(0, error="x" * (17 * 1024 * 1024)),
        cast("Record", untyped),
    )


def content(record: Record) -> Record:
    """Return ``record`` without its identity, which the store may have given it."""
    return replace(record, incarnation="", seq=0)


def contents(records: Any) -> list[Record]:
    """Return `content` of each."""
    return [content(record) for record in records]


def numbers(records: Any) -> list[int]:
    """Return what `event`, `audit` or `letter` were called with."""
    return [int(record.timestamp - EPOCH) for record in records]
