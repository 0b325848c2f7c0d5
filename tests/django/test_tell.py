"""django_papyra.tell(): from any code of the process to an actor of the system that it hosts."""

from __future__ import annotations

import asyncio
import functools
import os
import queue
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db.models.signals import post_save
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory, RequestFactory

import django_papyra
from django_papyra import hosting
from django_papyra.hosting import open_system
from papyra import Actor
from papyra.clock import SYSTEM_CLOCK
from papyra.exceptions import (
    ActorNotFound,
    AskTimeout,
    InvalidNameError,
    PapyraError,
    SystemNotRunning,
)
from tests.django.hosted import HEARD, Greeter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_django import Settings

    from papyra import ActorSystem

MEMORY = {"BACKEND": "memory:", "SYSTEM": "tests.django.hosted.populate", "SYSTEM_ID": "orders"}


@pytest.fixture(autouse=True)
def memory(settings: Settings) -> None:
    settings.PAPYRA = MEMORY
    while not HEARD.empty():
        HEARD.get_nowait()


@contextmanager
def hosted_elsewhere() -> Iterator[tuple[ActorSystem, asyncio.AbstractEventLoop]]:
    """Host the system in another thread, as `papyra_asgi` does beside Django's sync views."""
    opened: queue.SimpleQueue[tuple[ActorSystem, asyncio.AbstractEventLoop, asyncio.Event]] = (
        queue.SimpleQueue()
    )

    async def host() -> None:
        async with open_system() as system:
            may_end = asyncio.Event()
            opened.put((system, asyncio.get_running_loop(), may_end))
            await may_end.wait()

    thread = threading.Thread(target=asyncio.run, args=(host(),))
    thread.start()
    system, loop, may_end = opened.get(timeout=10)
    try:
        yield system, loop
    finally:
        loop.call_soon_threadsafe(may_end.set)
        thread.join()


def flood(path: str, count: int) -> None:
    for number in range(count):
        django_papyra.tell(path, number)


def heard() -> object:
    return HEARD.get(timeout=10)


async def tell_inside(path: str, message: object) -> None:
    django_papyra.tell(path, message)


async def tell_beside(path: str, message: object) -> None:
    await asyncio.to_thread(django_papyra.tell, path, message)


def view(request: HttpRequest) -> HttpResponse:
    django_papyra.tell("/greeter", request.path)
    return HttpResponse()


async def async_view(request: HttpRequest) -> HttpResponse:
    return view(request)


def test_without_a_system_the_error_says_what_to_do() -> None:
    with pytest.raises(SystemNotRunning, match=r"PAPYRA\['RUN_IN_ASGI'\] = True") as refused:
        django_papyra.tell("/greeter", "hello")
    assert refused.value.reason == "not_hosted"
    assert isinstance(refused.value, PapyraError)


@pytest.mark.parametrize("is_inside", [True, False], ids=["in the loop", "beside the loop"])
@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("/nobody", ActorNotFound),
        ("other/greeter", ActorNotFound),
        ("", InvalidNameError),
        ("/gree ter", InvalidNameError),
    ],
)
async def test_a_wrong_path_raises_here(path: str, error: type[Exception], *, is_inside: bool) -> None:
    async with open_system() as system:
        with pytest.raises(error):
            await (tell_inside if is_inside else tell_beside)(path, "hello")
        assert system.accounting().accepted == 0


def test_from_a_sync_view() -> None:
    with hosted_elsewhere():
        view(RequestFactory().get("/sync"))
        assert heard() == "/sync"


async def test_from_a_sync_view_under_asgi() -> None:
    async with open_system():
        await sync_to_async(view, thread_sensitive=True)(RequestFactory().get("/sync"))
        assert await asyncio.to_thread(heard) == "/sync"


async def test_from_an_async_view_inside_the_loop() -> None:
    async with open_system() as system:
        await async_view(AsyncRequestFactory().get("/async"))
        assert system.accounting().accepted == 1, "it is in the mailbox already"
        assert await asyncio.to_thread(heard) == "/async"


def test_from_an_async_view_in_another_loop() -> None:
    with hosted_elsewhere():
        asyncio.run(async_view(AsyncRequestFactory().get("/async")))
        assert heard() == "/async"


