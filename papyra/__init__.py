"""papyra: an async actor runtime whose whole life is on record. Names are imported when they are used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papyra.actor import Actor, handles
    from papyra.address import ActorAddress
    from papyra.audit import Accounting, ActorInfo, AuditReport
    from papyra.context import ActorContext
    from papyra.events import StopReason
    from papyra.exceptions import (
        ActorStopped,
        AskTimeout,
        MailboxClosed,
        MailboxFull,
        NameTaken,
        PapyraError,
        PersistenceStartupError,
        RedeliveryRefused,
        StashFull,
        UnhandledMessage,
    )
    from papyra.hooks import FailureInfo, SystemHooks
    from papyra.messages import (
        DeadLetterReason,
        MailboxPolicy,
        PipeFailed,
        ProxyCall,
        ProxyGetAttr,
        ProxySetAttr,
        ReceiveTimeout,
        Redelivery,
        Request,
    )
    from papyra.payloads import message
    from papyra.proxy import ActorProxy, ProxyAccessor
    from papyra.ref import ActorRef, DeadLetter, Terminated
    from papyra.supervision import (
        Backoff,
        MessageFate,
        RestartScope,
        RestartType,
        Strategy,
        SupervisionPolicy,
        SupervisorDecision,
    )
    from papyra.system import ActorSystem

__version__ = "0.1.0.dev0"

_HOMES = {
    "Accounting": "papyra.audit",
    "Actor": "papyra.actor",
    "ActorAddress": "papyra.address",
    "ActorContext": "papyra.context",
    "ActorInfo": "papyra.audit",
    "ActorProxy": "papyra.proxy",
    "ActorRef": "papyra.ref",
    "ActorStopped": "papyra.exceptions",
    "ActorSystem": "papyra.system",
    "AskTimeout": "papyra.exceptions",
    "AuditReport": "papyra.audit",
    "Backoff": "papyra.supervision",
    "DeadLetter": "papyra.ref",
    "DeadLetterReason": "papyra.messages",
    "FailureInfo": "papyra.hooks",
    "MailboxClosed": "papyra.exceptions",
    "MailboxFull": "papyra.exceptions",
    "MailboxPolicy": "papyra.messages",
    "MessageFate": "papyra.supervision",
    "NameTaken": "papyra.exceptions",
    "PapyraError": "papyra.exceptions",
    "PersistenceStartupError": "papyra.exceptions",
    "PipeFailed": "papyra.messages",
    "ProxyAccessor": "papyra.proxy",
    "ProxyCall": "papyra.messages",
    "ProxyGetAttr": "papyra.messages",
    "ProxySetAttr": "papyra.messages",
    "ReceiveTimeout": "papyra.messages",
    "Redelivery": "papyra.messages",
    "RedeliveryRefused": "papyra.exceptions",
    "Request": "papyra.messages",
    "RestartScope": "papyra.supervision",
    "RestartType": "papyra.supervision",
    "StashFull": "papyra.exceptions",
    "StopReason": "papyra.events",
    "Strategy": "papyra.supervision",
    "SupervisionPolicy": "papyra.supervision",
    "SupervisorDecision": "papyra.supervision",
    "SystemHooks": "papyra.hooks",
    "Terminated": "papyra.ref",
    "UnhandledMessage": "papyra.exceptions",
    "handles": "papyra.actor",
    "message": "papyra.payloads",
}

__all__ = [
    "Accounting",
    "Actor",
    "ActorAddress",
    "ActorContext",
    "ActorInfo",
    "ActorProxy",
    "ActorRef",
    "ActorStopped",
    "ActorSystem",
    "AskTimeout",
    "AuditReport",
    "Backoff",
    "DeadLetter",
    "DeadLetterReason",
    "FailureInfo",
    "MailboxClosed",
    "MailboxFull",
    "MailboxPolicy",
    "MessageFate",
    "NameTaken",
    "PapyraError",
    "PersistenceStartupError",
    "PipeFailed",
    "ProxyAccessor",
    "ProxyCall",
    "ProxyGetAttr",
    "ProxySetAttr",
    "ReceiveTimeout",
    "Redelivery",
    "RedeliveryRefused",
    "Request",
    "RestartScope",
    "RestartType",
    "StashFull",
    "StopReason",
    "Strategy",
    "SupervisionPolicy",
    "SupervisorDecision",
    "SystemHooks",
    "Terminated",
    "UnhandledMessage",
    "__version__",
    "handles",
    "message",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
