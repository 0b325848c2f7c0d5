"""Which classes stored messages may be rebuilt into. Built at start, by hand; there is no global one."""

from __future__ import annotations

import typing
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from enum import Enum
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import msgspec

from papyra.exceptions import ConfigurationError, PayloadError, UnknownMessageTypeError
from papyra.payloads.decoding import parse, read_tree
from papyra.payloads.excerpt import excerpt
from papyra.payloads.leaves import LEAVES
from papyra.payloads.names import is_message, message_name, message_version
from papyra.payloads.rebuilding import rebuild, rebuild_tagged
from papyra.payloads.redaction import DEFAULT_REDACTION
from papyra.payloads.shapes import (
    BASES,
    KnownType,
    field_keys,
    nested_classes,
    resolved_hints,
    shape_of,
    shape_of_class,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Step = Callable[[dict[str, Any]], dict[str, Any]]

_BUILT_IN = (*BASES, bool, type(None), *LEAVES, OrderedDict, Counter, defaultdict, deque)
_MAX_SAID = 300
_WRAPPER = {"type", "version", "data"}


class MessageRegistry:
    """The allow-list of message classes, with what their annotations name, and how old versions step up.

    A class that only stands in a message's annotation may be rebuilt inside messages, but is none itself.
    """

    def __init__(self, types: Iterable[type] = ()) -> None:
        self._by_name: dict[str, KnownType] = {}
        self._by_class: dict[type, KnownType] = {}
        self._known = MappingProxyType(self._by_class)
        self._steps: dict[tuple[str, int], Step] = {}
        self._declared: set[str] = set()
        for cls in _BUILT_IN:
            self._commit([_describe(cls, is_message=True)])
        for cls in types:
            self.add(cls)

    @property
    def known(self) -> Mapping[type, KnownType]:
        """Every class that data may be rebuilt into, by itself."""
        return self._known

    def names(self) -> tuple[str, ...]:
        """Return the names of all messages, sorted."""
        return tuple(sorted(name for name, known in self._by_name.items() if known.is_message))

    def get(self, name: str) -> KnownType:
        """Return a message by its stored name; raises `UnknownMessageTypeError`."""
        known = self._by_name.get(name)
        if known is None or not known.is_message:
            raise UnknownMessageTypeError(f"{name[:200]!r} is not a registered message type")
        return known

    def add(self, cls: type) -> None:
        """Register a dataclass, Struct, enum or subclass of a built-in; all of it or nothing.

        Raises `ConfigurationError` if it is none of these, if its annotations do not resolve, or if its name
        is taken by another class.
        """
        if not isinstance(cls, type):
            raise ConfigurationError(f"{cls!r:.200} is not a class")
        if cls in _BUILT_IN:
            return
        self._declared.discard(message_name(cls))
        if not _can_be_rebuilt(cls):
            raise ConfigurationError(
                f"{message_name(cls)} cannot be a message: it is no dataclass, msgspec.Struct, NamedTuple, "
                "enum or subclass of a built-in, so nothing says how to store it",
            )
        self._commit([_describe(each, is_message=each is cls) for each in _family(cls)])

    def add_declared(self, cls: type) -> bool:
        """Register what an actor was declared to take, if it can be rebuilt; whether it can.

        Such a message can be sent again as it is stored; `is_editable` tells those apart that may be edited.
        """
        if cls in self._by_class and self._by_class[cls].is_message:
            return True
        try:
            self.add(cls)
        except ConfigurationError:
            return False
        self._declared.add(message_name(cls))
        return True

    def is_editable(self, name: str) -> bool:
        """Whether the message is known by more than the actor that takes it."""
        return name not in self._declared and name in self.names()

    def add_module(self, module: ModuleType) -> tuple[str, ...]:
        """Register every class of the module that is marked with ``@message``; return their names."""
        marked = [each for each in vars(module).values() if isinstance(each, type) and is_message(each)]
        for cls in marked:
            self.add(cls)
        return tuple(sorted({message_name(cls) for cls in marked}))

    def add_step(self, type_or_name: type | str, from_version: int, step: Step) -> None:
        """Register how data of ``from_version`` becomes the next version's; ``step`` may change its input."""
        name = type_or_name if isinstance(type_or_name, str) else message_name(type_or_name)
        if self._steps.setdefault((name, from_version), step) is not step:
            raise ConfigurationError(f"{name} has a step from version {from_version} already")

    def decode_message(self, payload: bytes | str | Mapping[str, Any]) -> Any:
        """Return the message of a stored ``{"type", "version", "data"}``, as JSON or as its tree.

        Raises `PayloadError` with the place: an unknown key, a wrong type, a newer version, a value that was
        redacted or could not be stored; `UnknownMessageTypeError` for a class that is not registered.
        """
        try:
            return self._decode(parse(payload) if isinstance(payload, (bytes, str)) else payload)
        except PayloadError:
            raise
        except Exception as error:  # a class's __post_init__, __hash__ or __eq__, or a step
            said = excerpt(error, max_bytes=_MAX_SAID, redaction=DEFAULT_REDACTION)
            raise PayloadError(f"data: rebuilding it raised {said}") from error

    def _decode(self, tree: Any) -> Any:
        if not isinstance(tree, Mapping) or tree.keys() != _WRAPPER:
            raise PayloadError('not a stored message: expected an object with "type", "version" and "data"')
        name, version = tree["type"], tree["version"]
        if type(name) is not str or type(version) is not int or version < 1:
            raise PayloadError(f"not a stored message: type {name!r:.100}, version {version!r:.100}")
        known = self.get(name)
        data = read_tree(tree["data"], self._resolve)
        return rebuild(known, self._step_up(known, version, data), "data")

    def _step_up(self, known: KnownType, version: int, data: Any) -> Any:
        if version > known.version:
            raise PayloadError(
                f"{known.name} was stored as version {version}, newer than the {known.version} known here",
            )
        for passed in range(version, known.version):
            step = self._steps.get((known.name, passed))
            if step is None:
                raise PayloadError(
                    f"{known.name}: no step is registered from version {passed} to {passed + 1}"
                )
            data = step(data)
        return data

    def _resolve(self, name: str, data: object, place: str) -> object:
        known = self._by_name.get(name)
        if known is None:
            raise UnknownMessageTypeError(f"{place}: {name[:200]!r} is not a registered type")
        return rebuild_tagged(known, data, place)

    def _commit(self, family: Iterable[KnownType]) -> None:
        merged: dict[str, KnownType] = {}
        for new in family:
            old = merged.get(new.name) or self._by_name.get(new.name)
            if old is not None and old.cls is not new.cls:
                raise ConfigurationError(
                    f"two classes would be stored as {new.name!r}: {old.cls!r} and {new.cls!r}; "
                    "name one with @message",
                )
            merged[new.name] = replace(new, is_message=new.is_message or (old is not None and old.is_message))
        self._by_name.update(merged)
        self._by_class.update({known.cls: known for known in merged.values()})


def _describe(cls: type, *, is_message: bool) -> KnownType:
    shape, convertible = shape_of(cls)
    array_like = issubclass(cls, msgspec.Struct) and cls.__struct_config__.array_like
    return KnownType(
        name=message_name(cls),
        cls=cls,
        version=message_version(cls),
        is_message=is_message,
        shape=shape_of_class(cls) or shape,
        convertible=convertible and not array_like,
    )


def _family(cls: type) -> Iterator[type]:
    """Yield the class, then every class that its annotations lead to and that can be rebuilt."""
    seen: set[type] = set()
    pending = [cls]
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        if _can_be_rebuilt(current):
            yield current
        if _can_be_rebuilt(current) or typing.is_typeddict(current):
            hints = {} if issubclass(current, Enum) else resolved_hints(current)
            pending += [each for hint in hints.values() for each in nested_classes(hint)]


def _can_be_rebuilt(cls: type) -> bool:
    if cls in _BUILT_IN or typing.is_typeddict(cls):
        return False
    if issubclass(cls, Enum):
        return bool(cls.__members__)
    return issubclass(cls, BASES) or field_keys(cls) is not None
