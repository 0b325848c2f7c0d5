"""How much is tried: ``PAPYRA_FAULTS`` is ``quick`` (`make test`), ``ci``, or ``whole`` (`make faults`)."""

from __future__ import annotations

import os
import shutil
from enum import StrEnum
from typing import NoReturn, TypeVar

import pytest

Value = TypeVar("Value")


class Budget(StrEnum):
    QUICK = "quick"
    CI = "ci"
    WHOLE = "whole"

    def pick(self, quick: Value, ci: Value, whole: Value) -> Value:
        match self:
            case Budget.QUICK:
                return quick
            case Budget.CI:
                return ci
            case Budget.WHOLE:
                return whole


BUDGET = Budget(os.environ.get("PAPYRA_FAULTS", Budget.QUICK))


def lacking(reason: str) -> NoReturn:
    """Skip for want of something; the project's own CI has to have everything."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def need_strace() -> None:
    if shutil.which("strace") is None:
        lacking("there is no strace here: apt-get install strace")
