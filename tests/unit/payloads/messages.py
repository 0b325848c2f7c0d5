"""A small shop's messages, the classes their fields name, and some that make trouble."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import Enum, Flag, IntEnum, StrEnum
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar

import msgspec

from papyra.payloads import message

Sku = NewType("Sku", str)
T = TypeVar("T")


class Status(Enum):
    OPEN = "open"
    PAID = "paid"


class Level(IntEnum):
    LOW = 1
    HIGH = 2


class Unit(StrEnum):
    KG = "kg"


class Perm(Flag):
    READ = 1
    WRITE = 2


class Colour(Enum):
    """Values of two kinds, which msgspec refuses."""

    RED = (255, 0, 0)
    NONE = "none"


@dataclass(frozen=True)
class Item:
    sku: str
    qty: int = 1
    unit: Unit = Unit.KG


class Point(NamedTuple):
    x: int
    y: int


class Note(TypedDict, total=False):
    text: str
    item: Item


class Text(str):
    __slots__ = ()


class Names(list[str]):
    pass


class Prices(dict[str, int]):
    pass


class Keys(set[str]):
    pass


class Frozen(frozenset[str]):
    pass


class Celsius(float):
    pass


class Blob(bytes):
    pass


@message(name="shop.Order", version=3)
@dataclass
class Order:
    order_id: int
    items: list[Item] = field(default_factory=list)
    status: Status = Status.OPEN
    when: datetime | None = None
    price: Decimal = Decimal(0)
    gift: Item | None = None
    by_sku: dict[str, Item] = field(default_factory=dict)
    pair: tuple[Item, int] | None = None
    seen: frozenset[Item] = frozenset()
    anything: Any = None


@message()
@dataclass(slots=True, frozen=True)
class Pay:
    order_id: int
    amount: float = 0.0


@message(name="shop.Cancel")
class Cancel(msgspec.Struct, frozen=True):
    order_id: int
    reason: str | msgspec.UnsetType = msgspec.UNSET


@message()
@dataclass
class Everything:
    level: Level = Level.LOW
    unit: Unit = Unit.KG
    perm: Perm = Perm.READ
    perms: set[Perm] = field(default_factory=set)
    point: Point = Point(0, 0)  # noqa: RUF009  # immutable
    note: Note = field(default_factory=lambda: Note(text=""))
    sku: Sku = Sku("")
    kind: Literal["a", "b"] = "a"
    small: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0
    ordered: OrderedDict[str, int] = field(default_factory=OrderedDict)
    default: defaultdict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    number: complex = 0j
    row: tuple[Item, ...] = ()
    history: list[Status | None] = field(default_factory=list)
    computed: int = field(default=7, init=False)
    raw: bytes = b""


@message()
@dataclass
class Tree:
    name: str
    children: list[Tree] = field(default_factory=list)


class Circle(msgspec.Struct, tag=True):
    radius: int


class Square(msgspec.Struct, tag="sq"):
    side: int


@message()
@dataclass
class Draw:
    shape: Circle | Square
    more: list[Circle | Square] = field(default_factory=list)


@message()
@dataclass
class Act:
    """A union of dataclasses and a mixed enum: msgspec builds neither."""

    command: Pay | Item | None
    colour: Colour = Colour.NONE
    items: list[Item] = field(default_factory=list)
    count: int = 0
    computed: int = field(default=1, init=False)


@message()
@dataclass
class Outer:
    acts: list[Act]
    by_id: dict[int, Item] = field(default_factory=dict)
    act: Act | None = None
    by_perm: dict[Perm, int] = field(default_factory=dict)


@message()
@dataclass
class Either:
    level: Level | str | None


@message()
class Row(msgspec.Struct, array_like=True):
    a: int
    b: Item | None = None


@message()
class Camel(msgspec.Struct, rename="camel"):
    order_id: int
    unit_price: float = 0.0


@dataclass
class Box(Generic[T]):
    content: T


@message()
@dataclass
class Holder:
    box: Box[Item]


@message()
@dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value < 0:
            raise ValueError("must not be negative")
        if self.value == 13:
            raise KeyError("unlucky")


@message()
@dataclass
class Doubled:
    value: int

    def __post_init__(self) -> None:
        self.value *= 2


@message()
@dataclass
class Seeded:
    value: int
    seed: InitVar[int] = 0

    def __post_init__(self, seed: int) -> None:
        self.value += seed


@message()
@dataclass
class WithSecret:
    user: str
    password: str


@message()
class Command(Enum):
    STOP = "stop"
    GO = "go"


@dataclass
class Unmarked:
    value: int
    status: Status = Status.OPEN


class Plain:
    """No dataclass: nothing says how to store it."""


EXAMPLES: dict[str, object] = {
    "int": 5,
    "text": "x",
    "none": None,
    "dict": {"a": (1, {2})},
    "tuple": (1, "a"),
    "bytes": b"x",
    "moment": datetime(2024, 1, 1),  # noqa: DTZ001  # naive on purpose
    "list of registered": [Item("a"), Status.PAID],
    "order": Order(1),
    "full order": Order(
        2,
        [Item("a", 2), Item("b")],
        Status.PAID,
        datetime(2024, 1, 1, fold=1),  # noqa: DTZ001  # naive on purpose
        Decimal("1.10"),
        Item("g"),
        {"a": Item("x"), "$": Item("y")},
        (Item("p"), 3),
        frozenset({Item("s"), Item("t", 5)}),
        {"deep": [(Item("z"), Status.OPEN, {Status.PAID: Perm.READ | Perm.WRITE})]},
    ),
    "slots": Pay(1, 2.5),
    "struct": Cancel(1),
    "struct with reason": Cancel(1, "late"),
    "everything": Everything(),
    "everything else": Everything(
        Level.HIGH,
        Unit.KG,
        Perm.READ | Perm.WRITE,
        {Perm.READ, Perm.READ | Perm.WRITE},
        Point(1, -1),
        Note(text="hi", item=Item("n")),
        Sku("A"),
        "b",
        9,
        OrderedDict(b=1, a=2),
        defaultdict(list, {"a": [1]}),
        complex(1, -2),
        (Item("r"), Item("r2")),
        [Status.PAID, None],
        b"\x00\xff",
    ),
    "recursive": Tree("root", [Tree("leaf"), Tree("branch", [Tree("leaf")])]),
    "tagged struct": Circle(2),
    "dict by number": {1: Item("a")},
    "tagged structs": Draw(Circle(1), [Square(2), Circle(3)]),
    "union of dataclasses": Act(Pay(1, 2.0), Colour.RED, [Item("a")], 3),
    "array-like struct": Row(1, Item("a")),
    "renamed struct": Camel(1, 2.0),
    "generic": Holder(Box(Item("a"))),
    "enum": Command.GO,
    "named tuple": Point(1, 2),
    "text subclass": Text("x"),
    "list subclass": Names(["a"]),
    "dict subclass": Prices({"a": 1, "$": 2}),
    "set subclass": Keys({"b", "a"}),
    "frozenset subclass": Frozen({"b", "a"}),
    "float subclass": Celsius(1.5),
    "bytes subclass": Blob(b"x"),
    "a class that msgspec cannot build, inside": Outer(
        [Act(Pay(1)), Act(None)], {1: Item("a")}, Act(Item("a")), {Perm.READ: 1}
    ),
    "flags": Perm.READ | Perm.WRITE,
    "mixed enum": Colour.RED,
    "level": Level.HIGH,
    "int for a float": Pay(1, 2),
    "text subclass for text": Cancel(1, Text("x")),
}

REGISTERED = (
    Order, Pay, Cancel, Everything, Tree, Draw, Act, Row, Camel, Holder, Positive, Doubled, Seeded,
    Names, Prices, Keys, Frozen, Celsius, Blob, Outer, Circle, WithSecret, Command, Point, Text, Perm, Colour,
    Level,
)  # fmt: skip
