"""What the tests of the admin's pages share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.contrib.auth.models import Permission, User
from django.urls import reverse

from django_papyra.backend import DjangoPersistence
from django_papyra.models import Audit, DeadLetter, Event, Incarnation, QuarantinedRecord
from papyra.persistence import run_sync
from papyra.persistence.models import PersistedAudit, PersistedDeadLetter, PersistedEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import Model

    from papyra.persistence.models import Record

MODELS: Sequence[type[Model]] = (Event, DeadLetter, Audit, Incarnation, QuarantinedRecord)


def record(*records: Record) -> None:
    async def append() -> None:
        async with DjangoPersistence() as backend:
            await backend.append(records)

    run_sync(append())


def event(number: int = 0, **changes: Any) -> PersistedEvent:
    fields: dict[str, Any] = {
        "system_id": "orders",
        "actor_address": f"orders:{number}",
        "event_type": "ActorStarted",
        "payload": {"n": number},
        "timestamp": 1_795_000_000.0 + number,
        "actor_path": f"/desk-{number}",
    }
    return PersistedEvent(**{**fields, **changes})


def letter(number: int = 0, **changes: Any) -> PersistedDeadLetter:
    fields: dict[str, Any] = {
        "system_id": "orders",
        "target": f"orders:{number}",
        "message_type": "orders.PlaceOrder",
        "payload": {"type": "orders.PlaceOrder", "version": 1, "data": {"n": number}},
        "timestamp": 1_795_000_000.0 + number,
        "target_path": f"/desk-{number}",
        "reason": "handler_failed",
        "error": "ValueError: no",
    }
    return PersistedDeadLetter(**{**fields, **changes})


def list_url(model: type[Model], query: str = "") -> str:
    return reverse(f"admin:django_papyra_{model._meta.model_name}_changelist") + query  # noqa: SLF001  # Django's own


def detail_url(row: Model) -> str:
    return reverse(f"admin:django_papyra_{row._meta.model_name}_change", args=(row.pk,))  # noqa: SLF001


def staff(*codenames: str, username: str = "operator") -> User:
    user = User.objects.create_user(username, password="x", is_staff=True)  # noqa: S106
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return user


def times(body: str) -> list[str]:
    return re.findall(r'<time datetime="([^"]+)"', body)


def audit(number: int = 0, **changes: Any) -> PersistedAudit:
    fields: dict[str, Any] = {
        "system_id": "orders",
        "timestamp": 1_795_000_000.0 + number,
        "total_actors": 1,
        "alive_actors": 1,
        "stopping_actors": 0,
        "restarting_actors": 0,
        "registry_size": 1,
        "registry_orphans": (),
        "registry_dead": (),
        "dead_letters_count": 0,
    }
    return PersistedAudit(**{**fields, **changes})
