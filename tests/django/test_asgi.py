"""D4 under ASGI: nothing serves, starts or writes on a store whose startup check refused."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from django_papyra import asgi, hosting, refusal
from django_papyra.asgi import papyra_asgi
from papyra import ActorSystem
from papyra.exceptions import StoreUnavailableError, SystemNotRunning
from papyra.persistence.models import EventType
from tests.django import hosted
from tests.django.places import INTERNAL, STRICT
from tests.django.places import file_store as file_store  # noqa: PLC0414  # fixtures
from tests.django.places import sql_store as sql_store  # noqa: PLC0414
from tests.django.places import store as store  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from tests.django.places import FileStore, SqlStore, Store

pytestmark = pytest.mark.django_db  # so that there is a database to copy


@pytest.fixture(autouse=True)
def nothing_started() -> None:
    hosted.STARTED.clear()


class Server:
    """Drives an application as a server does, and keeps what it says."""

    def __init__(self) -> None:
        self.served: list[str] = []
        self.application = papyra_asgi(self._serve)
        self._lifespan: asyncio.Future[None] | None = None
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._said: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()

    async def _serve(self, scope: Any, receive: Any, send: Any) -> None:
        del receive
        self.served.append(scope["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"served"})

    async def startup(self) -> MutableMapping[str, Any]:
        self._lifespan = asyncio.ensure_future(
            self.application({"type": "lifespan"}, self._events.get, self._said.put)
        )
        return await self._pass_on("lifespan.startup")

    async def shutdown(self) -> MutableMapping[str, Any]:
        assert self._lifespan is not None
        said = await self._pass_on("lifespan.shutdown")
        await self._lifespan
        return said

    async def _pass_on(self, event: str) -> MutableMapping[str, Any]:
        await self._events.put({"type": event})
        return await asyncio.wait_for(self._said.get(), 10)

    async def get(self) -> tuple[int, bytes, dict[bytes, bytes]]:
        start, body = await self.call({"type": "http", "method": "GET", "path": "/"})
        return start["status"], body["body"], dict(start["headers"])

    async def connect(self, *extensions: str) -> list[Any]:
        return await self.call({"type": "websocket", "extensions": {name: {} for name in extensions}})

    async def call(self, scope: dict[str, Any]) -> list[Any]:
        said: list[Any] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": f"{scope['type']}.connect"}

        async def send(event: MutableMapping[str, Any]) -> None:
            said.append(event)

        await asyncio.wait_for(self.application(scope, receive, send), 10)
        return said


async def assert_refused(server: Server) -> None:
    """Assert that everything is refused, whatever is asked."""
    status, body, headers = await server.get()
    assert (status, headers[b"content-length"]) == (503, str(len(body)).encode())
    assert headers[b"retry-after"].isdigit()
    said = (body + b"".join(headers.values())).decode().lower().replace("text/plain", "")
    assert not [word for word in INTERNAL if word.lower() in said]
    (closed,) = await server.connect()
    assert closed == {"type": "websocket.close", "code": 1013}
    start, _ = await server.connect("websocket.http.response")
    assert (start["type"], start["status"]) == ("websocket.http.response.start", 503)
    assert server.served == []


@pytest.mark.parametrize("has_lifespan", [True, False], ids=["lifespan", "no lifespan"])
@pytest.mark.parametrize("hosts", [True, False], ids=["host", "bystander"])
async def test_d4_on_a_damaged_store_nothing_serves_starts_or_writes(
    store: Store, *, hosts: bool, has_lifespan: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store.configure(RUN_IN_ASGI=hosts, STARTUP=STRICT)
    store.damage()
    before = store.contents()
    server = Server()
    if has_lifespan:
        said = await server.startup()
        assert said["type"] == "lifespan.startup.failed"
        assert "bad_checksum" in said["message"]
    for _ in range(2):
        await assert_refused(server)
    assert hosted.STARTED == []
    assert store.contents() == before
    (complaint,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "bad_checksum" in complaint.getMessage()
    assert complaint.exc_info is None, "a refusal is an answer, and no fault to trace"


@pytest.mark.parametrize("hosts", [True, False], ids=["host", "bystander"])
async def test_d4_a_store_without_tables_is_refused_and_tried_again_after_a_while(
    sql_store: SqlStore, *, hosts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql_store.configure(RUN_IN_ASGI=hosts)
    sql_store.hide()
    before = sql_store.contents()
    server = Server()
    said = await server.startup()
    assert said["type"] == "lifespan.startup.failed"
    assert "manage.py migrate" in said["message"]
    await assert_refused(server)
    assert (hosted.STARTED, sql_store.contents()) == ([], before)

    sql_store.show()
    await assert_refused(server)
    monkeypatch.setattr(refusal, "TRY_AGAIN_AFTER_SECONDS", 0.0)
    assert (await server.get())[:2] == (200, b"served")
    await server.shutdown()


async def test_d4_damage_is_never_tried_again(sql_store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal, "TRY_AGAIN_AFTER_SECONDS", 0.0)
    sql_store.configure(STARTUP=STRICT)
    sql_store.damage()
    server = Server()
    await assert_refused(server)
    sql_store.configure(STARTUP={"mode": "ignore"})
    await assert_refused(server)


async def test_d4_a_file_that_another_process_hosts_is_refused_until_it_lets_go(
    file_store: FileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    file_store.configure(RUN_IN_ASGI=True)
    lock = file_store.file.with_name(f"{file_store.file.name}.lock").open("a+")
    fcntl.flock(lock, fcntl.LOCK_EX)
    before = file_store.contents()
    server = Server()
    await assert_refused(server)
    assert (hosted.STARTED, file_store.contents()) == ([], before)
    lock.close()
    monkeypatch.setattr(refusal, "TRY_AGAIN_AFTER_SECONDS", 0.0)
    assert (await server.get())[0] == 200
    await server.startup()
    await server.shutdown()


@pytest.mark.parametrize("fails", [False, True], ids=["sound", "refused"])
async def test_two_first_requests_check_once(*, fails: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = 0
    may_end = asyncio.Event()

    async def check() -> None:
        nonlocal checks
        checks += 1
        await may_end.wait()
        if fails:
            raise StoreUnavailableError("nobody answers")

    monkeypatch.setattr(hosting, "hosts_in_asgi", lambda: False)
    monkeypatch.setattr(hosting, "check_startup", check)
    server = Server()
    requests = [asyncio.create_task(server.get()) for _ in range(2)]
    asyncio.get_running_loop().call_later(0, may_end.set)
    assert [status for status, *_ in await asyncio.gather(*requests)] == [503 if fails else 200] * 2
    assert checks == 1


async def test_while_one_request_tries_again_the_others_are_answered_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, may_end = asyncio.Event(), asyncio.Event()

    async def check() -> None:
        if begun.is_set():
            await may_end.wait()
            return
        begun.set()
        raise StoreUnavailableError("nobody answers")

    monkeypatch.setattr(refusal, "TRY_AGAIN_AFTER_SECONDS", 0.0)
    monkeypatch.setattr(hosting, "hosts_in_asgi", lambda: False)
    monkeypatch.setattr(hosting, "check_startup", check)
    server = Server()
    assert (await server.get())[0] == 503
    trying = asyncio.create_task(server.get())
    await asyncio.sleep(0)
    assert (await server.get())[0] == 503
    may_end.set()
    assert (await trying)[0] == 200


async def test_with_run_in_asgi_the_process_hosts_and_its_shutdown_closes(store: Store) -> None:
    store.configure(RUN_IN_ASGI=True)
    server = Server()
    assert (await server.startup())["type"] == "lifespan.startup.complete"
    system = hosting.current_system()
    assert await system.ref_for("/greeter").ask("you", timeout=5) == "hello, you"
    assert (await server.get())[0] == 200
    assert (await server.shutdown())["type"] == "lifespan.shutdown.complete"
    mine = [event for event in store.events() if event.incarnation == system.incarnation]
    assert mine[0].event_type == EventType.SYSTEM_STARTED
    assert mine[-1].event_type == EventType.SYSTEM_STOPPED
    with pytest.raises(SystemNotRunning):
        hosting.current_system()


async def test_a_request_after_the_shutdown_starts_nothing_and_a_new_startup_does(
    sql_store: SqlStore,
) -> None:
    sql_store.configure(RUN_IN_ASGI=True)
    server = Server()
    await server.startup()
    await server.shutdown()
    before = sql_store.events()
    assert (await server.get())[0] == 503
    assert sql_store.events() == before
    assert (await server.startup())["type"] == "lifespan.startup.complete"
    assert (await server.get())[0] == 200
    await server.shutdown()


@pytest.mark.parametrize(
    ("populate", "words"),
    [
        ("tests.django.hosted.populate_halfway", "there is no kettle"),
        ("tests.django.nowhere.populate", "cannot be imported"),
        ("tests.django.hosted.absent", "cannot be imported"),
        ("tests.django.hosted.populate_plainly", "is not an `async def`"),
    ],
)
async def test_a_system_that_cannot_be_populated_serves_nothing_and_says_why_once(
    populate: str, words: str, sql_store: SqlStore, caplog: pytest.LogCaptureFixture
) -> None:
    sql_store.configure(RUN_IN_ASGI=True, SYSTEM=populate)
    server = Server()
    said = await server.startup()
    assert (said["type"], words in said["message"]) == ("lifespan.startup.failed", True)
    await assert_refused(server)
    (complaint,) = [record for record in caplog.records if record.name == asgi.__name__]
    assert complaint.exc_info is not None, "the cause is in the log"
    with pytest.raises(SystemNotRunning):
        hosting.current_system()
    events = [event.event_type for event in sql_store.events() if event.event_type.startswith("System")]
    assert events in ([], ["SystemStarted", "SystemStopped"]), "what was begun was ended"


async def test_wrong_settings_serve_nothing(sql_store: SqlStore, caplog: pytest.LogCaptureFixture) -> None:
    sql_store.configure(STARTUPS={})
    await assert_refused(Server())
    assert "did you mean 'startup'" in caplog.text.lower()


async def test_a_bystander_takes_no_lock_writes_nothing_and_tolerates_what_a_crash_leaves(
    store: Store,
) -> None:
    store.configure(RUN_IN_ASGI=False)
    store.leave_crash_trace()
    before = store.contents()
    server = Server()
    assert (await server.startup())["type"] == "lifespan.startup.complete"
    assert (await server.get())[0] == 200
    await server.shutdown()
    assert (hosted.STARTED, store.contents()) == ([], before)


async def test_a_bystander_serves_beside_a_living_host(store: Store) -> None:
    store.configure(RUN_IN_ASGI=False)
    async with hosting.open_system():
        assert (await Server().get())[0] == 200


async def test_a_bystander_refuses_damage_that_a_host_would_repair(store: Store) -> None:
    store.configure(RUN_IN_ASGI=False)
    store.damage()
    before = store.contents()
    await assert_refused(Server())
    assert store.contents() == before
    store.configure(RUN_IN_ASGI=True)
    host = Server()
    assert (await host.startup())["type"] == "lifespan.startup.complete"
    await host.shutdown()
    store.configure(RUN_IN_ASGI=False)
    assert (await Server().get())[0] == 200


async def test_what_is_neither_http_nor_websocket_is_no_way_around_a_refusal(sql_store: SqlStore) -> None:
    sql_store.configure(STARTUP=STRICT)
    sql_store.damage()
    server = Server()
    with pytest.raises(RuntimeError, match="channel"):
        await server.call({"type": "channel"})
    assert server.served == []


async def test_a_close_that_fails_is_told_to_the_server(
    sql_store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(system: ActorSystem, *_: object) -> None:
        await system.aclose()
        raise OSError("no more")

    monkeypatch.setattr(ActorSystem, "__aexit__", fail)
    sql_store.configure(RUN_IN_ASGI=True)
    server = Server()
    await server.startup()
    assert await server.shutdown() == {"type": "lifespan.shutdown.failed", "message": "no more"}


def test_d3_both_gates_are_imported_before_django_is_set_up() -> None:
    code = (
        "import django_papyra.asgi, django_papyra.wsgi; "
        "from django.conf import settings; print(settings.configured)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("False\n", "")
