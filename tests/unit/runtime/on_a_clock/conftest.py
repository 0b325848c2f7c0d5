"""Here a system goes by a clock that the test turns: what waits for a time waits until then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from papyra import ActorSystem


@pytest.fixture
def system(timed: ActorSystem) -> ActorSystem:
    return timed
