"""Three masters on loopback that share the slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.services.redisserver import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.services.redisserver import RedisServer

NODES = 3
SLOTS = 16_384
FORMED = "Cluster state changed: ok"


def form_cluster(servers: Sequence[RedisServer]) -> None:
    """Give each of the running ``servers`` its share and let them meet; returns once all of them agree."""
    share = -(-SLOTS // len(servers))
    for number, server in enumerate(servers):
        with server.client() as client:
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            mine = range(number * share, min((number + 1) * share, SLOTS))
            client.execute_command("CLUSTER", "ADDSLOTS", *mine)
            if number:
                client.execute_command("CLUSTER", "MEET", HOST, servers[0].port)
    for server in servers:
        server.log.wait_for(FORMED)
