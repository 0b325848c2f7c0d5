"""The only door to the server: connections of our own, errors in our words, and no retry but ours."""

from __future__ import annotations

import hashlib
import re
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

from papyra.exceptions import (
    ConfigurationError,
    ForeignStoreError,
    StoreFailedError,
    StoreFullError,
    StoreUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis import ConnectionPool, Redis, RedisCluster

    from papyra.exceptions import PersistenceError

Argument = str | bytes | int
Value = TypeVar("Value")

TIMEOUT_SECONDS = 5.0
CONNECT_SECONDS = 2.0
"""Whoever wants to write waits for a try; long enough for one lost packet."""
_WORD = re.compile(r"(?:^|-|^unknown command ['`])([A-Z]{4,}|ASK|OOM)\b")
_LATER = {
    "ASK": "the slot moves to another node",
    "BUSY": "a script of somebody's keeps the server busy",
    "CLUSTERDOWN": "the cluster is down",
    "LOADING": "the server is loading its data",
    "MASTERDOWN": "the replica has lost its primary",
    "MISCONF": "the server cannot save, and takes no writes until it can",
    "MOVED": "the slot is on another node",
    "NOAUTH": "the server asks for a password; give one in the URL",
    "NOPERM": "the server's ACL does not allow this user what papyra needs; the Redis page lists it",
    "NOREPLICAS": "too few replicas are there",
    "READONLY": "the server is a replica and takes no writes",
    "TRYAGAIN": "the slot moves to another node",
    "WAITAOF": "durability='waitaof' asks for Redis 7.2 or later, with appendonly yes",
    "WRONGPASS": "the server refuses this user or password",
}
_FORM = (
    "not the URL of a Redis server; write redis://USER:PASSWORD@HOST:PORT/DB, rediss:// for TLS, or "
    "unix://PATH, with special characters of a password as percent escapes"
)
_DATABASE = re.compile(r"(/[0-9]*)?")
_ELSEWHERE = frozenset({"MOVED", "ASK", "CLUSTERDOWN", "READONLY", "MASTERDOWN"})


class Script:
    """A program that the server runs in one go; it keeps the text by its digest."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324  # the server's own name for it


class Target(NamedTuple):
    """Where the server is: by URL, or as a client that is ready (plain, of Sentinel or of a cluster).

    A ready client lends where and how to connect, and neither its connections nor its retries. ``key`` tells
    which node of a cluster is meant.
    """

    url: str
    client: Redis | RedisCluster | None
    key: str

    def __repr__(self) -> str:
        return f"<{self.place}>"

    @property
    def place(self) -> str:
        """What to call it where people read: without user, password and options."""
        if self.client is not None:
            return f"{_place_of(self.client)}, {self.key}"
        parts = split(self.url)
        named = dict(parse_qsl(parts.query)).get("db", "0")
        if parts.scheme == "unix":
            return f"unix://{parts.path}?db={named}, {self.key}"
        database = parts.path.strip("/") or named
        return f"{parts.scheme}://{parts.hostname or 'localhost'}:{parts.port or 6379}/{database}, {self.key}"

    def check(self) -> None:
        """Raise `ConfigurationError` for a URL that names no server; connects to none."""
        if self.client is None:
            self.pool().disconnect()

    def pool(self, socket_timeout: float | None = None) -> ConnectionPool:
        """Return a pool of our own."""
        redis = _driver()
        if self.client is None:
            split(self.url)
            try:
                pool = redis.ConnectionPool.from_url(self.url)
            except (ValueError, TypeError):  # its text may hold a part of the password
                raise ConfigurationError(_FORM) from None
        else:
            client: Any = self.client
            if isinstance(client, redis.RedisCluster):
                client = client.get_redis_connection(client.get_node_from_key(self.key))
            pool = client.connection_pool
        return _like(pool, socket_timeout)

    def look_again(self) -> None:
        """Have the cluster's map made anew: it may be out of date."""
        if isinstance(self.client, _driver().RedisCluster):
            self.client.nodes_manager.initialize()


def _place_of(client: Redis | RedisCluster) -> str:
    pool: Any = getattr(client, "connection_pool", None)
    if pool is None:
        return "the client's cluster"
    if hasattr(pool, "service_name"):
        return f"the client's service {pool.service_name}"
    given = pool.connection_kwargs
    address = given.get("path") or f"{given.get('host', 'localhost')}:{given.get('port', 6379)}"
    return f"the client's server {address}/{given.get('db') or 0}"


def split(url: str) -> SplitResult:
    """Return the parts of a Redis URL; raises `ConfigurationError`, which repeats nothing of it."""
    try:
        parts = urlsplit(url)
        is_server = parts.scheme in {"redis", "rediss"} and _DATABASE.fullmatch(parts.path) is not None
        if (is_server and parts.port != 0) or (parts.scheme == "unix" and parts.path):
            return parts
    except ValueError:
        pass  # its text may hold a part of the password
    raise ConfigurationError(_FORM)


def _like(pool: ConnectionPool, socket_timeout: float | None) -> ConnectionPool:
    """Return a pool that connects as ``pool`` does, but without retries and with replies as they come."""
    redis = _driver()
    given = {
        name: value
        for name, value in pool.connection_kwargs.items()
        if "maint_notifications" not in name and not name.startswith("orig_") and name != "connection_pool"
    }
    given.setdefault("socket_timeout", TIMEOUT_SECONDS)
    given.setdefault("socket_connect_timeout", CONNECT_SECONDS)
    if socket_timeout is not None:
        given["socket_timeout"] = socket_timeout
    given |= {
        "retry": redis.retry.Retry(redis.backoff.NoBackoff(), 0),
        "retry_on_timeout": False,
        "retry_on_error": [],
        "decode_responses": False,
        "protocol": 2,
        "health_check_interval": 0,
        "client_name": given.get("client_name") or "papyra",
        "connection_class": pool.connection_class,
    }
    sentinel = import_module("redis.sentinel")
    if isinstance(pool, sentinel.SentinelConnectionPool):
        return sentinel.SentinelConnectionPool(  # type: ignore[no-any-return]  # imported by name
            pool.service_name, pool.sentinel_manager, is_master=True, **given
        )
    return redis.ConnectionPool(**given)  # type: ignore[no-any-return]


class Door:
    """One connection for one thread; opened at its first use, and anew after each time that it broke.

    A command whose connection broke, or whose keys are on another node, is sent once more on a fresh one, so
    only what may be repeated goes through here; or ``repeats`` is false, and of a break its caller is told.
    """

    def __init__(self, target: Target, socket_timeout: float | None = None, *, repeats: bool = True) -> None:
        self.target = target
        self._socket_timeout = socket_timeout
        self._repeats = repeats
        self._client: Redis | None = None

    def call(self, *command: Argument) -> Any:
        """Send one command and return its reply as the server gives it."""
        return self._once_more(lambda client: client.execute_command(*command))  # type: ignore[no-untyped-call]

    def run(
        self,
        script: Script,
        keys: Sequence[str],
        arguments: Sequence[Argument],
        *following: Sequence[Argument],
    ) -> list[Any]:
        """Run ``script``, and what is ``following`` on the same connection; return each one's reply."""

        def send(client: Redis) -> list[Any]:
            rest = (len(keys), *keys, *arguments)
            replies = _sent(client, [("EVALSHA", script.digest, *rest), *following])
            if isinstance(replies[0], _driver().exceptions.NoScriptError):
                replies = _sent(client, [("EVAL", script.text, *rest), *following])
            return _checked(replies)

        return self._once_more(send)

    def _once_more(self, work: Callable[[Redis], Value]) -> Value:
        with translated(self.target):
            may_repeat = self._repeats and self._client is not None
            try:
                return self._do(work)
            except _driver().RedisError as error:
                is_broken = may_repeat and isinstance(error, _driver().exceptions.ConnectionError)
                if not is_broken and _word_of(error) not in _ELSEWHERE:
                    raise
            return self._do(work)

    def _do(self, work: Callable[[Redis], Value]) -> Value:
        redis = _driver()
        if self._client is None:
            self._client = redis.Redis(connection_pool=self.target.pool(self._socket_timeout))
            self._client.response_callbacks.clear()
        try:
            return work(self._client)
        except redis.RedisError as error:
            is_elsewhere = _word_of(error) in _ELSEWHERE
            if is_elsewhere or not isinstance(error, redis.ResponseError):
                self.close()
                self.target.look_again()
            raise

    def close(self) -> None:
        """Let go of the connection; the next use opens another."""
        client, self._client = self._client, None
        if client is not None:
            client.connection_pool.disconnect()


def _sent(client: Redis, commands: Sequence[Sequence[Argument]]) -> list[Any]:
    with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]  # the driver's
        return pipeline.execute(raise_on_error=False)


