"""How a Redis store is configured, in Python or in its URL."""

from __future__ import annotations

import hashlib
from dataclasses import KW_ONLY, dataclass, field, fields
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, urlencode

from papyra.exceptions import ConfigurationError
from papyra.persistence._redis.appending import Acknowledging, Durability
from papyra.persistence._redis.connecting import Target, split
from papyra.persistence._redis.keys import Keys
from papyra.persistence._redis.server import Demand
from papyra.persistence.models import RecordKind, as_word
from papyra.persistence.outage import MAX_SPILL_BYTES, OutageOptions
from papyra.persistence.upkeep import check_interval

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

    from redis import Redis, RedisCluster

_WORDS = ("prefix", "system_id", "quarantine_prefix", "durability", "spill_dir", "spill_when_full")
_NUMBERS = (
    "wait_replicas",
    "wait_milliseconds",
    "max_retained_for_groups",
    "spill_max_bytes",
    "retry_seconds",
)
_LEAST = {"scan_sample_size": 1, "max_read": 1, "wait_replicas": 0, "wait_milliseconds": 1}


@dataclass(frozen=True, slots=True)
class RedisStreamsConfig:
    """Which server, whose keys, and what counts as stored there.

    ``url`` is ``redis://``, ``rediss://`` (TLS) or ``unix://``; or ``client`` is a ready one, of a plain
    server, of Sentinel or of a cluster, of which only the way to connect is taken. ``scan_sample_size``
    entries are asked for at a time by a scan, ``max_read`` at most by a read. With ``approx_trim`` retention
    by itself leaves up to a hundred entries more than it keeps. ``require`` names what refuses a server that
    lacks it: persistence, no_eviction, version, headroom, clock, primary, ids. Of what consumer groups still
    need beyond retention, ``max_retained_for_groups`` stay at most (``None``: all).

    While the server is away records are kept in ``spill_dir``, up to ``spill_max_bytes`` of this process and
    then as ``spill_when_full`` says, and sent once it is back. Without a folder an append fails after
    ``retry_seconds``. What an acknowledgement means then: `papyra.persistence.outage.Outage`.
    """

    url: str = field(default="redis://localhost:6379/0", repr=False)
    prefix: str = "papyra"
    system_id: str = "local"
    scan_sample_size: int = 1000
    max_read: int = 50_000
    approx_trim: bool = True
    quarantine_prefix: str | None = None
    _: KW_ONLY
    client: Redis | RedisCluster | None = field(default=None, repr=False)
    durability: Durability | str = Durability.SERVER
    wait_replicas: int = 0
    wait_milliseconds: int = 1000
    require: Sequence[Demand | str] = ()
    max_retained_for_groups: int | None = None
    compact_interval_seconds: float | None = 5.0
    spill_dir: str | os.PathLike[str] | None = None
    spill_max_bytes: int = MAX_SPILL_BYTES
    spill_when_full: str = "refuse"
    retry_seconds: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "durability", as_word(Durability, "durability", self.durability))
        demands = tuple(as_word(Demand, "demand", word) for word in self.require)
        object.__setattr__(self, "require", demands)
        least = _LEAST if self.max_retained_for_groups is None else {**_LEAST, "max_retained_for_groups": 0}
        for name, lowest in least.items():
            value = getattr(self, name)
            if type(value) is not int or value < lowest:
                raise ConfigurationError(f"{name} must be {lowest} or more, not {value!r:.50}")
        if self.durability == Durability.WAIT and not self.wait_replicas:
            raise ConfigurationError("durability='wait' waits for replicas: set wait_replicas to 1 or more")
        if self.compact_interval_seconds is not None:
            check_interval("compact_interval_seconds", self.compact_interval_seconds)
        Keys(self.prefix, self.system_id, self.quarantine_prefix)
        self.outage.checked()

    @classmethod
    def from_url(
        cls, url: str, *, system_id: str | None = None, options: Mapping[str, object] | None = None
    ) -> Self:
        """Return what a store URL says: options of ours and of the driver stand behind its question mark.

        ``system_id`` is whose keys are meant where the URL does not say; ``options``, some of
        `option_names`, are stronger than what it says. Raises `ConfigurationError`.
        """
        parts = split(url)
        words = dict(parse_qsl(parts.query, keep_blank_values=True))
        given: dict[str, object] = {} if system_id is None else {"system_id": system_id}
        given |= {name: words.pop(name) for name in _WORDS if name in words}
        given |= {name: _number(name, words.pop(name)) for name in _NUMBERS if name in words}
        if "require" in words:
            given["require"] = [word for word in words.pop("require").split(",") if word]
        rest = f"?{urlencode(words)}" if words else ""
        given |= options or {}
        return cls(url.partition("?")[0] + rest, **given)  # type: ignore[arg-type]  # by name

    @classmethod
    def option_names(cls) -> tuple[str, ...]:
        """Return what may be given beside a URL."""
        return tuple(one.name for one in fields(cls) if one.name not in {"url", "client", "system_id"})

    @property
    def name(self) -> str:
        """What the store is called: the same for all that write to it, and nothing of it is secret."""
        place = hashlib.sha256(self.target.place.encode()).hexdigest()[:8]
        return f"redis {self.prefix} {self.system_id} {place}"

    @property
    def keys(self) -> Keys:
        """What the keys are called."""
        return Keys(self.prefix, self.system_id, self.quarantine_prefix)

    @property
    def target(self) -> Target:
        """Where the server is."""
        return Target(self.url, self.client, self.keys.stream(RecordKind.EVENT))

    @property
    def acknowledging(self) -> Acknowledging:
        """What has to be so before a batch is acknowledged."""
        return Acknowledging(Durability(self.durability), self.wait_replicas, self.wait_milliseconds)

    @property
    def outage(self) -> OutageOptions:
        """What to do while the server is away."""
        return OutageOptions(self.spill_dir, self.spill_max_bytes, self.spill_when_full, self.retry_seconds)

    @property
    def demands(self) -> frozenset[Demand]:
        """What refuses a server that lacks it."""
        return frozenset(map(Demand, self.require))


def _number(name: str, text: str) -> float:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError as error:
        raise ConfigurationError(f"{name} in a Redis URL must be a number, not {text!r:.50}") from error
