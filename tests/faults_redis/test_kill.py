"""I1, I5: the server, the writer or both are killed at any moment; a log has what was acknowledged."""

from __future__ import annotations

import asyncio
import itertools
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from papyra.clock import mint_incarnation
from papyra.exceptions import StoreUnavailableError
from papyra.persistence import codec
from papyra.persistence.models import PersistedEvent, RecordKind
from papyra.testing.records import INCARNATION, OTHER_INCARNATION, event, letter
from tests.budget import BUDGET
from tests.faults_redis.stores import REPAIR, anomalies, key, opened, stored, until_ok
from tests.system.appender import record

if TYPE_CHECKING:
    from papyra.persistence.backends.redis import RedisStreamsPersistence
    from papyra.persistence.models import Record
    from tests.services.redisfixtures import StartRedis
    from tests.services.redisserver import RedisServer

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = BUDGET.pick(quick=2, ci=3, whole=40)
SECONDS = BUDGET.pick(quick=4.0, ci=6.0, whole=60.0)
FLUSHES = BUDGET.pick(quick=10, ci=10, whole=100)
LONGEST_LIFE_SECONDS = 0.25
DURABLE: dict[str, Any] = {"appendonly": "yes", "appendfsync": "always"}
WRITERS = 8


def acknowledged(ack_log: Path) -> list[Record]:
    lines = [line.split() for line in ack_log.read_text(encoding="ascii").splitlines()]
    return [record(incarnation, RecordKind(kind), int(seq)) for incarnation, kind, seq in lines]


