"""papyra inside a Django project: history in the ORM, commands, admin; nothing happens at import."""

from __future__ import annotations


def tell(path: str, message: object) -> None:
    """Tell ``message`` to the actor at ``path`` of the system that this process hosts, from any thread.

    Returns once the message is on its way to the mailbox and does not wait for room there; what an actor
    cannot take becomes a dead letter. Raises `SystemNotRunning` when no system runs in this process,
    `ActorNotFound` and `InvalidNameError` for a path that leads nowhere or is none, and `AskTimeout` when the
    system's loop is blocked for so long that the message was not delivered.
    """
    from django_papyra import hosting  # noqa: PLC0415  # the app registry imports this package first

    hosting.tell(path, message)
