"""A pipe that never got to run leaves no coroutine behind."""

from __future__ import annotations

import asyncio
import gc
import warnings

import pytest

from papyra import ActorSystem
from tests.unit.runtime.actors import RESTART, Worker


class Piping(Worker):
    """Pipes, and fails before the loop has run; or pipes in its last hook."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.where = where

    async def handle(self, message: object) -> object:
        if self.where == "receive":
            self.context.pipe_to_self(asyncio.sleep(1, "late"))
            raise ValueError("before it ran")
        if self.where == "stop_self":
            self.context.pipe_to_self(asyncio.sleep(1, "late"))
            await self.context.stop_self()
        return message

    async def on_stop(self) -> None:
        if self.where == "on_stop":
            self.context.pipe_to_self(asyncio.sleep(1, "late"))


@pytest.mark.parametrize("where", ["receive", "stop_self", "on_stop"])
async def test_a_pipe_that_never_ran_leaves_no_coroutine_behind(where: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        async with ActorSystem(audit_interval=None) as system:
            ref = system.spawn(Piping, where, policy=RESTART)
            ref.tell("go")
            for _ in range(5):
                await asyncio.sleep(0)
            await system.stop(ref)
        gc.collect()
    assert [str(each.message) for each in caught if "never awaited" in str(each.message)] == []
