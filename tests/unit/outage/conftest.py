from __future__ import annotations

import pytest

from tests.unit.outage.servers import Server


@pytest.fixture
def server() -> Server:
    return Server()