def _checked(replies: list[Any]) -> list[Any]:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
    return replies


@contextmanager
def translated(target: Target) -> Iterator[None]:
    """Turn what the driver raises into our words, cause kept; nothing of it ever holds a password."""
    redis = _driver()
    try:
        yield
    except (redis.RedisError, redis.exceptions.RedisClusterException) as error:
        raise in_our_words(error, target) from error


def in_our_words(error: Exception, target: Target) -> PersistenceError:
    """Say what ``error`` means: try again, go elsewhere, make room, or never."""
    exceptions = _driver().exceptions
    word, text = _word_of(error), str(error)[:200]
    where = target.place
    if word == "OOM":
        return StoreFullError(
            f"{where}: the server is out of memory and takes no writes; let retention remove more "
            "(papyra persistence compact), or raise its maxmemory"
        )
    if word == "WRONGTYPE":
        return ForeignStoreError(f"{where}: a key of this store holds something else than papyra put there")
    if word in _LATER:
        return StoreUnavailableError(f"{where}: {_LATER[word]} ({text})")
    is_away = exceptions.ConnectionError, exceptions.TimeoutError, exceptions.ClusterError
    if isinstance(error, (*is_away, exceptions.RedisClusterException)):
        return StoreUnavailableError(f"{where}: the server does not answer: {text}")
    return StoreFailedError(f"{where}: {type(error).__name__}: {text}")


def _word_of(error: Exception) -> str:
    """Return the word by which the server says what is wrong, wherever the driver or a script has put it."""
    exceptions = _driver().exceptions
    by_class = {
        exceptions.OutOfMemoryError: "OOM",
        exceptions.ReadOnlyError: "READONLY",
        exceptions.NoPermissionError: "NOPERM",
        exceptions.BusyLoadingError: "LOADING",
        exceptions.MovedError: "MOVED",
        exceptions.AskError: "ASK",
        exceptions.MasterDownError: "MASTERDOWN",
        exceptions.ClusterDownError: "CLUSTERDOWN",
        exceptions.TryAgainError: "TRYAGAIN",
        exceptions.AuthenticationError: "WRONGPASS",
        exceptions.AuthorizationError: "NOPERM",
        exceptions.AuthenticationWrongNumberOfArgsError: "WRONGPASS",
    }
    match = _WORD.search(str(error))
    return by_class.get(type(error)) or (match[1] if match else "")


def _driver() -> Any:
    try:
        import_module("redis.sentinel")
        return import_module("redis")
    except ImportError as error:
        raise ConfigurationError(
            "a Redis store needs the package redis: pip install 'papyra[redis]'"
        ) from error
