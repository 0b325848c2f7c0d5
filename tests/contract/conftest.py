from __future__ import annotations

from tests.unit.redis.conftest import server, shared_server

__all__ = ["server", "shared_server"]
