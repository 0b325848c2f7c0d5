"""D4 under WSGI: the first request checks the store, and a refusal answers 503 to everything."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest

from django_papyra import hosting, refusal
from django_papyra.wsgi import papyra_wsgi
from papyra.exceptions import StoreUnavailableError
from tests.django import hosted
from tests.django.places import INTERNAL, STRICT
from tests.django.places import file_store as file_store  # noqa: PLC0414  # fixtures
from tests.django.places import sql_store as sql_store  # noqa: PLC0414
from tests.django.places import store as store  # noqa: PLC0414

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.django.places import SqlStore, Store

pytestmark = pytest.mark.django_db  # so that there is a database to copy


class Site:
    """An application behind the gate, and what it was asked."""

    def __init__(self) -> None:
        self.served = 0
        self.application = papyra_wsgi(self._serve)

    def _serve(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        del environ
        self.served += 1
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"served"]

    def get(self) -> int:
        return self.ask("GET")[0]

    def ask(self, method: str) -> tuple[int, bytes]:
        """Ask without a server."""
        said: list[str] = []

        def start_response(status: str, *_: object) -> Callable[[bytes], object]:
            said.append(status)
            return lambda _: None

        body = b"".join(self.application({"REQUEST_METHOD": method}, start_response))
        return int(said[0].split()[0]), body


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(site: Site) -> Iterator[Callable[[str], tuple[int, dict[str, str], bytes]]]:
    """Serve ``site`` with wsgiref, which also checks it against PEP 3333."""
    with make_server("127.0.0.1", 0, validator(site.application), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()

        def ask(method: str) -> tuple[int, dict[str, str], bytes]:
            connection = HTTPConnection("127.0.0.1", server.server_port, timeout=10)
            connection.request(method, "/")
            response = connection.getresponse()
            answer = response.status, dict(response.getheaders()), response.read()
            connection.close()
            return answer

        try:
            yield ask
        finally:
            server.shutdown()
            thread.join()


def test_d4_on_a_damaged_store_nothing_serves_starts_or_writes(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.configure(STARTUP=STRICT, RUN_IN_ASGI=True)
    store.damage()
    before = store.contents()
    hosted.STARTED.clear()
    site = Site()
    with serving(site) as ask:
        body_of_get = ask("GET")[2]
        for method in ("GET", "POST", "HEAD"):
            status, headers, body = ask(method)
            assert (status, headers["Content-Type"]) == (503, "text/plain; charset=utf-8")
            said = (body.decode() + headers["Retry-After"]).lower()
            assert not [word for word in INTERNAL if word.lower() in said]
    assert (site.served, hosted.STARTED, store.contents()) == (0, [], before)
    assert (site.ask("HEAD"), site.ask("GET")) == ((503, b""), (503, body_of_get))
    (complaint,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert "bad_checksum" in complaint.getMessage()


def test_d4_a_store_without_tables_is_refused_and_tried_again_after_a_while(
    sql_store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql_store.hide()
    before = sql_store.contents()
    site = Site()
    assert (site.get(), sql_store.contents()) == (503, before)
    sql_store.show()
    assert site.get() == 503
    monkeypatch.setattr(refusal, "TRY_AGAIN_AFTER_SECONDS", 0.0)
    assert site.get() == 200


def test_d4_damage_is_never_tried_again(sql_store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal, "TRY_AGAIN_AFTER_SECONDS", 0.0)
    sql_store.damage()
    site = Site()
    assert site.get() == 503
    sql_store.configure(STARTUP={"mode": "ignore"})
    assert site.get() == 503


def test_a_sound_store_serves_and_is_checked_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    before = store.contents()
    with serving(site) as ask:
        assert ask("GET")[0::2] == (200, b"served")
    monkeypatch.setattr(hosting, "check_startup", None)
    assert site.get() == 200
    assert (store.contents(), hosting.hosts_in_asgi()) == (before, False)


def test_what_a_crash_leaves_is_tolerated_and_left_to_the_host(store: Store) -> None:
    store.leave_crash_trace()
    before = store.contents()
    assert (Site().get(), store.contents()) == (200, before)


def test_two_first_requests_check_once_and_the_others_of_a_retry_do_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checks: list[threading.Event] = []
    begun, may_end = threading.Semaphore(0), threading.Event()

    async def check() -> None:
        checks.append(may_end)
        begun.release()
        assert may_end.wait(10)
        if len(checks) == 1:
            raise StoreUnavailableError("nobody answers")

    monkeypatch.setattr(hosting, "check_startup", check)
    monkeypatch.setattr(refusal, "TRY_AGAIN_AFTER_SECONDS", 3600.0)
    site = Site()
    with ThreadPoolExecutor(2) as threads:
        first = [threads.submit(site.get) for _ in range(2)]
        assert begun.acquire(timeout=10)
        may_end.set()
        assert ([one.result(10) for one in first], len(checks)) == ([503, 503], 1)

        monkeypatch.setattr(refusal, "TRY_AGAIN_AFTER_SECONDS", 0.0)
        may_end.clear()
        trying = threads.submit(site.get)
        assert begun.acquire(timeout=10)
        assert site.get() == 503
        may_end.set()
        assert trying.result(10) == 200


def test_wrong_settings_serve_nothing(sql_store: SqlStore, caplog: pytest.LogCaptureFixture) -> None:
    sql_store.configure(STARTUPS={})
    assert Site().get() == 503
    assert "did you mean 'startup'" in caplog.text.lower()
