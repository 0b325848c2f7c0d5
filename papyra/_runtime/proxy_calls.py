"""Carry out what a proxy asks for, within what the actor's class allows."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from papyra.actor import Actor
from papyra.messages import ProxyCall, ProxyGetAttr, ProxySetAttr

if TYPE_CHECKING:
    from collections.abc import Callable

    from papyra.messages import AttrPath

PROXY_MESSAGES = frozenset({ProxyCall, ProxyGetAttr, ProxySetAttr})
_OWN_NAMES = frozenset(name for name in dir(Actor) if not name.startswith("_"))


class RefusedError(AttributeError):
    """The proxy may not reach that; the caller is told, the actor has not failed."""

    def __init__(self, text: str, message: object = None) -> None:
        super().__init__(text)
        self.message = message


def perform(actor: Actor, message: object) -> object:
    """Do what ``message`` says and return the result, which may have to be awaited."""
    try:
        act = _prepared(actor, message)
    except RefusedError as error:
        error.message = message
        raise
    return act()


def _prepared(actor: Actor, message: object) -> Callable[[], object]:
    match message:
        case ProxyCall(attr_path, args, kwargs):
            method = _resolve(actor, attr_path)
            if not callable(method):
                raise RefusedError(f"{_name(actor, attr_path)} is not a method")
            return partial(method, *args, **(kwargs or {}))
        case ProxyGetAttr(attr_path):
            found = _resolve(actor, attr_path)
            return lambda: found
        case ProxySetAttr(attr_path, value):
            _check(actor, attr_path)
            owner = _resolve(actor, attr_path[:-1]) if len(attr_path) > 1 else actor
            return partial(setattr, owner, attr_path[-1], value)
        case _:
            raise RefusedError(f"not a proxy message: {type(message).__qualname__}")


def _resolve(actor: Actor, attr_path: AttrPath) -> object:
    _check(actor, attr_path)
    found: object = actor
    for name in attr_path:
        try:
            found = getattr(found, name)
        except AttributeError as error:
            raise RefusedError(f"there is no {_name(actor, attr_path)}") from error
    return found


def _check(actor: Actor, attr_path: AttrPath) -> None:
    allowed = type(actor).proxied
    names: tuple[object, ...] = attr_path
    is_public = bool(names) and all(
        isinstance(name, str) and not name.startswith("_") and name != "context" for name in names
    )
    if not is_public or attr_path[0] in _OWN_NAMES or (allowed is not None and attr_path[0] not in allowed):
        raise RefusedError(f"a proxy may not reach {_name(actor, attr_path)}")


def _name(actor: Actor, attr_path: AttrPath) -> str:
    return ".".join((type(actor).__qualname__, *map(str, attr_path)))
