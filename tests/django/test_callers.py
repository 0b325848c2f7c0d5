"""From wherever it is called: views, signals, threads, children, other processes; the loop never waits."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db.models.signals import post_save
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory

from django_papyra.backend import DjangoPersistence
from papyra.clock import SYSTEM_CLOCK
from papyra.exceptions import BackendClosedError
from papyra.persistence.threads import run_sync
from papyra.testing.records import event, numbers

ROOT = Path(__file__).resolve().parents[2]


async def use(backend: DjangoPersistence, number: int) -> None:
    """Call every public method."""
    await backend.append([event(number)])
    await backend.list_events(limit=1)
    await backend.stats()
    await backend.scan()
    await backend.recover()
    await backend.compact(dry_run=True)
    await backend.beat("nobody")


async def test_every_method_works_from_an_async_view(backend: DjangoPersistence) -> None:
    async def view(request: HttpRequest) -> HttpResponse:
        await use(backend, 1)
        return HttpResponse(request.path)

    assert (await view(AsyncRequestFactory().get("/"))).status_code == 200


async def test_every_method_works_from_a_sync_view_beside_a_running_loop(backend: DjangoPersistence) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        run_sync(use(backend, 1))
        return HttpResponse(request.path)

    response = await sync_to_async(view, thread_sensitive=True)(RequestFactory().get("/"))
    assert response.status_code == 200


def test_every_method_works_from_a_signal_in_a_callers_transaction(transactional_db: None) -> None:
    del transactional_db
    backend = DjangoPersistence()

    def record(**_: object) -> None:
        run_sync(backend.append([event(1)]))

    run_sync(use(backend, 0))
    post_save.connect(record, sender=User)
    try:
        User.objects.create(username="ana")
    finally:
        post_save.disconnect(record, sender=User)
    assert numbers(run_sync(backend.list_events())) == [0, 1]
    run_sync(backend.aclose())


async def test_threads_with_loops_of_their_own_share_one_backend(backend: DjangoPersistence) -> None:
    await asyncio.gather(*(asyncio.to_thread(asyncio.run, use(backend, number)) for number in range(8)))
    assert sorted(numbers(await backend.list_events())) == list(range(8))
    assert not (await backend.scan()).has_anomalies


async def test_i8_the_loop_does_not_wait_for_the_database(backend: DjangoPersistence) -> None:
    await backend.append([event(0)])
    worst, is_over = 0.0, asyncio.Event()

    async def probe() -> None:
        nonlocal worst
        while not is_over.is_set():
            before = SYSTEM_CLOCK.monotonic()
            await asyncio.sleep(0.001)
            worst = max(worst, SYSTEM_CLOCK.monotonic() - before)

    watching = asyncio.create_task(probe())
    for start in range(0, 3_000, 500):
        await backend.append([event(number) for number in range(start, start + 500)])
        await backend.scan()
    is_over.set()
    await watching
    assert worst < 0.25, "a scan of 3,000 rows on the loop takes longer"


def test_a_child_process_has_to_open_its_own(transactional_db: None) -> None:
    del transactional_db
    backend = DjangoPersistence()
    run_sync(backend.append([event(1)]))
    run_sync(backend.list_events())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        said = []
        for attempt in (lambda: backend.append([event(2)]), backend.list_events):
            try:
                run_sync(attempt())
                said.append(b"stored")
            except BackendClosedError:
                said.append(b"refused")
        os.write(writing, b" ".join(said))
        os._exit(0)
    os.close(writing)
    assert os.read(reading, 100) == b"refused refused"
    os.close(reading)
    os.waitpid(child, 0)
    assert numbers(run_sync(backend.list_events())) == [1]
    run_sync(backend.aclose())


WRITER = """
import asyncio, os, sys
import django
from django.conf import settings
from tests.django import settings as ours
ours.DATABASES["default"]["NAME"] = sys.argv[1]
django.setup()
from django_papyra.backend import DjangoPersistence
from papyra.testing.records import event

async def main():
    async with DjangoPersistence() as backend:
        async def write(actor):
            for number in range(int(sys.argv[2])):
                await backend.append([event(number, actor_path=f"/{os.getpid()}/{actor}")])
                print(os.getpid(), actor, number, flush=True)
        await asyncio.gather(*(write(actor) for actor in range(8)))

asyncio.run(main())
"""


def start_writer(file: Path, count: int) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    settings = os.environ["DJANGO_SETTINGS_MODULE"]
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(file), str(count)],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": path,
            "DJANGO_SETTINGS_MODULE": settings,
            "PAPYRA_TEST_FOLDER": str(file.parent),
        },
        stdout=subprocess.PIPE,
        text=True,
    )


async def test_several_processes_share_one_file_without_a_lock_error(scratch: Path) -> None:
    writers = [start_writer(scratch, 40) for _ in range(3)]
    async with DjangoPersistence("scratch") as backend:
        while any(writer.poll() is None for writer in writers):
            await backend.append([event(0)])
            assert not (await backend.scan()).has_damage
            await asyncio.sleep(0.05)  # the writers need most of the time
        for writer in writers:
            await asyncio.to_thread(writer.communicate)
            assert writer.returncode == 0
        found = [one for one in await backend.list_events() if one.actor_path]
        assert len(found) == 3 * 8 * 40
        for path in {one.actor_path for one in found}:
            assert numbers(one for one in found if one.actor_path == path) == list(range(40))
        assert not (await backend.scan()).has_anomalies


async def test_i1_what_a_killed_process_was_told_is_stored(scratch: Path) -> None:
    writer = start_writer(scratch, 100_000)
    assert writer.stdout is not None
    for _ in range(500):
        await asyncio.to_thread(writer.stdout.readline)
    writer.send_signal(signal.SIGKILL)
    rest, _ = await asyncio.to_thread(writer.communicate)
    acknowledged = [line.split() for line in rest.splitlines() if len(line.split()) == 3]
    async with DjangoPersistence("scratch") as backend:
        stored = {
            (one.actor_path, number) for one in await backend.list_events() for number in numbers([one])
        }
        assert not (await backend.scan()).has_anomalies
    assert {(f"/{pid}/{actor}", int(number)) for pid, actor, number in acknowledged} <= stored
    assert len(stored) >= 500
