"""Objects that raise, lie and change. Not in a test module, since the collector would look at them."""

from __future__ import annotations

import asyncio
import collections
import json
import threading
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import MagicMock, Mock

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def explode(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("boom")


def overflow() -> NoReturn:
    overflow()


class ReprRaises:
    def __repr__(self) -> str:
        raise ValueError("no repr for you")


class ReprExits:
    def __repr__(self) -> str:
        raise SystemExit(3)


class ReprIsCancelled:
    def __repr__(self) -> str:
        raise asyncio.CancelledError


class ReprOverflows:
    def __repr__(self) -> str:
        return overflow()


class ReprIsNoText:
    def __repr__(self) -> str:
        return 5  # type: ignore[return-value]  # that is the point


class HostileText(str):
    __slots__ = ()
    __str__ = __repr__ = __hash__ = __eq__ = __iter__ = __len__ = explode
    encode = isascii = strip = explode


class ReprIsHostileText:
    def __repr__(self) -> str:
        return HostileText("still readable")


class ReprIsHuge:
    def __repr__(self) -> str:
        return "x" * 5_000_000


class EverythingRaises:
    __str__ = __repr__ = __hash__ = __eq__ = __iter__ = __len__ = __bool__ = explode
    __getattr__ = __getattribute__ = __dir__ = __reduce__ = __sizeof__ = __format__ = explode


class LiesAboutItsClass:
    __class__ = dict  # type: ignore[assignment]  # the lie


class HostileMeta(type):
    __getattribute__ = __hash__ = __eq__ = __instancecheck__ = __subclasscheck__ = explode


class OfHostileMeta(metaclass=HostileMeta):
    pass


class ClaimsToBeBytes(type):
    def __hash__(cls) -> int:
        return hash(bytes)

    def __eq__(cls, other: object) -> bool:
        return True


class Pretender(metaclass=ClaimsToBeBytes):
    pass


@dataclass
class FieldIsAProperty:
    sku: str
    qty: int = 1

    def __getattribute__(self, name: str) -> Any:
        return explode()


class _Raising:
    def __get__(self, instance: object, owner: object) -> NoReturn:
        raise LookupError("no such field")

    def __set__(self, instance: object, value: object) -> None:
        pass


@dataclass
class FieldRaises:
    sku: str


FieldRaises.sku = _Raising()  # type: ignore[assignment]  # a descriptor in a field's place


@dataclass(slots=True)
class FieldIsUnset:
    sku: str = field(init=False)


class LyingDataclass:
    __dataclass_fields__ = 5


class DictWithTraps(dict[Any, Any]):
    __iter__ = __len__ = __getitem__ = keys = items = values = copy = explode


class ListWithTraps(list[Any]):
    __iter__ = __len__ = __getitem__ = copy = explode


class IntWithTraps(int):
    __int__ = __index__ = __abs__ = __lt__ = __le__ = __gt__ = bit_length = explode


class BrokenZone(tzinfo):
    tzname = dst = utcoffset = explode


class UnstableKey:
    """Hashes and compares differently each time."""

    count = 0

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        UnstableKey.count += 1
        if UnstableKey.count > 3:
            raise RuntimeError("tired of comparing")
        return False


class ModuleIsNoText:
    __module__ = 7  # type: ignore[assignment]


def generator() -> Iterator[int]:
    yield 1


class Colour(Enum):
    RED = object()


@dataclass
class Loud(Exception):  # noqa: N818  # an exception that is a dataclass
    token: str = "t"  # noqa: S105  # no secret


NAMED = collections.namedtuple("NAMED", "user password")  # noqa: PYI024  # the untyped kind, on purpose


def released() -> memoryview:
    view = memoryview(b"x")
    view.release()
    return view


HOSTILE: dict[str, Callable[[], object]] = {
    "repr raises": ReprRaises,
    "repr exits": ReprExits,
    "repr is cancelled": ReprIsCancelled,
    "repr overflows the stack": ReprOverflows,
    "repr returns no text": ReprIsNoText,
    "repr returns hostile text": ReprIsHostileText,
    "repr is huge": ReprIsHuge,
    "everything raises": EverythingRaises,
    "lies about its class": LiesAboutItsClass,
    "hostile metaclass": OfHostileMeta,
    "class of a hostile metaclass": lambda: OfHostileMeta,
    "metaclass claims to be bytes": Pretender,
    "field raises": lambda: FieldRaises("a"),
    "field is unset": FieldIsUnset,
    "lying dataclass": LyingDataclass,
    "mock": Mock,
    "magic mock": MagicMock,
    "module is no text": ModuleIsNoText,
    "generator": generator,
    "function": lambda: explode,
    "lock": threading.Lock,
    "path": lambda: Path("/etc/passwd"),
    "module": lambda: json,
    "exception": lambda: ValueError("x"),
    "class": lambda: int,
    "ellipsis": lambda: ...,
    "range": lambda: range(3),
    "view": {}.keys,
    "released memoryview": released,
    "memoryview of shorts": lambda: memoryview(b"abcd").cast("H"),
    "raw json": lambda: msgspec.Raw(b"1\n2"),
    "datetime of a broken zone": lambda: datetime(2024, 1, 1, tzinfo=BrokenZone()),
}
