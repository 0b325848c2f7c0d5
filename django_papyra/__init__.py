"""papyra inside a Django project: history in the ORM, commands, admin; nothing happens at import."""

from __future__ import annotations


def tell(path: str, message: object) -> None:
    """Tell ``message`` to the actor at ``path`` of the system that this process hosts, from any code and any thread.

    Returns once the message is on its way to the mailbox; it does not wait for room there, and what an actor cannot
    take becomes a dead letter. Raises `SystemNotRunning` when no system runs in this process, and
    `InvalidNameError` for what is not a path.
    """
    from django_papyra import hosting  # noqa: PLC0415  # the app registry imports this package first

    hosting.tell(path, message)