def test_from_many_threads_nothing_is_lost() -> None:
    with hosted_elsewhere():
        threads = [
            threading.Thread(target=django_papyra.tell, args=("/greeter", number)) for number in range(20)
        ]
        for thread in threads:
            thread.start()
        assert sorted(str(heard()) for _ in threads) == sorted(str(number) for number in range(20))
        for thread in threads:
            thread.join()


@pytest.mark.django_db
def test_from_a_signal() -> None:
    def tell(instance: User, **_: object) -> None:
        django_papyra.tell("/greeter", instance.username)

    post_save.connect(tell, sender=User)
    try:
        with hosted_elsewhere():
            User.objects.create(username="ada")
            assert heard() == "ada"
    finally:
        post_save.disconnect(tell, sender=User)


def test_from_the_shell_there_is_no_system_and_the_shell_says_so() -> None:
    with pytest.raises(SystemNotRunning, match="no system runs in this process"):
        call_command("shell", command="import django_papyra; django_papyra.tell('/greeter', 1)", verbosity=0)


def test_from_shell_code_in_a_process_that_hosts() -> None:
    with hosted_elsewhere():
        call_command("shell", command="import django_papyra; django_papyra.tell('/greeter', 1)", verbosity=0)
        assert heard() == 1


def test_while_the_loop_is_blocked_the_wait_is_bounded_and_the_message_is_never_delivered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosting, "TELL_SECONDS", 0.05)
    may_go_on = threading.Event()
    with hosted_elsewhere() as (system, loop):
        loop.call_soon_threadsafe(may_go_on.wait, 10)
        began = SYSTEM_CLOCK.monotonic()
        with pytest.raises(AskTimeout, match="something blocks it"):
            django_papyra.tell("/greeter", "too late")
        assert SYSTEM_CLOCK.monotonic() - began < 5
        may_go_on.set()
        monkeypatch.setattr(hosting, "TELL_SECONDS", 5.0)
        django_papyra.tell("/greeter", "in time")
        assert heard() == "in time"
        assert system.call_threadsafe(system.accounting).result(5).accepted == 1


def test_a_stopped_actor_is_an_error_and_a_full_mailbox_a_letter() -> None:
    with hosted_elsewhere() as (system, _):
        idle = system.call_threadsafe(system.spawn, Greeter, name="idle").result(5)
        system.call_threadsafe(system.stop, idle).result(5)
        with pytest.raises(ActorNotFound):
            django_papyra.tell("/idle", "hello")
        full = functools.partial(system.spawn, Greeter, name="full", mailbox_capacity=1)
        system.call_threadsafe(full).result(5)
        system.call_threadsafe(flood, "/full", 9).result(5)
        assert [heard(), heard()] == [0, 1]
        assert system.call_threadsafe(system.accounting).result(5).dead == 7


async def test_while_the_system_closes_it_does_not_run() -> None:
    async with open_system() as system:
        await system.aclose()
        for tell in (tell_inside, tell_beside):
            with pytest.raises(SystemNotRunning):
                await tell("/greeter", "hello")


def test_a_loop_that_ended_without_closing_the_system_is_no_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("Event loop is closed")

    with hosted_elsewhere() as (_, loop), monkeypatch.context() as ended:
        ended.setattr(loop, "call_soon_threadsafe", refuse)
        with pytest.raises(SystemNotRunning, match="closed"):
            django_papyra.tell("/greeter", "hello")


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_child_has_no_system() -> None:
    with hosted_elsewhere():
        child = os.fork()
        if child == 0:
            try:
                django_papyra.tell("/greeter", "from the child")
            except SystemNotRunning:
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


async def test_what_an_actor_tells_from_a_thread_is_on_record_as_told_by_it() -> None:
    async with open_system() as system:
        relay = system.spawn(Relay, name="relay")
        await relay.ask("boom", timeout=5)
        await system.ref_for("/greeter").ask("you", timeout=5)
        await system.flush()
        (letter,) = await system.persistence.list_dead_letters()  # type: ignore[attr-defined]  # every backend's
        assert (letter.sender_path, letter.target_path, letter.reason) == (
            "/relay",
            "/greeter",
            "handler_failed",
        )


class Relay(Actor):
    """Passes everything on to the greeter, from a thread."""

    async def receive(self, message: object) -> None:
        await asyncio.to_thread(django_papyra.tell, "/greeter", message)
