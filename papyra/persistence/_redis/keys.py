"""What the keys of one system are called: all under one hash tag, so in one slot of a cluster. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from papyra.exceptions import ConfigurationError
from papyra.persistence.models import RecordKind

STREAMS = {
    RecordKind.EVENT: "events",
    RecordKind.AUDIT: "audits",
    RecordKind.DEAD_LETTER: "dead_letters",
}


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of ``system_id`` under ``prefix``; ``quarantine_prefix`` takes its place for quarantine."""

    prefix: str
    system_id: str
    quarantine_prefix: str | None = None

    def __post_init__(self) -> None:
        for name in ("prefix", "system_id", "quarantine_prefix"):
            value: object = getattr(self, name)
            if value is None and name == "quarantine_prefix":
                continue
            if not isinstance(value, str) or not value or set("{}\r\n\0 ") & set(value):
                raise ConfigurationError(
                    f"{name} must be text without spaces and braces, which mark the hash tag of the keys, "
                    f"not {value!r:.100}"
                )

    def stream(self, kind: RecordKind) -> str:
        """Return where the records of ``kind`` are."""
        return self._key(STREAMS[kind])

    @property
    def streams(self) -> tuple[str, ...]:
        """The stream of each kind, in the order of `RecordKind`."""
        return tuple(self.stream(kind) for kind in RecordKind)

    @property
    def quarantine(self) -> str:
        """Where entries lie that were taken out of a stream."""
        return f"{self.quarantine_prefix or self.prefix}:{{{self.system_id}}}:quarantine"

    @property
    def dedup(self) -> str:
        """Which numbers are stored, and below which retention has removed, by incarnation and kind."""
        return self._key("dedup")

    @property
    def meta(self) -> str:
        """What is counted of each stream."""
        return self._key("meta")

    @property
    def lease(self) -> str:
        """Who maintains the store."""
        return self._key("lease")

    def set_aside(self, kind: RecordKind, run: str) -> str:
        """Return where the stream of ``kind`` is copied to before the recovery ``run`` repairs it."""
        return f"{self.stream(kind)}:set_aside:{run}"

    def _key(self, name: str) -> str:
        return f"{self.prefix}:{{{self.system_id}}}:{name}"
