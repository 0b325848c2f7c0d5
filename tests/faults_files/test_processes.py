"""F10, F11, F13: many processes at one store, and processes that run out of things or are told to stop."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from papyra.exceptions import StoreLockedError
from papyra.persistence import codec, run_sync
from papyra.testing.records import event
from tests.budget import BUDGET
from tests.faults_files.processes import (
    FORMS,
    HEAD,
    HOLDER,
    RACER,
    ROOT,
    findings,
    lock_of,
    numbers_of,
    ran,
    started,
    store_at,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=list(FORMS.values()), ids=list(FORMS))
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / str(request.param)


@pytest.mark.parametrize("count", BUDGET.pick(quick=[4], ci=[2, 8], whole=[2, 4, 8, 16]))
def test_f11_of_writers_that_begin_at_once_one_writes_and_the_others_are_told(path: Path, count: int) -> None:
    racers = [started(RACER, path, str(number)) for number in range(count)]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    said = [racer.communicate(timeout=60) for racer in racers]
    for out, errors in said:  # without logging of its own, a process says there what its store is
        assert errors.count("\n") == errors.count("is being written by process") == out.count("locked")
    acknowledged = {
        str(number): [int(word) for word in out.split() if word != "locked"]
        for number, (out, _) in enumerate(said)
    }
    won = {name: numbers for name, numbers in acknowledged.items() if numbers}
    assert won
    assert all(numbers == list(range(31)) for numbers in won.values())
    assert all("locked" in out for number, (out, _) in enumerate(said) if str(number) not in won)
    assert numbers_of(path) == won
    assert findings(path) == []


def test_f11_the_lock_of_a_holder_that_was_killed_is_free_at_once(path: Path) -> None:
    acknowledged = []
    for life in range(3):
        holder = started(HOLDER, path, str(life), "5")
        assert holder.stdout is not None
        said = [holder.stdout.readline() for _ in range(6)]
        with pytest.raises(StoreLockedError):
            append(path, event(1))
        holder.send_signal(signal.SIGKILL)
        holder.communicate(timeout=10)
        acknowledged.append([int(text) for text in said])
        append(path, event(life, actor_path="/next"))
    assert numbers_of(path) == {
        "0": acknowledged[0],
        "1": acknowledged[1],
        "2": acknowledged[2],
        "next": [0, 1, 2],
    }
    assert findings(path) == []


def test_f11_a_lock_file_that_was_deleted_costs_no_record_of_either_writer(path: Path) -> None:
    """The first writer notices before it writes again, and takes the lock anew once the second has gone."""
    holder = started(HOLDER, path, "first", "5")
    assert holder.stdout is not None
    assert holder.stdin is not None
    first = [int(holder.stdout.readline()) for _ in range(6)]
    lock_of(path).unlink()
    append(path, event(1, actor_path="/second"))
    holder.stdin.write("\n")
    holder.stdin.flush()
    first += [int(holder.stdout.readline()) for _ in range(10)]
    with pytest.raises(StoreLockedError):
        append(path, event(2, actor_path="/second"))
    holder.kill()
    rest, _ = holder.communicate(timeout=10)
    first += [int(text) for text in rest.split("\n")[:-1]]
    found = numbers_of(path)
    assert found["second"] == [1]
    assert found["first"][: len(first)] == first
    assert set(findings(path)) <= {"torn_tail"}


def append(path: Path, record: object) -> None:
    store = store_at(path)
    try:
        run_sync(store.append([record]))  # type: ignore[list-item]
    finally:
        run_sync(store.aclose())


FORKER = """
import warnings
warnings.simplefilter("ignore")
store = store_at(path)
run_sync(store.append([mine(0)]))
say(0)
children = []
for child in range(8):
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            run_sync(store.append([event(child, actor_path="/child")]))
        except BackendClosedError:
            code = 0
        finally:
            os._exit(code)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
run_sync(store.append([mine(1)]))
say(1)
say(codes)
"""


def test_f11_trial_20_eight_children_of_a_fork_are_refused_and_the_parent_goes_on(path: Path) -> None:
    code, said, errors = ran(FORKER, path, "parent")
    assert (code, said) == (0, ["0", "1", str([0] * 8)]), errors
    assert numbers_of(path) == {"parent": [0, 1]}
    assert findings(path) == []


OUT_OF_FILES = """
import resource

def hog():
    taken = []
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return taken

async def main():
    store = store_at(path)
    await store.append([mine(0)])
    say(0)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    hogs = hog()
    other = store_at(path + ".other")
    for work in (other.scan, other.recover, other.compact, lambda: other.append([mine(1)])):
        try:
            await work()
            say(f"worked {work.__name__}")
        except PersistenceError as error:
            say(f"told {'ulimit' in str(error)}")
    for work in (lambda: store.append([mine(1)]), store.recover, store.compact):
        try:
            await work()
        except PersistenceError as error:
            say(f"told {'ulimit' in str(error)}")
    for fd in hogs:
        os.close(fd)
    for one in (store, other):
        await one.append([mine(2)])
        await one.aclose()
    say(2)

asyncio.run(main())
"""


def test_f13_without_a_file_descriptor_left_the_caller_is_told_and_it_works_again(path: Path) -> None:
    code, said, errors = ran(OUT_OF_FILES, path, "me")
    assert code == 0, errors
    assert (said[0], said[-1]) == ("0", "2")
    assert "told True" in said
    assert "told False" not in said
    assert numbers_of(path)["me"] in ([0, 1, 2], [0, 2])
    assert numbers_of(path.with_name(f"{path.name}.other")) == {"me": [2]}
    assert findings(path) == []


SIGNALLED = """
signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
async def main():
    async with store_at(path) as store:
        for number in range(200):
            await store.append([mine(number)])
            say(number)
        await store.recover()
        await store.compact()

