"""Drivers' errors become ours here, once, the cause kept."""

from __future__ import annotations

from enum import Enum, auto

from django.core.exceptions import ImproperlyConfigured
from django.db.utils import DatabaseError, DataError, IntegrityError, InterfaceError
from django.utils.connection import ConnectionDoesNotExist

from papyra.exceptions import (
    PersistenceError,
    StoreFailedError,
    StoreFullError,
    StoreUnavailableError,
)

DRIVER_ERRORS = (DatabaseError, InterfaceError, ConnectionDoesNotExist, ImproperlyConfigured)
POISON = (DataError, IntegrityError, OverflowError, ValueError)
"""What one bad value in a statement raises, against an error of the connection or the server."""

_MIGRATE = "papyra's tables are missing or old; run `manage.py migrate`"
_OLD_TABLE_TEXTS = ("no such table", "no such column", "has no column named")
_OLD_TABLE_CODES = frozenset({"42P01", "42703", 1146, 1054})
_FULL_CODES = frozenset({"SQLITE_FULL", "53100", 1021, 1114})
_BUSY_CODES = frozenset({"SQLITE_BUSY", "SQLITE_LOCKED", "40001", "40P01", "55P03", 1205, 1213})
_SHUT_CODES = frozenset(
    {"SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH", "25006", "42501"}
)
_BROKEN_CODES = frozenset({"SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_IOERR", "XX001", "XX002"})


class Fault(Enum):
    """What kind of trouble an error of a driver is."""

    BUSY = auto()
    CONNECTION = auto()
    FULL = auto()
    SHUT = auto()
    BROKEN = auto()
    OLD_TABLES = auto()
    MISCONFIGURED = auto()


def fault_of(error: Exception) -> Fault:
    """Return what ``error`` means, by the driver's own code where it gives one."""
    if isinstance(error, ConnectionDoesNotExist | ImproperlyConfigured):
        return Fault.MISCONFIGURED
    code = _code_of(error)
    for codes, fault in (
        (_OLD_TABLE_CODES, Fault.OLD_TABLES),
        (_FULL_CODES, Fault.FULL),
        (_BUSY_CODES, Fault.BUSY),
        (_SHUT_CODES, Fault.SHUT),
        (_BROKEN_CODES, Fault.BROKEN),
    ):
        if code in codes:
            return fault
    if any(text in str(error) for text in _OLD_TABLE_TEXTS):
        return Fault.OLD_TABLES
    return Fault.CONNECTION  # a new one may do better


def _code_of(error: Exception) -> str | int | None:
    cause = error.__cause__
    name = getattr(cause, "sqlite_errorname", None)
    if isinstance(name, str):
        return "_".join(name.split("_")[:2])  # SQLITE_IOERR_FSYNC is an SQLITE_IOERR
    state = getattr(cause, "sqlstate", None)
    if isinstance(state, str):
        return state
    first = cause.args[0] if cause is not None and cause.args else None
    return first if isinstance(first, int) else None


def translate(error: Exception, alias: str) -> PersistenceError:
    """Return our error for one of a driver's."""
    place = f"database {alias!r}"
    match fault_of(error):
        case Fault.OLD_TABLES:
            return StoreUnavailableError(f"{place}: {_MIGRATE} ({error})")
        case Fault.FULL:
            return StoreFullError(f"{place} has no room left: {error}")
        case Fault.BUSY:
            return StoreUnavailableError(f"{place} stayed locked by another connection: {error}")
        case Fault.SHUT | Fault.CONNECTION:
            return StoreUnavailableError(f"{place} does not answer or refuses: {error}")
        case Fault.BROKEN:
            return StoreFailedError(f"{place} cannot be trusted: {error}")
        case Fault.MISCONFIGURED:
            return StoreUnavailableError(f"{place} is not set up: {error}")
