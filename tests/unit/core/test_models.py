from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from papyra.persistence.models import (
    CompactionReport,
    EventType,
    LossNote,
    PersistedAudit,
    PersistedDeadLetter,
    PersistedEvent,
    PersistenceAnomaly,
    PersistenceAnomalyType,
    PersistenceRecoveryConfig,
    PersistenceRecoveryMode,
    PersistenceScanReport,
    RecordKind,
    Severity,
)
from papyra.testing.records import event


def test_the_published_fields_come_first_and_by_position() -> None:
    assert PersistedEvent("s", "s:1", "ActorStarted", {}, 1.0).timestamp == 1.0
    assert PersistedAudit("s", 1.0, 1, 2, 3, 4, 5, ("a",), ("b",), 6).dead_letters_count == 6
    assert PersistedDeadLetter("s", "s:1", "str", "hi", 1.0).payload == "hi"


@pytest.mark.parametrize("cls", [PersistedEvent, PersistedAudit, PersistedDeadLetter])
def test_our_own_fields_are_keyword_only(cls: type) -> None:
    by_name = {field.name: field for field in fields(cls)}
    assert by_name["incarnation"].kw_only
    assert by_name["seq"].kw_only
    assert by_name["extra"].kw_only


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        event(1).seq = 5  # type: ignore[misc]  # the point


def test_words_are_what_is_stored() -> None:
    assert [*RecordKind] == ["event", "audit", "dead_letter"]
    assert all(type_.value.isalpha() and type_.value[0].isupper() for type_ in EventType)
    assert all(type_.value.islower() for type_ in PersistenceAnomalyType)


def test_published_anomaly_names_are_aliases() -> None:
    names = {
        name: member.name
        for name, member in PersistenceAnomalyType.__members__.items()
        if name != member.name
    }
    assert names == {
        "TRUNCATED_LINE": "TORN_TAIL",
        "PARTIAL_WRITE": "TORN_TAIL",
        "CORRUPTED_LINE": "GARBAGE",
        "ORPHANED_ROTATED_FILE": "LEFTOVER_FILE",
        "UNEXPECTED_FILE": "FOREIGN_FILE",
    }
    assert PersistenceRecoveryMode["REBUILD"] is PersistenceRecoveryMode["REPAIR"]


def test_what_is_normal_after_a_crash_is_no_damage() -> None:
    traces = {type_ for type_ in PersistenceAnomalyType if type_.severity is Severity.CRASH_TRACE}
    assert traces == {
        *(
            "torn_tail",
            "nul_tail",
            "missing_newline",
            "crlf",
            "bom",
            "blank_line",
            "unclean_seal",
            "stale_index",
        ),
        *("leftover_file", "open_incarnation"),
    }
    assert PersistenceAnomaly(PersistenceAnomalyType.GARBAGE, "log").severity is Severity.DAMAGE


def test_a_scan_report_is_damage_by_any_of_its_findings() -> None:
    def report(*types: PersistenceAnomalyType) -> PersistenceScanReport:
        return PersistenceScanReport("json", tuple(PersistenceAnomaly(type_, "log") for type_ in types))

    assert not report().has_anomalies
    assert report(PersistenceAnomalyType.CRLF).has_anomalies
    assert not report(PersistenceAnomalyType.CRLF, PersistenceAnomalyType.BOM).has_damage
    assert report(PersistenceAnomalyType.CRLF, PersistenceAnomalyType.GARBAGE).has_damage
    beyond_the_thousand = PersistenceScanReport(
        "json",
        (PersistenceAnomaly(PersistenceAnomalyType.CRLF, "log"),),
        counts={PersistenceAnomalyType.CRLF: 1_000, PersistenceAnomalyType.GARBAGE: 1},
    )
    assert beyond_the_thousand.has_damage


def test_the_published_recovery_config_does_nothing_by_itself() -> None:
    assert PersistenceRecoveryConfig().mode is PersistenceRecoveryMode.IGNORE


def test_a_compaction_report_says_what_went() -> None:
    assert CompactionReport("json", 10, 4, 1_000, 300).removed_records == 6
    assert CompactionReport("json", 10, 4, 1_000, 300).reclaimed_bytes == 700
    assert CompactionReport("json", 10, 4).reclaimed_bytes is None


NOTE = LossNote("i", "event", 3, 5, "overflow")


def test_a_loss_note_is_read_back_from_its_payload() -> None:
    assert LossNote.from_payload(NOTE.to_payload()) == NOTE


@pytest.mark.parametrize(
    "payload",
    [
        *(None, [], "x", {}, {"incarnation": "i"}),
        *({**NOTE.to_payload(), "first": value} for value in (0, -1, 6, True, 3.0, "3", None)),
        *({**NOTE.to_payload(), "last": value} for value in (2, True, "5", None)),
        *({**NOTE.to_payload(), name: 5} for name in ("incarnation", "kind", "cause")),
    ],
    ids=str,
)
def test_a_payload_that_covers_nothing_is_no_loss_note(payload: Any) -> None:
    assert LossNote.from_payload(payload) is None
