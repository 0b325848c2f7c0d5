from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from papyra.cli.commands import build_parser
from papyra.cli.exit_codes import ExitCode
from papyra.cli.tail import run_tail
from papyra.persistence.backends.memory import InMemoryPersistence
from papyra.testing.records import audit, event

if TYPE_CHECKING:
    from papyra.cli.outcome import Outcome


async def followed(store: InMemoryPersistence, *words: str) -> Outcome:
    args = build_parser().parse_args(["inspect", "tail", "--follow", *words])
    task = asyncio.ensure_future(run_tail(args, store, poll_seconds=0.001))
    for number in range(10, 13):
        for _ in range(20):
            await asyncio.sleep(0.001)
        await store.append([event(number), audit(number)])
    for _ in range(20):
        await asyncio.sleep(0.001)
    task.cancel()
    return await task


@pytest.mark.parametrize("stored", [1, 2, 3, 9])
async def test_it_shows_the_newest_then_what_comes_and_an_interrupt_is_its_normal_end(
    stored: int, capsys: pytest.CaptureFixture[str]
) -> None:
    store = InMemoryPersistence()
    await store.append([event(number) for number in range(1, stored + 1)])
    outcome = await followed(store, "--limit", "2", "--json")
    lines = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    expected = [*range(max(stored - 1, 1), stored + 1), 10, 11, 12]
    assert [line["payload"]["number"] for line in lines] == expected
    assert outcome.exit_code is ExitCode.OK
    assert outcome.document == {"followed": len(expected)}


async def test_each_record_is_one_line_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    store = InMemoryPersistence()
    await store.append([event(1, actor_address="orders:\x1b[31m\n")])
    await followed(store, "--type", "ActorStarted")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert "\x1b" not in lines[0]
    assert '{"number": 12}' in lines[-1]


async def test_without_follow_it_lists_the_newest_of_the_kind() -> None:
    store = InMemoryPersistence()
    await store.append([event(1), *(audit(number) for number in range(1, 15))])
    args = build_parser().parse_args(["inspect", "tail", "--kind", "audit"])
    outcome = await run_tail(args, store)
    records = outcome.document["records"]
    assert isinstance(records, list)
    assert [record["timestamp"] for record in records] == [audit(number).timestamp for number in range(5, 15)]