def wait_for_acks(ack_log: Path, before: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 30
    while not (ack_log.exists() and ack_log.stat().st_size > before):
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < deadline, "nothing was acknowledged"
        time.sleep(0.005)


def live_and_die(url: str, ack_log: Path, spill_dir: Path | None, *, server: RedisServer | None) -> None:
    """Let a process append until a random moment after its first acknowledgement, and kill it.

    With ``server``, that is killed first, and started again when the process is dead.
    """
    incarnation = mint_incarnation(time.time())  # noqa: TID251  # a name, and no more
    before = ack_log.stat().st_size if ack_log.exists() else 0
    arguments = [url, str(ack_log), incarnation, str(spill_dir or "")]
    command = [sys.executable, "-m", "tests.faults_redis.appender", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        wait_for_acks(ack_log, before, process)
        time.sleep(random.uniform(0, LONGEST_LIFE_SECONDS))  # noqa: S311  # any moment will do
        if server is not None:
            server.kill()
            time.sleep(random.uniform(0, LONGEST_LIFE_SECONDS))  # noqa: S311
        process.kill()
    if server is not None:
        server.start()


async def check(server: RedisServer, acks: list[Record]) -> None:
    """Every acknowledged record is there, once and to the byte, each incarnation in its order."""
    found = [one for kind in RecordKind for one in await stored(server.url, kind, system_id="killed")]
    found = [one for one in found if one.system_id == "killed"]
    by_identity = {(one.incarnation, one.kind, one.seq): one for one in found}
    assert len(by_identity) == len(found), "nothing is read twice"
    assert [one for one in acks if by_identity.get((one.incarnation, one.kind, one.seq)) != one] == []
    for one in found:
        if not (isinstance(one, PersistedEvent) and one.event_type in {"RecoveryRun", "RecordsLost"}):
            assert one == record(one.incarnation, one.kind, one.seq), "not acknowledged: whole or absent"
    last: dict[tuple[str, RecordKind], int] = {}
    for one in found:
        assert one.seq > last.get((one.incarnation, one.kind), 0)
        last[one.incarnation, one.kind] = one.seq
    with server.client() as client:
        for kind, name in zip(RecordKind, ("events", "audits", "dead_letters"), strict=True):
            entries = client.xrange(key(name, system_id="killed"))
            bodies = Counter(fields[b"body"] for _, fields in entries)
            for one in acks:
                if one.kind is kind:
                    line = codec.encode_record(one, incarnation=one.incarnation, seq=one.seq)
                    assert bodies[line.rstrip(b"\n")] == 1


@pytest.mark.parametrize("victim", ["writer", "both"])
@pytest.mark.parametrize("is_spilling", [False, True])
def test_i1_i5_killed_at_any_moment_an_acknowledged_record_is_there(
    start_redis: StartRedis, tmp_path: Path, victim: str, *, is_spilling: bool
) -> None:
    server = start_redis(**DURABLE)
    ack_log, spill_dir = tmp_path / "acknowledged", tmp_path / "spill" if is_spilling else None
    deadline = time.monotonic() + SECONDS
    lives = 0
    while lives < ROUNDS and time.monotonic() < deadline:
        lives += 1
        live_and_die(server.url, ack_log, spill_dir, server=server if victim == "both" else None)
    acks = acknowledged(ack_log)
    print(f"\n{victim}: killed {lives} times, {len(acks)} records acknowledged")  # noqa: T201  # the evidence
    assert len(acks) > 50
    if spill_dir is not None:
        asyncio.run(replay(server.url, spill_dir))
    asyncio.run(check(server, acks))
    asyncio.run(repair(server.url))
    asyncio.run(check(server, acks))


async def replay(url: str, spill_dir: Path) -> None:
    """Start anew on the folder that the dead left behind; a new record follows what lies there."""
    async with opened(url, system_id="killed", spill_dir=str(spill_dir)) as store:
        await store.append([record(mint_incarnation(1.0), RecordKind.EVENT, 1)])
        await until_ok(store)


async def repair(url: str) -> None:
    async with opened(url, system_id="killed") as store:
        await store.recover(REPAIR)
        assert (await store.scan()).anomalies == ()


@pytest.mark.parametrize(
    "directives",
    [DURABLE, {"appendonly": "yes", "appendfsync": "everysec"}, {}],
    ids=["always", "everysec", "no aof"],
)
async def test_i1_a_server_killed_again_and_again_under_a_living_writer_loses_nothing(
    start_redis: StartRedis, directives: dict[str, Any]
) -> None:
    """Without AOF the server forgets everything; what the writer was told is stored it sends again."""
    server = start_redis(**directives)
    acks: list[str] = []
    async with opened(server.url) as store:
        writers = [asyncio.create_task(write(store, writer, acks)) for writer in range(WRITERS)]
        for _ in range(ROUNDS):
            await more_of(acks)
            await asyncio.to_thread(server.restart)
        await more_of(acks)
        for task in writers:
            task.cancel()
        await asyncio.gather(*writers, return_exceptions=True)
    found = await stored(server.url)
    counted = Counter(f"{one.actor_path} {one.actor_address}" for one in found)  # type: ignore[union-attr]
    assert [name for name in acks if counted[name] != 1] == []
    assert max(counted.values()) == 1
    for writer in range(WRITERS):
        mine = [one.seq for one in found if one.actor_path == f"/{writer}"]  # type: ignore[union-attr]
        assert mine == list(range(1, len(mine) + 1))
    assert await anomalies(server.url) == []


async def test_i1_i3_whenever_it_forgets_everything_a_living_writer_has_it_stored_again(
    start_redis: StartRedis,
) -> None:
    server = start_redis()
    records: list[Record] = []
    for seq in range(1, 41):
        records += [make(seq, incarnation=INCARNATION, seq=seq) for make in (event, letter)]
        records.append(event(seq, incarnation=OTHER_INCARNATION, seq=seq))
    last = event(41, incarnation=INCARNATION, seq=41)
    for _ in range(FLUSHES):
        server.client().flushall()
        async with opened(server.url) as store:
            flushing = asyncio.create_task(asyncio.to_thread(flush_twice, server))
            for start in range(0, len(records), 5):
                await store.append(records[start : start + 5])
            await flushing
            await store.append([last])  # with it comes whatever is missing, of any stream
        found = [one for kind in RecordKind for one in await stored(server.url, kind)]
        assert Counter(map(repr, found)) == Counter(map(repr, [*records, last]))
        assert await anomalies(server.url) == []


def flush_twice(server: RedisServer) -> None:
    with server.client() as client:
        for _ in range(2):
            time.sleep(random.uniform(0, 0.03))  # noqa: S311  # any moment will do
            client.flushall()


async def write(store: RedisStreamsPersistence, writer: int, acks: list[str]) -> None:
    """Append one record after the other, each again until it is stored."""
    for number in itertools.count(1):
        one = event(
            number, actor_path=f"/{writer}", incarnation=f"01JDGH5Q7W00000000000001{writer:02}", seq=number
        )
        while True:
            with suppress(StoreUnavailableError):
                await store.append([one])
                break
        acks.append(f"{one.actor_path} {one.actor_address}")


async def more_of(acks: list[str]) -> None:
    enough = len(acks) + 40
    while len(acks) < enough:  # noqa: ASYNC110  # a list tells nobody
        await asyncio.sleep(0.001)
