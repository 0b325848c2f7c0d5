from __future__ import annotations

import pytest

from papyra.observability.instruments import InstrumentKind, Instruments, Sample


def test_counters_are_added_to_and_collected_by_name() -> None:
    instruments = Instruments()
    bees = instruments.counter("b_total", "Bees")
    instruments.counter("a_total", "Ants").add()
    bees.add(2)
    bees.add()
    assert instruments.collect() == (
        Sample("a_total", InstrumentKind.COUNTER, "Ants", 1),
        Sample("b_total", InstrumentKind.COUNTER, "Bees", 3),
    )


def test_a_counter_that_was_never_added_to_is_there_as_zero() -> None:
    instruments = Instruments()
    instruments.counter("a_total", "Ants")
    assert [sample.value for sample in instruments.collect()] == [0]


def test_a_counter_may_be_split_by_one_label() -> None:
    instruments = Instruments()
    letters = instruments.counter("letters_total", "Letters", label="reason")
    letters.add(1, "overflow")
    letters.add(2, "expired")
    assert [(sample.label, sample.label_value, sample.value) for sample in instruments.collect()] == [
        ("reason", "expired", 2),
        ("reason", "overflow", 1),
    ]


def test_a_gauge_is_read_when_asked_and_may_have_nothing_to_say() -> None:
    instruments = Instruments()
    depth: list[float | None] = [3, None]
    instruments.gauge("depth", "Depth", lambda: depth.pop(0))
    assert instruments.collect() == (Sample("depth", InstrumentKind.GAUGE, "Depth", 3),)
    assert instruments.collect() == ()


def test_what_somebody_else_counts_is_read_by_label() -> None:
    instruments = Instruments()
    counts = {"event": 3.0, "audit": 1.0}
    instruments.count_of("dropped_total", "Dropped", lambda: counts, label="kind")
    assert instruments.collect() == (
        Sample("dropped_total", InstrumentKind.COUNTER, "Dropped", 1, "kind", "audit"),
        Sample("dropped_total", InstrumentKind.COUNTER, "Dropped", 3, "kind", "event"),
    )


def test_two_registries_know_nothing_of_each_other() -> None:
    one, other = Instruments(), Instruments()
    one.counter("a_total", "Ants").add()
    assert other.collect() == ()


def test_misuse_is_an_error_where_it_happens() -> None:
    instruments = Instruments()
    plain = instruments.counter("a_total", "Ants")
    by_reason = instruments.counter("b_total", "Bees", label="reason")
    with pytest.raises(ValueError, match="only grows"):
        plain.add(-1)
    with pytest.raises(ValueError, match="without a label"):
        plain.add(1, "expired")
    with pytest.raises(ValueError, match="counted by reason"):
        by_reason.add()
    with pytest.raises(ValueError, match="there already"):
        instruments.gauge("a_total", "Ants", lambda: 1.0)
