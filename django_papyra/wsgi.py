"""Stand in front of a WSGI application: it serves only on a store that passed its startup check."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any

from django_papyra.conf import get_settings
from django_papyra.refusal import BODY, HEADERS, STATUS, Refusal

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_log = logging.getLogger(__name__)


def papyra_wsgi(application: Application) -> Application:
    """Wrap ``application``: the first request checks the store, and a refusal answers 503 to everything.

    A WSGI process hosts no system; run ``manage.py papyra_run`` beside it.
    """
    return _Gate(application)


class _Gate:
    def __init__(self, application: Application) -> None:
        self._application = application
        self._lock = threading.Lock()
        self._is_open = False
        self._refusal: Refusal | None = None

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if self._may_serve():
            return self._application(environ, start_response)
        start_response(f"{STATUS} Service Unavailable", list(HEADERS))
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [BODY]

    def _may_serve(self) -> bool:
        if self._is_open:
            return True
        if self._refusal is not None and self._lock.locked():
            return False  # one request tries again, the others do not wait for it
        with self._lock:
            if self._has_to_try:
                self._open()
        return self._is_open

    @property
    def _has_to_try(self) -> bool:
        return not self._is_open and (self._refusal is None or self._refusal.may_try_again)

    def _open(self) -> None:
        from django_papyra import hosting, runtime  # noqa: PLC0415  # imported before django.setup(), as asgi is

        try:
            get_settings()  # raises while there is no coroutine yet that nobody would await
            runtime.run_sync(hosting.check_startup())
        except Exception as error:  # noqa: BLE001  # firewall: whatever keeps the check from passing is a refusal
            self._refusal = Refusal.because_of(error)
            _log.critical("not serving: %s", self._refusal, exc_info=self._refusal.unexpected)
        else:
            self._is_open, self._refusal = True, None