asyncio.run(main())
signal.setitimer(signal.ITIMER_REAL, 0)
"""


def test_f13_signals_while_it_writes_cost_nothing(path: Path) -> None:
    code, said, errors = ran(SIGNALLED, path, "me")
    assert (code, said) == (0, [str(number) for number in range(200)]), errors
    assert numbers_of(path) == {"me": list(range(200))}
    assert findings(path) == []


ENDS_WITH_A_QUEUE = """
async def main():
    store = store_at(path)
    await store.append([mine(0)])
    say(0)
    async def one(number):
        await store.append([mine(number)])
        say(number)
    tasks = [asyncio.create_task(one(number)) for number in range(1, 2000)]
    await asyncio.sleep(0)
    if sys.argv[3] == "raises":
        raise SystemExit(7)
    if sys.argv[3] == "returns":
        return
    os._exit(7)

asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["returns", "raises", "exits at once"])
def test_f13_a_process_that_ends_with_a_full_queue_ends_and_loses_nothing_acknowledged(
    path: Path, how: str
) -> None:
    code, said, errors = ran(ENDS_WITH_A_QUEUE, path, "me", how, seconds=20)
    assert code == (0 if how == "returns" else 7), errors
    found = numbers_of(path)["me"]
    assert {int(text) for text in said} <= set(found)
    assert found == list(range(len(found)))
    assert set(findings(path)) <= {"torn_tail"}


def test_f13_ctrl_c_in_the_middle_of_appends_loses_nothing_acknowledged(path: Path) -> None:
    holder = started(HOLDER, path, "me", "-1")
    assert holder.stdout is not None
    said = [int(holder.stdout.readline()) for _ in range(20)]
    holder.send_signal(signal.SIGINT)
    rest, _ = holder.communicate(timeout=20)
    said += [int(text) for text in rest.split("\n")[:-1]]
    found = numbers_of(path)["me"]
    assert found[: len(said)] == said
    assert findings(path) == []


SMALL = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
async def main():
    async with store_at(path) as store:
        refused = 0
        for number in range(60):
            try:
                await store.append([mine(number)])
                say(number)
            except StoreFullError:
                refused += 1
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for number in (60, 61):
            await store.append([mine(number)])
            say(number)
        os.write(2, str(refused).encode())

asyncio.run(main())
"""


def test_f7_trial_5_a_limit_that_tears_a_batch_costs_only_what_was_refused(path: Path) -> None:
    code, said, errors = ran(SMALL, path, "me")
    assert code == 0, errors
    assert int(errors.splitlines()[-1]) > 5  # below what the store logged
    assert numbers_of(path) == {"me": [int(text) for text in said]}
    assert "61" in said
    assert findings(path) == []


FULL_DISK = """
async def main():
    store = store_at(path)
    acknowledged = []
    with open(path + ".hog", "wb") as hog:
        hog.write(b"x" * 16_000)
    for number in range(200):
        try:
            await store.append([mine(number)])
            acknowledged.append(number)
        except StoreFullError:
            break
    await store.aclose()
    newest = newest_file(path)
    with open(newest, "r+b") as file:
        file.seek(-40, 2)
        file.truncate()  # torn by a crash
    with open(path + ".rest", "wb", buffering=0) as file:
        try:
            while file.write(b"x" * 512): pass
        except OSError: pass
    torn = newest.read_bytes()
    from papyra.persistence.models import PersistenceRecoveryConfig
    again = store_at(path)
    try:
        await again.recover(PersistenceRecoveryConfig("repair"))
        say("recovered")
    except StoreFullError:
        say("told")
    assert newest.read_bytes() == torn
    assert len(await again.list_events()) == len(acknowledged) - 1
    os.unlink(path + ".rest")
    os.unlink(path + ".hog")
    report = await again.recover(PersistenceRecoveryConfig("repair"))
    assert not (await again.scan()).anomalies
    await again.append([mine(500)])
    numbers = [event.payload["number"] for event in await again.list_events() if event.actor_path]
    say(numbers == acknowledged[:-1] + [500])
    await again.aclose()

asyncio.run(main())
"""


@pytest.mark.parametrize("name", FORMS.values(), ids=list(FORMS))
def test_f7_trial_4_a_full_disk_at_the_start_refuses_the_repair_and_works_once_there_is_room(
    tmp_path: Path, name: str
) -> None:
    if shutil.which("unshare") is None or os.geteuid() != 0:
        pytest.skip("a small disk of its own needs root and unshare")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=64k none {disk} || exit 99"
    script = f'{mount}; exec {sys.executable} -c "$PROGRAM" {disk}/{name} me'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PROGRAM": HEAD + FULL_DISK},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 99 or "Operation not permitted" in done.stderr:
        pytest.skip("nothing can be mounted here")
    assert (done.returncode, done.stdout.split()) == (0, ["told", "True"]), done.stderr


def test_f13_no_memory_for_a_record_is_its_callers_error_and_the_store_goes_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object) -> bytes:
        raise MemoryError

    async def use() -> None:
        async with store_at(path) as store:
            await store.append([event(1)])
            with monkeypatch.context() as patched:
                patched.setattr(codec, "encode_body", exhausted)
                with pytest.raises(MemoryError):
                    await store.append([event(2)])
            await store.append([event(3)])

    run_sync(use())
    assert numbers_of(path) == {"": [1, 3]}
    assert findings(path) == []
