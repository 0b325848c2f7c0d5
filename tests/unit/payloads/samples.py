"""Values of the whole closed list, and what "the same value" means for them."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

ZONES = ("Europe/Berlin", "America/New_York", "UTC", "Asia/Kathmandu")

EDGES: dict[str, object] = {
    "none": None,
    "true": True,
    "empty": "",
    "nul": "a\x00b",
    "line ends": "a\nb\r\u2028\u2029\x85\x7f\x9b",
    "emoji": "🐍 é",
    "lone surrogate": "caf\udce9 \\udce9 \\",
    "surrogate pair kept apart": "\ud83d\udc0d",
    "minus zero": -0.0,
    "nan": math.nan,
    "inf": math.inf,
    "minus inf": -math.inf,
    "huge float": 1.7976931348623157e308,
    "tiny float": 5e-324,
    "round float": 1e16,
    "64 bit": 2**63,
    "beyond 64 bit": 2**64,
    "below 64 bit": -(2**63) - 1,
    "4300 digits": 10**4300 - 1,
    "minus 4300 digits": -(10**4300 - 1),
    "empty bytes": b"",
    "bytes": bytes(range(256)),
    "bytearray": bytearray(b"\x00\xff"),
    "memoryview": memoryview(b"view"),
    "complex": complex(-0.0, 2.5),
    "complex nan": complex(math.nan, -math.inf),
    "decimal": Decimal("1.10"),
    "decimal nan": Decimal("NaN"),
    "decimal snan": Decimal("-sNaN123"),
    "decimal minus zero": Decimal("-0E+3"),
    "decimal inf": Decimal("-Infinity"),
    "uuid": UUID("12345678-1234-5678-1234-567812345678"),
    "naive": datetime(2024, 10, 27, 2, 30, 0, 1),  # noqa: DTZ001  # naive on purpose
    "naive fold": datetime(2024, 10, 27, 2, 30, fold=1),  # noqa: DTZ001  # naive on purpose
    "utc": datetime(2024, 1, 1, tzinfo=UTC),
    "zone, first": datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin")),
    "zone, second": datetime(2024, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
    "zone utc": datetime(2024, 1, 1, tzinfo=ZoneInfo("UTC")),
    "odd offset": datetime(1900, 1, 1, tzinfo=timezone(timedelta(hours=-1, seconds=-7, microseconds=3))),
    "offset of a microsecond": time(0, tzinfo=timezone(timedelta(microseconds=1))),
    "named offset": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "CET")),
    "first moment": datetime(1, 1, 1),  # noqa: DTZ001  # naive on purpose
    "last moment": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=ZoneInfo("Asia/Kathmandu")),
    "date": date(1, 1, 1),
    "time": time(23, 59, 59, 999999, fold=1),
    "time utc": time(1, tzinfo=UTC),
    "time zone": time(1, tzinfo=ZoneInfo("America/New_York")),
    "timedelta": timedelta(days=-1, microseconds=1),
    "longest timedelta": timedelta.max,
    "empty list": [],
    "empty dict": {},
    "empty tuple": (),
    "empty set": set(),
    "empty frozenset": frozenset(),
    "nested tuple": ((1, [2]), {"a": (3,)}),
    "set of tuples": {(1, 2), (1, "2"), frozenset({b"x"})},
    "dollar keys": {"$": 1, "$$": [2], "$a": 3, "a$": {"$": {"$": None}}, "": 4},
    "looks like a tag": {"$": "bytes", "v": "AA=="},
    "looks unstorable": {"unstorable": "why", "repr": "r"},
    "almost unstorable": {"unstorable": "why", "repr": "r", "more": 1},
    "odd keys": {1: "a", "1": "b", 1.5: "c", None: "d", (1, 2): {True: "e"}, b"k": [1], math.inf: 0},
    "surrogate key": {"\udcff": 1, "plain": 2},
    "long key": {"k" * 5000: 1},
    "ordered": OrderedDict([("b", 1), ("a", (2,))]),
    "counter": Counter({"a": 2, ("b",): -1}),
    "default dict": defaultdict(list, {"a": [1], 2: []}),
    "default dict of none": defaultdict(None, {"a": 1}),
    "deque": deque([1, (2,)]),
    "bounded deque": deque([1], maxlen=3),
}

_text = st.text(st.characters(exclude_categories=())) | st.sampled_from(["$", "$$", "password", "\ud800"])
_offsets = st.timedeltas(timedelta(hours=-23, minutes=-59), timedelta(hours=23, minutes=59)).map(timezone)
_zones = st.none() | _offsets | st.sampled_from(ZONES).map(ZoneInfo) | st.just(UTC)
_folds = st.integers(0, 1)
_moments = st.builds(
    lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold), st.datetimes(), _zones, _folds
)
_times = st.builds(lambda each, zone, fold: each.replace(tzinfo=zone, fold=fold), st.times(), _zones, _folds)

hashable_leaves: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(10**80), 10**80),
    st.floats(),
    _text,
    st.binary(max_size=40),
    st.complex_numbers(allow_nan=True),
    st.decimals(allow_nan=True).filter(lambda each: not each.is_snan()),
    st.uuids(),
    _moments,
    _times,
    st.dates(),
    st.timedeltas(),
)
leaves: st.SearchStrategy[Any] = st.one_of(
    hashable_leaves,
    st.binary(max_size=9).map(bytearray),
    st.binary(max_size=9).map(lambda each: memoryview(each)),  # noqa: PLW0108  # the type itself is generic
)
hashables = st.recursive(
    hashable_leaves,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    mappings = st.dictionaries(hashables, inner, max_size=4)
    return st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(_text, inner, max_size=4),
        mappings,
        mappings.map(OrderedDict),
        mappings.map(lambda each: defaultdict(int, each)),
        st.dictionaries(hashables, st.integers(), max_size=4).map(Counter),
        st.sets(hashables, max_size=4),
        st.builds(deque, st.lists(inner, max_size=3), st.none() | st.integers(3, 9)),
    )


values = st.recursive(leaves, _containers, max_leaves=25)


def same(left: Any, right: Any) -> bool:
    """Whether two values are of the same types and equal all through: NaN is NaN, -0.0 is not 0.0."""
    return type(left) is type(right) and _compare(left)(left, right)


def _compare(value: object) -> Callable[[Any, Any], bool]:
    special: dict[tuple[type, ...], Callable[[Any, Any], bool]] = {
        (float, complex): _same_repr,
        (Decimal,): _same_digits,
        (datetime, time): _same_moment,
        (dict,): _same_mapping,
        (list, tuple, deque): _same_items,
        (set, frozenset): _same_set,
    }
    return next((compare for kinds, compare in special.items() if isinstance(value, kinds)), _equal)


def _equal(left: object, right: object) -> bool:
    return bool(left == right)


def _same_repr(left: object, right: object) -> bool:
    return repr(left) == repr(right)


def _same_digits(left: Decimal, right: Decimal) -> bool:
    return left.as_tuple() == right.as_tuple()


def _same_moment(left: Any, right: Any) -> bool:
    zones = (left.tzinfo, right.tzinfo)
    names = [zone.tzname(None) if isinstance(zone, timezone) else zone for zone in zones]
    naive = left.replace(tzinfo=None) == right.replace(tzinfo=None)
    return bool(naive and left.fold == right.fold and zones[0] == zones[1] and names[0] == names[1])


def _same_items(left: Any, right: Any) -> bool:
    bounds = getattr(left, "maxlen", None) == getattr(right, "maxlen", None)
    return bounds and len(left) == len(right) and all(map(same, left, right))


def _same_mapping(left: dict[Any, Any], right: dict[Any, Any]) -> bool:
    factories = getattr(left, "default_factory", None) is getattr(right, "default_factory", None)
    return factories and same(list(dict.items(left)), list(dict.items(right)))


def _same_set(left: Any, right: Any) -> bool:
    rest = list(right)
    for item in left:
        match = next((i for i, each in enumerate(rest) if same(item, each)), None)
        if match is None:
            return False
        del rest[match]
    return not rest
