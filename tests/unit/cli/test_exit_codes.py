from __future__ import annotations

import pytest

from papyra import exceptions
from papyra.cli.exit_codes import BY_STARTUP_VERDICT, ExitCode, exit_code_for_error
from papyra.persistence.startup import StartupVerdict


def test_the_table_is_the_documented_one() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "REFUSED": 1,
        "DAMAGE": 2,
        "MISUSE": 64,
        "UNAVAILABLE": 69,
        "FAULT": 70,
        "INTERRUPTED": 130,
    }
    assert len({code.word for code in ExitCode}) == len(ExitCode)


@pytest.mark.parametrize("verdict", StartupVerdict)
def test_every_startup_verdict_has_a_code(verdict: StartupVerdict) -> None:
    assert verdict.value in BY_STARTUP_VERDICT
    assert len(BY_STARTUP_VERDICT) == len(StartupVerdict)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (exceptions.ConfigurationError("x"), 64),
        (exceptions.InvalidNameError("x"), 64),
        (exceptions.StoreUnavailableError("x"), 69),
        (exceptions.StoreLockedError("x"), 69),
        (exceptions.StoreFullError("x"), 69),
        (exceptions.StoreFailedError("x"), 69),
        (exceptions.RecoveryError("x"), 2),
        (exceptions.NewerFormatError("x"), 2),
        (exceptions.ForeignStoreError("x"), 2),
        (exceptions.BackendClosedError("x"), 70),
        (exceptions.PayloadError("x"), 70),
        (ValueError("x"), 70),
        (KeyError("x"), 70),
        (MemoryError(), 70),
        (RecursionError(), 70),
    ],
)
def test_an_error_means_one_thing_to_a_script(error: Exception, code: int) -> None:
    assert exit_code_for_error(error) == code
