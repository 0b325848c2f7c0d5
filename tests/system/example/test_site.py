"""The example under a real server: an order becomes a message, and a damaged history serves nothing."""

from __future__ import annotations

import html
import re
import subprocess
import sys
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlencode

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from email.message import Message

    from tests.system.example.project import Project

STRICT = {"DJANGO_SETTINGS_MODULE": "tests.system.example.strict_settings"}
HOSTILE = "<script>alert('x')</script>\u202e"
ORDER = {"customer": HOSTILE, "sku": "FILTER-100", "quantity": "1", "card": "4111-1111-1111-1111"}


class Answer(NamedTuple):
    status: int
    body: str
    headers: Message


class Site:
    """A browser with cookies, as far as forms need one."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process = process
        self._port = port
        self._cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, fields: Mapping[str, str] | None = None) -> Answer:
        connection = HTTPConnection("127.0.0.1", self._port, timeout=30)
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        headers = {"Cookie": cookies, "Content-Type": "application/x-www-form-urlencoded"}
        connection.request(method, path, urlencode(fields or {}), headers)
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        for cookie in response.headers.get_all("Set-Cookie", []):
            name, _, value = cookie.partition(";")[0].partition("=")
            self._cookies[name] = value
        return Answer(response.status, body, response.headers)

    def submit(self, path: str, fields: Mapping[str, str]) -> Answer:
        """Fill in the form at ``path``."""
        form = self.ask("GET", path).body
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert token, form
        return self.ask("POST", path, {**fields, "csrfmiddlewaretoken": token[1]})

    def stop(self) -> str:
        """End the server as a service manager does; returns its log."""
        self.process.terminate()
        return self.process.communicate(timeout=30)[1]


@contextmanager
def uvicorn(project: Project, *options: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "--port", "0", *options, "orderdesk_site.asgi:application"],
        cwd=project.folder,
        env=project.environment(**more),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def site(project: Project, *options: str, **more: str) -> Iterator[Site]:
    """Serve the example; the block begins once it does."""
    with uvicorn(project, *options, **more) as process:
        assert process.stderr is not None
        log = []
        for line in process.stderr:
            log.append(line)
            if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
                yield Site(process, int(found[1]))
                return
        pytest.fail(f"it never served: {log}")


def test_an_order_goes_from_the_page_to_the_actors_and_into_the_admin(on_sql: Project) -> None:
    on_sql.manage("demo_login")
    with site(on_sql) as served:
        for number in range(9):  # the carrier hangs up at the ninth, and its letter names the customer
            answer = served.submit("/", ORDER)
            assert (answer.status, answer.headers["location"]) == (302, "/"), number
        assert re.search(r"Order web-\w{8} was handed to the desk\.", served.ask("GET", "/").body)
        assert served.ask("GET", "/static/orders/order_desk.css").status == 200

        wrong = served.submit("/", {**ORDER, "card": HOSTILE})
        assert wrong.status == 200
        assert HOSTILE not in wrong.body
        assert html.escape(HOSTILE) in wrong.body

        letters = "/admin/django_papyra/deadletter/"
        assert served.ask("GET", letters).status == 302, "nobody reads without a login"
        assert served.submit("/admin/login/", {"username": "demo", "password": "demo"}).status == 302
        listed = served.ask("GET", letters)
        assert (listed.status, "orders.Ship" in listed.body) == (200, True)
        link = re.search(r'href="(/admin/django_papyra/deadletter/\d+/[^"]*)"', listed.body)
        assert link
        shown = served.ask("GET", html.unescape(link[1]))
        assert shown.status == 200
        assert "alert(" in shown.body
        assert "<script>alert" not in shown.body + listed.body
        log = served.stop()
    assert (log.count("Traceback"), "CarrierDown" in log) == (1, True), "what failed was the carrier alone"
    stopped = [one for one in on_sql.records() if one.get("event_type") == "SystemStopped"]
    assert len(stopped) == 1, "the shutdown closed the system"
    assert stopped[0]["payload"]["accounting"]["failed"] == 1


CLIENT = """
import asyncio, threading
import django
django.setup()
from django.test import Client
from django_papyra.hosting import open_system

order = {"customer": "<b>Ada</b>", "sku": "MUG-BLUE", "quantity": "1", "card": "4111-1111-1111-0000"}
page = Client().post("/", order)
assert page.status_code == 503, page.status_code
text = page.content.decode()
assert "The order was not placed: no system runs in this process" in text, text
assert "<b>Ada" not in text and "&lt;b&gt;Ada" in text

opened = threading.Event()
async def host():
    global loop, may_end
    async with open_system() as system:
        loop, may_end = asyncio.get_running_loop(), asyncio.Event()
        opened.set()
        await may_end.wait()
        await system.ref_for("/desk").ask("anything else", timeout=5)

async def outcome():
    try:
        await host()
    except TypeError as error:
        print(error)

thread = threading.Thread(target=lambda: asyncio.run(outcome()))
thread.start()
opened.wait()
assert Client().post("/", order).status_code == 302
assert Client().post("/", {**order, "quantity": "0"}).status_code == 200
loop.call_soon_threadsafe(may_end.set)
thread.join()
"""


def test_the_test_client_places_an_order_where_a_system_runs_and_is_told_where_none_does(
    on_sql: Project,
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLIENT],
        env=on_sql.environment(DJANGO_SETTINGS_MODULE="orderdesk_site.settings"),
        cwd=on_sql.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "the desk serves orders, not str\n"
    crashes = [one["payload"]["error"] for one in on_sql.records() if one.get("event_type") == "ActorCrashed"]
    assert any("card network hung up" in str(error) for error in crashes)


def test_d4_on_a_damaged_history_the_server_ends_and_nothing_was_written(damaged: Project) -> None:
    before = damaged.records()
    with uvicorn(damaged, "--lifespan", "on", **STRICT) as process:
        _, log = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "bad_checksum" in log
    assert "Traceback" not in log
    assert damaged.records() == before


@pytest.mark.parametrize("hosts", ["1", "0"], ids=["host", "bystander"])
def test_d4_a_server_that_ignores_the_refusal_answers_503_to_everything(hosts: str, damaged: Project) -> None:
    before = damaged.records()
    with site(damaged, "--lifespan", "off", PAPYRA_EXAMPLE_RUN_IN_ASGI=hosts, **STRICT) as served:
        for path in ("/", "/admin/", "/static/orders/order_desk.css", "/nowhere"):
            answer = served.ask("GET", path)
            assert (answer.status, answer.headers["retry-after"]) == (503, "30")
            assert not re.search(r"(?i)papyra|sqlite|ndjson|django|checksum|/", answer.body)
        log = served.stop()
    assert log.count("bad_checksum") == 1
    assert damaged.records() == before


def test_a_web_process_that_hosts_nothing_serves_beside_papyra_run(on_file: Project) -> None:
    with on_file.start("papyra_run") as host:
        assert host.stdout is not None
        assert "runs as" in host.stdout.readline()
        with site(on_file, PAPYRA_EXAMPLE_RUN_IN_ASGI="0") as served:
            answer = served.submit("/", ORDER)
            assert (answer.status, "no system runs in this process" in answer.body) == (503, True)
            served.stop()
        host.terminate()
        assert host.wait(30) == 0
