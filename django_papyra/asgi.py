"""Stand in front of an ASGI application: the startup check, and with ``RUN_IN_ASGI`` the system itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any

from django_papyra.refusal import BODY, HEADERS, STATUS, Refusal

Scope = MutableMapping[str, Any]
Event = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

TRY_AGAIN_LATER = 1013
"""The code of a websocket that is closed for this reason."""

_log = logging.getLogger(__name__)


def papyra_asgi(application: Application) -> Application:
    """Wrap ``application`` so that it serves only on a store that passed its startup check.

    It answers the lifespan protocol itself. Where a server has none, the first request checks. Refused means
    503 to everything, also where the server ignores a failed startup. Only what was out of reach is tried
    again.
    """
    return _Gate(application)


class _Gate:
    def __init__(self, application: Application) -> None:
        self._application = application
        self._lock = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._is_open = False
        self._refusal: Refusal | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif await self._may_serve():
            await self._application(scope, receive, send)
        else:
            await _refuse(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            event = await receive()
            if event["type"] == "lifespan.startup":
                await send(await self._start())
            elif event["type"] == "lifespan.shutdown":
                await send(await self._stop())
                return

    async def _start(self) -> Event:
        self._refusal = None  # an application may be started again
        if await self._may_serve():
            return {"type": "lifespan.startup.complete"}
        return {"type": "lifespan.startup.failed", "message": str(self._refusal)}

    async def _stop(self) -> Event:
        try:
            async with self._lock:
                self._is_open, self._refusal = False, Refusal.at_shutdown()
                await self._stack.aclose()
        except Exception as error:  # noqa: BLE001  # firewall: the server hears of it and goes on with its own end
            _log.critical("the system did not close well", exc_info=error)
            return {"type": "lifespan.shutdown.failed", "message": str(error)}
        return {"type": "lifespan.shutdown.complete"}

    async def _may_serve(self) -> bool:
        if self._is_open:
            return True
        if self._refusal is not None and self._lock.locked():
            return False  # one request tries again, the others do not wait for it
        async with self._lock:
            if self._has_to_try:
                await self._open()
        return self._is_open

    @property
    def _has_to_try(self) -> bool:
        return not self._is_open and (self._refusal is None or self._refusal.may_try_again)

    async def _open(self) -> None:
        from django_papyra import hosting  # noqa: PLC0415  # this module is imported before django.setup()

        try:
            if hosting.hosts_in_asgi():
                await self._stack.enter_async_context(hosting.open_system())
            else:
                await hosting.check_startup()
        except Exception as error:  # noqa: BLE001  # firewall: whatever keeps the system from starting is a refusal
            self._refusal = Refusal.because_of(error)
            _log.critical("not serving: %s", self._refusal, exc_info=self._refusal.unexpected)
        else:
            self._is_open, self._refusal = True, None


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    match scope["type"]:
        case "http":
            await _answer(send, "http.response")
        case "websocket":
            await receive()  # websocket.connect
            if "websocket.http.response" in (scope.get("extensions") or {}):
                await _answer(send, "websocket.http.response")
            else:
                await send({"type": "websocket.close", "code": TRY_AGAIN_LATER})
        case other:
            raise RuntimeError(f"refused: nothing of type {other!r} is served")


async def _answer(send: Send, prefix: str) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS]
    await send({"type": f"{prefix}.start", "status": STATUS, "headers": headers})
    await send({"type": f"{prefix}.body", "body": BODY})
