"""Ask a server whether it keeps what it is given; pure judgement over what it says of itself."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from papyra.exceptions import PersistenceError, StoreUnavailableError
from papyra.persistence._redis.entries import FIRST
from papyra.persistence._redis.walking import walk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from papyra.persistence._redis.connecting import Door
    from papyra.persistence._redis.keys import Keys

OLDEST = (6, 2)
CLOCK_TOLERANCE_SECONDS = 5.0
LEAST_HEADROOM = 0.1


class Demand(StrEnum):
    """What can be required of a server; else a lack is a warning of each scan."""

    PERSISTENCE = "persistence"
    NO_EVICTION = "no_eviction"
    VERSION = "version"
    HEADROOM = "headroom"
    CLOCK = "clock"
    PRIMARY = "primary"
    IDS = "ids"


class Doubt(NamedTuple):
    """What a server lacks; ``demand`` would refuse it."""

    demand: Demand
    text: str


class Said(NamedTuple):
    """What a server says of itself; ``config`` is empty where an ACL or a provider forbids to ask."""

    info: Mapping[str, str]
    config: Mapping[str, str]
    time: float
    newest_id: float


def ask(door: Door, keys: Keys) -> Said:
    """Ask, changing nothing."""
    info = door.call("INFO", "everything").decode("utf-8", "replace")
    fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
    config: dict[str, str] = {}
    for name in ("appendonly", "save", "maxmemory-policy", "appendfsync"):
        try:
            pair = door.call("CONFIG", "GET", name)
        except PersistenceError:  # forbidden, or renamed by a provider
            break
        config |= {str(pair[0], "utf-8"): str(pair[1], "utf-8")} if len(pair) > 1 else {}
    seconds, microseconds = door.call("TIME")
    newest = max((_newest(door, stream) for stream in keys.streams), default=0.0)
    return Said(fields, config, int(seconds) + int(microseconds) / 1e6, newest)


def _newest(door: Door, stream: str) -> float:
    if door.call("TYPE", stream) != b"stream":
        return 0.0
    columns = next(walk(door, stream, newest_first=True, step=1), [])
    return (columns[0].id if columns else FIRST).milliseconds / 1000


def judge(said: Said, now: float) -> Iterator[Doubt]:
    """Yield what speaks against trusting a history to this server; ``now`` is our own time."""
    version = tuple(map(int, said.info.get("redis_version", "0.0").split(".")[:2]))
    if version < OLDEST:
        yield Doubt(
            Demand.VERSION, f"the server is {said.info.get('redis_version')}; papyra needs 6.2 or later"
        )
    if said.info.get("role", "master") != "master":
        yield Doubt(Demand.PRIMARY, "the server is a replica, which takes no writes")
    yield from _about_keeping(said)
    limit, used = int(said.info.get("maxmemory", 0)), int(said.info.get("used_memory", 0))
    if limit and used > limit * (1 - LEAST_HEADROOM):
        yield Doubt(
            Demand.HEADROOM,
            f"{used} of {limit} bytes of the server's maxmemory are used; beyond it appends are refused",
        )
    skew = said.time - now
    if abs(skew) > CLOCK_TOLERANCE_SECONDS:
        yield Doubt(Demand.CLOCK, f"the server's clock is {skew:+.0f} s from this machine's")
    if said.newest_id > max(said.time, now) + CLOCK_TOLERANCE_SECONDS:
        yield Doubt(
            Demand.IDS,
            f"the newest id is {said.newest_id - said.time:.0f} s in the future: a clock was wrong once; "
            "ages are reckoned by the records' own times, so that nothing is kept too long for it",
        )


def _about_keeping(said: Said) -> Iterator[Doubt]:
    if "appendonly" not in said.config:
        yield Doubt(
            Demand.PERSISTENCE,
            "the server does not let CONFIG be read, so nothing tells whether it keeps what it is given",
        )
    elif said.config["appendonly"] != "yes":
        saves = said.config.get("save", "")
        kept = f"only snapshots ({saves})" if saves else "nothing"
        yield Doubt(
            Demand.PERSISTENCE,
            f"appendonly is off: {kept} survives a restart of the server; set appendonly yes",
        )
    policy = said.config.get("maxmemory-policy") or said.info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and policy.startswith("allkeys"):
        yield Doubt(
            Demand.NO_EVICTION,
            f"maxmemory-policy is {policy}: once memory is short the server deletes whole streams; set "
            "noeviction",
        )


def check(doubts: list[Doubt], demands: frozenset[Demand], place: str) -> None:
    """Raise `StoreUnavailableError` where a lack was said to refuse the server."""
    refused = [doubt.text for doubt in doubts if doubt.demand in demands]
    if refused:
        raise StoreUnavailableError(f"{place}: refused, as `require` says: {'; '.join(refused)}")
