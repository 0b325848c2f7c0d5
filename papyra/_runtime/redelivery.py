"""Send a dead letter again: what is to be sent, to whom, or why not. Planning sends nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from papyra._runtime.mailbox import Past
from papyra.address import is_generated
from papyra.exceptions import PapyraError, PayloadError, RedeliveryRefused, UnknownMessageTypeError
from papyra.messages import AS_STORED, Redelivery
from papyra.payloads import REDACTED_TEXT, Encoded, Fidelity, message_name, restored

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra._runtime.cell import Cell
    from papyra.payloads import MessageRegistry
    from papyra.persistence.models import PersistedDeadLetter


class Plan(NamedTuple):
    """A letter that can be sent again."""

    letter: PersistedDeadLetter
    target: Cell
    message: object

    def said(self, message_id: str, *, is_dry_run: bool) -> Redelivery:
        """Return what the caller is told."""
        return Redelivery(
            letter_id_of(self.letter),
            self.target.path,
            message_name(self.message),
            message_id,
            self.letter.attempts + 1,
            is_dry_run,
        )


def letter_id_of(letter: PersistedDeadLetter) -> str:
    """Return the identity of a letter as further letters of its message quote it."""
    return f"{letter.incarnation}-{letter.kind}-{letter.seq}" if letter.seq else ""


def plan(
    letter: PersistedDeadLetter,
    find: Callable[[str], Cell],
    registry: MessageRegistry,
    *,
    to: Cell | str | None,
    message: object,
) -> Plan:
    """Return what is to be sent to whom; raises `RedeliveryRefused`."""
    rebuilt = _as_stored(letter, registry) if message is AS_STORED else _edited(letter, registry, message)
    return Plan(letter, _target_of(letter, find, to), rebuilt)


async def send(planned: Plan) -> Redelivery:
    """Put the message into its mailbox under a new id, caused by the old one; may wait for room."""
    target, letter = planned.target, planned.letter
    headers = {name: text for name, text in letter.headers.items() if REDACTED_TEXT not in text}
    envelope = target.wrap(planned.message, None, None, headers)
    envelope.past = Past(letter.attempts, letter_id_of(letter))
    if letter.message_id:
        envelope.cause, envelope.root = letter.message_id, letter.root_id or letter.message_id
    try:
        await target.enqueue(envelope)
    except PapyraError as error:
        raise RedeliveryRefused(f"{target.path} did not take the message: {error}") from error
    return planned.said(target.site.journal.message_id(envelope.id), is_dry_run=False)


def _as_stored(letter: PersistedDeadLetter, registry: MessageRegistry) -> object:
    if letter.fidelity != Fidelity.EXACT:
        detail = f" ({letter.fidelity_detail})" if letter.fidelity_detail else ""
        raise RedeliveryRefused(
            f"the {letter.message_type} was stored {letter.fidelity or 'inexact'}{detail}: "
            "give message= with what is to be sent in its place"
        )
    payload = letter.payload
    json = payload.json if isinstance(payload, Encoded) else restored(payload)
    return _rebuilt(registry, json)


def _edited(letter: PersistedDeadLetter, registry: MessageRegistry, message: object) -> object:
    if not isinstance(message, Mapping) or letter.message_type in _MAPPINGS:
        return message
    try:
        version = registry.get(letter.message_type).version
    except UnknownMessageTypeError as error:
        raise RedeliveryRefused(f"the message cannot be rebuilt: {error}") from error
    return _rebuilt(registry, {"type": letter.message_type, "version": version, "data": dict(message)})


_MAPPINGS = frozenset({"dict", "collections.OrderedDict", "collections.Counter", "collections.defaultdict"})


def _rebuilt(registry: MessageRegistry, payload: bytes | Mapping[str, object]) -> object:
    try:
        return registry.decode_message(payload)
    except PayloadError as error:
        raise RedeliveryRefused(f"the message cannot be rebuilt: {error}") from error


def _target_of(letter: PersistedDeadLetter, find: Callable[[str], Cell], to: Cell | str | None) -> Cell:
    if to is not None and not isinstance(to, str):
        if not to.is_alive:
            raise RedeliveryRefused(f"{to.stopped_error()}: give to= with one that is")
        return to
    path = letter.target_path if to is None else to
    if to is None and is_generated(path):
        raise RedeliveryRefused(f"{path} is a generated path, which means nothing to later runs: give to=")
    if not path:
        raise RedeliveryRefused("the letter says no target: give to=")
    try:
        target = find(path)
    except PapyraError as error:
        raise RedeliveryRefused(f"{error}: start it, or give to=") from error
    if to is None and letter.target_type and letter.target_type != target.actor_type:
        raise RedeliveryRefused(
            f"{path} is a {target.actor_type} now, the letter was for a {letter.target_type}: "
            "give to= to send it nevertheless"
        )
    return target
