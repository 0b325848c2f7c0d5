"""R4, I2: any payload may be handed over; what can be stored reads back equal; none takes its batch along."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from papyra import payloads
from papyra.persistence.models import PersistedDeadLetter, PersistedEvent, RecordKind
from papyra.testing.promises.harness import Harness
from papyra.testing.records import EPOCH, event, letter, numbers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from papyra.persistence.base import BasePersistence

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text()
    | st.text(st.characters(categories=["Cs", "Cc", "L"]))
    | st.binary(max_size=50)
    | st.decimals()
    | st.uuids()
    | st.dates()
    | st.times()
    | st.datetimes(timezones=st.none() | st.just(UTC))
    | st.timedeltas()
    | st.complex_numbers()
)
_HASHABLE = st.none() | st.booleans() | st.integers() | st.text() | st.binary(max_size=20)
PAYLOADS = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.just("$") | _HASHABLE, inner, max_size=4)
        | st.sets(_HASHABLE, max_size=4)
        | st.frozensets(_HASHABLE, max_size=4)
    ),
    max_leaves=12,
)

TAGGED: tuple[object, ...] = (
    *(None, True, 0, -0.0, "", [], {}, (), 2**70, -(2**63) - 1, 1e308, 5e-324),
    *(math.inf, -math.inf, math.nan, 0.1 + 0.2),
    *(
        "\x00",
        "a\x00b",
        "\ud800",
        "\udfff\ud800",
        "😀",
        "\u2028\u2029\x7f\x85",
        "\r\n",
        '","crc":"deadbeef"}\n',
    ),
    *(b"", b"\x00\xff\n", bytearray(b"x"), {1, 2}, frozenset({"a"}), (1, (2,), [3])),
    *({1: "one", None: 2, (1, 2): 3, 2.5: 4}, {"$": "bytes", "v": "AA=="}, {"$$": 1}, {"": {"": ""}}),
    *(Decimal("1.10"), Decimal("-0"), Decimal("1E+3"), UUID(int=5), 1 + 2j),
    *(date(2024, 2, 29), time(1, 2, 3, 4), timedelta(days=-1, microseconds=1)),
    datetime(2026, 10, 25, 2, 30, tzinfo=UTC, fold=1),
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    {"unstorable": "no", "repr": "x"},
    {"seq": 9, "kind": "event", "incarnation": "forged", "timestamp": 1.0, "crc": "00000000"},
    [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]],
)


def _cycle() -> object:
    loop: list[object] = []
    loop.append({"again": loop})
    return loop


def _deep(levels: int) -> object:
    value: object = "bottom"
    for _ in range(levels):
        value = [value]
    return value


class _Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no repr for you")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison either")

    __hash__ = None  # type: ignore[assignment]


def _running() -> Iterator[int]:
    yield 1


UNSTORABLE: dict[str, Any] = {
    "cycle": _cycle(),
    "deep": _deep(500),
    "deeper": _deep(50_000),
    "object": object(),
    "function": _cycle,
    "generator": _running(),
    "hostile": _Hostile(),
    "hostile inside": {"a": [1, _Hostile()], "b": 2},
    "class": _Hostile,
    "huge integer": 10**5000,
    "large": "x" * (5 * 1024 * 1024),
    "wide": list(range(400_000)),
}


class CarryingPayloads(Harness):
    """What is in a record."""

    async def test_i2_every_tagged_value_reads_back_equal_and_of_its_own_type(self) -> None:
        async with self.opened() as backend:
            await backend.append([event(number, payload=value) for number, value in enumerate(TAGGED)])
            found = await self._payloads(backend)
            assert [exactly(value) for value in found] == [exactly(value) for value in TAGGED]

    @pytest.mark.parametrize("name", UNSTORABLE)
    async def test_r4_an_unstorable_payload_is_marked_and_its_batch_is_whole(self, name: str) -> None:
        poison = UNSTORABLE[name]
        async with self.opened() as backend:
            await backend.append(
                [event(1), event(2, payload=poison), letter(3, payload=poison), letter(4, payload="sound")]
            )
            assert numbers(await self.stored(backend)) == [1, 2]
            letters = await self.stored(backend, RecordKind.DEAD_LETTER)
            assert numbers(letters) == [3, 4]
            expected = payloads.decode(payloads.encode(poison).json)
            assert exactly((await self._payloads(backend))[1]) == exactly(expected)
            assert isinstance(letters[1], PersistedDeadLetter)
            assert letters[1].payload == "sound"
            assert not (await backend.scan()).has_anomalies

    async def test_text_that_databases_refuse_is_kept_in_plain_fields(self) -> None:
        texts = ("\x00", "a\x00b", "\ud800", "\U0010ffff", "\x85\u2028", '"\\', "x" * 100_000)
        batch = [
            letter(
                number,
                error=text,
                target=text,
                target_path=text,
                message_type=text,
                reason=text,
                system_id=text,
                message_id=text,
                headers={text: text},
            )
            for number, text in enumerate(texts)
        ]
        async with self.opened() as backend:
            await backend.append(batch)
            found = await self.stored(backend, RecordKind.DEAD_LETTER)
            shown = [(record.error, record.target, dict(record.headers)) for record in letters_of(found)]
            assert shown == [(text, text, {text: text}) for text in texts]

    async def test_five_megabytes_of_error_text_are_kept(self) -> None:
        text = "größer " * 800_000
        async with self.opened() as backend:
            await backend.append([letter(1, error=text), letter(2)])
            found = letters_of(await self.stored(backend, RecordKind.DEAD_LETTER))
            assert [record.error == text for record in found] == [True, False]
            assert numbers(found) == [1, 2]

    async def test_times_that_no_calendar_knows_are_kept(self) -> None:
        times = (0.0, -1.0, 1e-6, 253402300800.0, 1e15, 1e300, -1e300, EPOCH + 0.123456)
        async with self.opened() as backend:
            await backend.append([event(0, timestamp=moment) for moment in times])
            assert [record.timestamp for record in await self.stored(backend)] == list(times)

    async def test_i2_whatever_is_handed_over_reads_back_as_it_was_encoded(self) -> None:
        async with self.opened() as backend:
            await asyncio.to_thread(self._try_payloads, backend)
            assert not (await backend.scan()).has_anomalies

    def _try_payloads(self, backend: BasePersistence) -> None:
        seen = 0

        @settings(
            max_examples=40,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        @given(st.lists(PAYLOADS, min_size=1, max_size=10))
        def check(values: list[object]) -> None:
            nonlocal seen
            asyncio.run(backend.append([event(number, payload=value) for number, value in enumerate(values)]))
            seen += len(values)
            found = asyncio.run(backend.list_events(limit=len(values)))
            expected = [payloads.decode(payloads.encode(value).json) for value in values]
            assert [exactly(record.payload) for record in found] == [exactly(value) for value in expected]

        check()
        assert asyncio.run(backend.counts())[RecordKind.EVENT] == seen

    async def _payloads(self, backend: BasePersistence) -> list[object]:
        return [record.payload for record in await self.stored(backend) if isinstance(record, PersistedEvent)]


def letters_of(records: list[Any]) -> list[PersistedDeadLetter]:
    """Narrow to letters."""
    return [record for record in records if isinstance(record, PersistedDeadLetter)]


def exactly(value: object) -> object:
    """Return what tells a value from any other: types at any depth, the sign of zero, NaN equal to NaN."""
    if isinstance(value, list | tuple):
        return type(value).__name__, [exactly(item) for item in value]
    if isinstance(value, dict):
        return type(value).__name__, [(exactly(key), exactly(item)) for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return type(value).__name__, sorted((exactly(item) for item in value), key=repr)
    if isinstance(value, datetime | time):
        return type(value).__name__, repr(value), value.utcoffset(), value.fold
    return type(value).__name__, repr(value)
