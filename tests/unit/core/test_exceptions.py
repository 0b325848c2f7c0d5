from __future__ import annotations

import copy
import inspect

import pytest

from papyra import exceptions
from papyra.exceptions import (
    ActorStopped,
    AppendError,
    AskTimeout,
    BackendClosedError,
    PapyraError,
    PersistenceStartupError,
    RecordConflictError,
    RecordTooLargeError,
)

TREE = [cls for _, cls in inspect.getmembers(exceptions, inspect.isclass) if issubclass(cls, BaseException)]


@pytest.mark.parametrize("cls", TREE)
def test_there_is_one_tree_and_each_error_says_what_it_means(cls: type[BaseException]) -> None:
    assert issubclass(cls, PapyraError)
    assert cls.__doc__


def test_errors_that_the_standard_library_has_a_word_for_are_caught_by_it() -> None:
    assert issubclass(AskTimeout, TimeoutError)
    assert issubclass(PersistenceStartupError, RuntimeError)
    assert issubclass(RecordTooLargeError, ValueError)


def test_an_append_error_counts_and_names_the_first_reason() -> None:
    one = AppendError([(3, RecordConflictError("stored with other bytes"))])
    assert one.refused[0][0] == 3
    assert "stored with other bytes" in str(one)
    assert "more" not in str(one)
    assert "(and 2 more)" in str(AppendError([(0, RecordConflictError("x"))] * 3))


def test_an_actor_that_stopped_says_why_where_it_is_known() -> None:
    assert (str(ActorStopped()), ActorStopped().reason) == ("Actor stopped", None)
    assert ActorStopped("gone", reason="restart_limit").reason == "restart_limit"


@pytest.mark.parametrize(
    "error",
    [
        ActorStopped("gone", reason="killed"),
        AppendError([(2, RecordConflictError("x"))]),
        BackendClosedError("closed"),
        PersistenceStartupError("refused", report=5),
    ],
    ids=str,
)
def test_errors_survive_being_copied_as_a_process_pool_does(error: Exception) -> None:
    twin = copy.copy(error)
    assert (type(twin), str(twin)) == (type(error), str(error))
    assert twin.__dict__ == error.__dict__
