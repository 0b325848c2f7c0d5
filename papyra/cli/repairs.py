"""What a repair does about each anomaly, for the person who has to decide; pure."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from papyra.persistence.models import PersistenceAnomalyType, PersistenceRecoveryMode

if TYPE_CHECKING:
    from collections.abc import Mapping

REPAIRS: Mapping[PersistenceAnomalyType, str] = MappingProxyType(
    {
        PersistenceAnomalyType.TORN_TAIL: "moves the unfinished last line to quarantine",
        PersistenceAnomalyType.NUL_TAIL: "moves the zero bytes at the end to quarantine",
        PersistenceAnomalyType.MISSING_NEWLINE: "ends the last line; its record is kept",
        PersistenceAnomalyType.CRLF: "restores plain newlines; every record is kept",
        PersistenceAnomalyType.BOM: "moves the byte order mark to quarantine; every record is kept",
        PersistenceAnomalyType.BLANK_LINE: "moves the blank lines to quarantine; every record is kept",
        PersistenceAnomalyType.UNCLEAN_SEAL: "seals the segment; every record is kept",
        PersistenceAnomalyType.STALE_INDEX: "builds the index anew from the records",
        PersistenceAnomalyType.LEFTOVER_FILE: "moves the leftover file to quarantine",
        PersistenceAnomalyType.OPEN_INCARNATION: "records that the process ended without saying so",
        PersistenceAnomalyType.GARBAGE: "moves the bytes to quarantine; a loss note covers what is lost",
        PersistenceAnomalyType.BAD_CHECKSUM: "moves the altered record to quarantine; a loss note covers it",
        PersistenceAnomalyType.MISSING_RECORDS: "writes a loss note: what is gone stays gone, and is counted",
        PersistenceAnomalyType.DUPLICATE_RECORD: "keeps the first copy, moves the other to quarantine",
        PersistenceAnomalyType.CONFLICTING_RECORD: "keeps the first record, moves the other to quarantine",
        PersistenceAnomalyType.OUT_OF_ORDER: "puts the records in order; every record is kept",
        PersistenceAnomalyType.BAD_HEADER: "writes the header anew, the old one goes to quarantine",
        PersistenceAnomalyType.BAD_FOOTER: "writes the footer anew, the old one goes to quarantine",
        PersistenceAnomalyType.FOREIGN_FILE: "nothing: what is not of this store is never touched",
        PersistenceAnomalyType.NEWER_FORMAT: "nothing: install the version that wrote it, which can read it",
    }
)

WHAT_A_MODE_ADDS: Mapping[PersistenceRecoveryMode, str] = MappingProxyType(
    {
        PersistenceRecoveryMode.IGNORE: "Mode ignore reads around damage and changes no byte.",
        PersistenceRecoveryMode.REPAIR: "Mode repair does this; removed bytes lie in quarantine first.",
        PersistenceRecoveryMode.QUARANTINE: "Mode quarantine does this, and sets the damaged original aside "
        "whole, with a report, before the clean copy takes its place.",
    }
)
