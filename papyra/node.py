"""Which host and process this is, and whether another process of this host still lives."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_PID = 2**31 - 1
_START = 19  # in /proc/PID/stat, counted from the state that follows the command


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Host and process, and what tells them from others of the same name or number.

    ``machine`` tells hosts that share a name apart, ``boot_id`` the boots of one host, ``pid_namespace`` its
    containers, and ``started`` (kernel ticks since boot) a pid from its next use. Empty or 0: not known here.
    """

    host: str
    pid: int
    boot_id: str
    started: int
    machine: str = ""
    pid_namespace: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return the plain form that ``SystemStarted`` carries."""
        return asdict(self)

    def sees(self, other: Node) -> bool:
        """Whether ``other`` is of the same boot of the same host or container: `is_gone` judges it surely."""
        mine = self.host, self.machine, self.boot_id, self.pid_namespace
        return self.boot_id != "" and mine == (other.host, other.machine, other.boot_id, other.pid_namespace)

    @classmethod
    def from_mapping(cls, raw: Mapping[str, object]) -> Node | None:
        """Read `to_dict` back; ``None`` where a field is missing or no process can have it."""
        host, boot, pid, started = raw.get("host"), raw.get("boot_id"), raw.get("pid"), raw.get("started")
        machine, namespace = raw.get("machine", ""), raw.get("pid_namespace", "")
        if not (isinstance(host, str) and isinstance(boot, str)):
            return None
        if not (isinstance(machine, str) and isinstance(namespace, str)):
            return None
        if type(pid) is not int or not 0 < pid <= _MAX_PID or type(started) is not int or started < 0:
            return None
        return cls(
            host=host, pid=pid, boot_id=boot, started=started, machine=machine, pid_namespace=namespace
        )


def _first_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


@cache
def _boot_id() -> str:
    return _first_line("/proc/sys/kernel/random/boot_id")


@cache
def _machine() -> str:
    return _first_line("/etc/machine-id")


def _pid_namespace(pid: int) -> str:
    try:
        if str(Path("/proc/self").readlink()) != str(pid):  # a /proc of other processes than ours
            return ""
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _state_and_start(pid: int) -> tuple[str, int]:
    """Return the letter of a process's state, and its start; ``("", 0)`` where ``/proc`` is silent."""
    stat = (
        _first_line(f"/proc/{pid}/stat").rpartition(")")[2].split()
    )  # the command before it may hold anything
    return (stat[0], int(stat[_START])) if len(stat) > _START else ("", 0)


def this_node() -> Node:
    """Return the calling process; read anew each time, so that a fork is told from its parent."""
    pid = os.getpid()
    return Node(
        host=socket.gethostname(),
        pid=pid,
        boot_id=_boot_id(),
        started=_state_and_start(pid)[1],
        machine=_machine(),
        pid_namespace=_pid_namespace(pid),
    )


def is_gone(node: Node) -> bool:
    """Whether ``node`` certainly ended: same host, and another boot or no such process any more.

    A process of another host or container, or one that cannot be judged, is never called gone.
    """
    here = this_node()
    if not node.boot_id or not here.boot_id:
        return False
    if node.boot_id != here.boot_id:
        return node.host == here.host and node.machine == here.machine != ""
    if node.pid_namespace != here.pid_namespace or not here.pid_namespace:
        return False
    return _has_ended(node)


def _has_ended(node: Node) -> bool:
    try:
        os.kill(node.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # it is there, and another user's
    state, started = _state_and_start(node.pid)
    if state in {"Z", "X"}:  # a zombie runs nothing
        return True
    return node.started != 0 and started not in {0, node.started}
