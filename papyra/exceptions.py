"""Every error papyra raises, in one tree; driver and OS errors are translated into it once, cause kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class PapyraError(Exception):
    """The root of every error papyra raises."""


class ActorStopped(PapyraError):  # the published name
    """The target does not run (any more); ``reason`` is the wire word of why, when it is known."""

    def __init__(self, message: str = "Actor stopped", *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class AskTimeout(PapyraError, TimeoutError):
    """No reply came within the deadline, which covers queueing and handling."""


class MailboxClosed(PapyraError):  # the published name
    """Nothing raises it any more: who sends to an actor that has stopped is told `ActorStopped`."""


class MailboxFull(PapyraError):  # pairs with MailboxClosed
    """More senders wait for room than the mailbox has places."""


class StashFull(PapyraError):  # pairs with MailboxFull
    """As many messages are put aside as the mailbox has places."""


class UnhandledMessage(PapyraError):  # what it says of a message, not of a fault
    """The actor has no handler for ``message``: that is a dead letter, and no failure of the actor."""

    def __init__(self, text: str, message: object = None) -> None:
        super().__init__(text)
        self.message = message


class RedeliveryRefused(PapyraError, ValueError):  # the decision, as the user meets it
    """A dead letter cannot be sent again as asked; the text says what is in the way, and what would do."""


class NameTaken(PapyraError, ValueError):
    """Another living child of the same parent has this name."""


class InvalidNameError(PapyraError, ValueError):
    """A name or path is not made of parts ``[A-Za-z0-9_.-]{1,100}``."""


class ActorNotFound(ActorStopped):
    """No living actor has this address, path or name."""


class SystemNotRunning(ActorStopped):
    """The system has not started, or has stopped."""


class PayloadError(PapyraError, ValueError):
    """A stored payload is not what it says, or cannot be rebuilt; the text names the place."""


class UnknownMessageTypeError(PayloadError):
    """The registry has no type of this name; nothing is ever imported by a stored name."""


class ConfigurationError(PapyraError, ValueError):
    """A setting, option or store URL is wrong; the text says which, where and what would do."""


class PersistenceError(PapyraError):
    """The root of what a store raises."""


class BackendClosedError(PersistenceError):
    """The backend was closed; nothing was stored."""


class StoreUnavailableError(PersistenceError):
    """The store does not answer (server down, folder missing, permission denied); a later try may work."""


class StoreFullError(StoreUnavailableError):
    """No room is left; appends work again once there is some."""


class StoreBusyError(StoreUnavailableError):
    """The queue of the store is full and was told to refuse; nothing of this call was stored."""


class StoreLockedError(StoreUnavailableError):
    """Another writer holds the store; the text names it and the command that works meanwhile."""


class StoreFailedError(PersistenceError):
    """The medium refused a sync or a read: what it holds is in doubt, so nothing more is written to it."""


class NewerFormatError(PersistenceError):
    """The store was written by a newer version; it is neither read, written nor repaired."""


class ForeignStoreError(PersistenceError):
    """The store's identity is another one than expected."""


class RecordDecodeError(PersistenceError, ValueError):
    """These bytes are not a record."""


class RecordConflictError(PersistenceError):
    """The identity ``(incarnation, kind, seq)`` is stored already, with other bytes."""


class RecordDroppedError(PersistenceError):
    """A full queue that was told to drop the oldest let this record go before it was written."""


class RecordTooLargeError(PersistenceError, ValueError):
    """One record is over the store's size limit."""


class AppendError(PersistenceError):
    """Some records of a batch were refused for good; every other record of the batch is durable.

    ``refused`` pairs each refused record's position in the batch with the error that says why.
    """

    def __init__(self, refused: Sequence[tuple[int, PersistenceError]]) -> None:
        self.refused = tuple(refused)
        first = self.refused[0][1]
        more = f" (and {len(self.refused) - 1} more)" if len(self.refused) > 1 else ""
        super().__init__(f"{len(self.refused)} of the records were refused: {first}{more}")

    def __reduce__(self) -> tuple[type[AppendError], tuple[object]]:
        return type(self), (self.refused,)


class InvalidRecordError(PersistenceError, ValueError):
    """A record that no store can hold, such as one without a finite timestamp."""


class InvalidQueryError(PersistenceError, ValueError):
    """A question that no store can answer, such as a negative limit or a cursor of another store."""


class RecoveryError(PersistenceError):
    """A recovery could not be carried out; the store is as it was."""


class PersistenceStartupError(PapyraError, RuntimeError):
    """The startup check refused: no ``on_start`` ran and nothing was written. ``report`` is its evidence."""

    def __init__(self, message: str, *, report: object = None) -> None:
        super().__init__(message)
        self.report = report
