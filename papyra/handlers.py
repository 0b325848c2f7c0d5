"""Methods that handle messages by type. Pure."""

from __future__ import annotations

from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

F = TypeVar("F", bound="Callable[..., Any]")

_MARK = "_papyra_handles"


def handles(*types: type) -> Callable[[F], F]:
    """Mark a method of an actor as the handler of messages of these classes, ``async`` or not.

    The most specific class wins. A subclass may override the method by its name, or handle a class anew.
    Raises `TypeError` for anything but classes.
    """
    for type_ in types:
        if not isinstance(type_, type):
            raise TypeError(f"@handles takes classes, not {type_!r:.100}")
    if not types:
        raise TypeError("@handles needs the class of the messages that are handled")

    def mark(method: F) -> F:
        setattr(method, _MARK, types)
        return method

    return mark


def handlers_of(cls: type) -> Mapping[type, str]:
    """Return the names of the methods of ``cls`` that were marked, by the class of message.

    Raises `TypeError` where one class body handles a class twice.
    """
    found: dict[type, str] = {}
    for owner in reversed(cls.__mro__):
        own: dict[type, str] = {}
        for name, member in vars(owner).items():
            for type_ in getattr(member, _MARK, ()):
                if type_ in own:
                    raise TypeError(
                        f"{owner.__qualname__} handles {type_.__qualname__} twice, in {own[type_]} and {name}"
                    )
                own[type_] = name
        found |= own
    return found


def handler_for(handlers: Mapping[type, str], cls: type) -> str | None:
    """Return the name of the handler of messages of ``cls``, ``None`` if there is none."""
    for base in cls.__mro__:
        if base in handlers:
            return handlers[base]
    return None


def declared_messages(cls: type) -> tuple[type, ...]:
    """Return the classes of message that an actor's class declares, by `handles` or as its type argument."""
    found = dict.fromkeys(handlers_of(cls))
    for owner in cls.__mro__:
        for base in vars(owner).get("__orig_bases__", ()):
            for argument in get_args(base):
                found |= dict.fromkeys(_classes_in(argument))
    return tuple(found)


def _classes_in(hint: object) -> list[type]:
    if get_origin(hint) in {Union, UnionType}:
        return [cls for argument in get_args(hint) for cls in _classes_in(argument)]
    return [hint] if isinstance(hint, type) and get_origin(hint) is None else []
