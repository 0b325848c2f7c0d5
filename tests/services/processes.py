"""A service's process: private, unprivileged, ended by pid, and never outliving the test run."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import IO

START_SECONDS = 60.0
"""Generous: a bound for a machine that does something else, no expectation."""
KEPT_LINES = 4000


class ServiceError(Exception):
    """A service did not start, or did not say what was waited for; the text ends with its log."""


class Log:
    """What a process says, line by line; lives as long as the process's output."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._count = 0
        self._has_ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._follow, args=(stream,), daemon=True)
        self._thread.start()

    def _follow(self, stream: IO[str]) -> None:
        with stream:
            for line in stream:
                with self._changed:
                    self._lines.append(line.rstrip())
                    self._count += 1
                    self._changed.notify_all()
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    @property
    def position(self) -> int:
        """How many lines there were so far, for `wait_for`."""
        with self._changed:
            return self._count

    def tail(self, lines: int = 60) -> str:
        with self._changed:
            return "\n".join(list(self._lines)[-lines:])

    def wait_for(self, text: str, *, after: int = 0, seconds: float = START_SECONDS) -> None:
        """Return once a line past the first ``after`` has ``text``; raise where none comes."""
        with self._changed:
            self._changed.wait_for(lambda: self._has(text, after) or self._has_ended, seconds)
            if not self._has(text, after):
                what = "ended" if self._has_ended else f"ran for {seconds:.0f} s"
                raise ServiceError(f"it {what} without saying {text!r}:\n{self.tail()}")

    def _has(self, text: str, after: int) -> bool:
        new = self._count - after
        return new > 0 and any(text in line for line in list(self._lines)[-new:])

    def wait_until_ended(self) -> None:
        self._thread.join(START_SECONDS)


class Process:
    """One running program, the head of a process group of its own."""

    def __init__(self, program: subprocess.Popen[str], keeper: Keeper) -> None:
        assert program.stdout is not None
        self._program = program
        self._keeper = keeper
        self.pid = program.pid
        self.log = Log(program.stdout)

    @property
    def is_running(self) -> bool:
        return self._program.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send to the whole group, if its head lives: until it is reaped, the pid is nobody else's."""
        if self.is_running:
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """End it as a crash would; returns when it is gone."""
        self.signal(signal.SIGKILL)
        self._keeper.forget(self)
        self._program.wait()
        self.log.wait_until_ended()

    def stop(self, seconds: float = START_SECONDS) -> None:
        """Ask it to end, and wait until it did."""
        self.signal(signal.SIGTERM)
        try:
            self._program.wait(seconds)
        finally:
            self.kill()


class Keeper:
    """The folder of all services of one test run, and the watchdog that outlives the run to clear up."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="papyra-services-"))
        self.folder.chmod(0o755)  # an unprivileged server has to reach its own folder inside
        self.user = unprivileged_user()
        self._running: dict[int, Process] = {}
        self._lock = threading.Lock()
        self._watchdog = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(__file__).with_name("watchdog.py")), str(self.folder)],
            stdin=subprocess.PIPE,
            text=True,
            bufsize=1,
            start_new_session=True,  # a Ctrl-C is for the tests
        )

    @property
    def running(self) -> Iterable[Process]:
        return tuple(self._running.values())

    def make_folder(self, name: str) -> Path:
        """Return an empty folder that the services' user may write."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        self.give(folder)
        return folder

    def give(self, path: Path) -> None:
        """Let ``path`` belong to the services' user."""
        if self.user is not None:
            os.chown(path, self.user.pw_uid, self.user.pw_gid)

    def lend(self, program: Path) -> Path:
        """Return a copy of ``program`` that the services' user can reach; itself where that is everybody."""
        if self.user is None:
            return program
        copy = self.folder / program.name
        if not copy.exists():
            shutil.copy(program, copy)
            copy.chmod(0o755)
        return copy

    def run(self, command: Sequence[str], *, folder: Path) -> Process:
        """Start ``command`` in ``folder``."""
        user = self.user
        rights = {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        program = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="backslashreplace",
            start_new_session=True,
            **rights,  # type: ignore[call-overload]  # by name, where there is a user to change to
        )
        self._tell("+", program.pid)
        process = Process(program, self)
        self._running[process.pid] = process
        return process

    def forget(self, process: Process) -> None:
        """Note that ``process`` is dead; before it is reaped, so that its pid is nobody else's."""
        if self._running.pop(process.pid, None) is not None:
            self._tell("-", process.pid)

    def _tell(self, sign: str, pid: int) -> None:
        assert self._watchdog.stdin is not None
        with self._lock:
            self._watchdog.stdin.write(f"{sign} {pid}\n")
            self._watchdog.stdin.flush()

    def close(self) -> None:
        """End what still runs, and remove the folder."""
        for process in self.running:
            process.kill()
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait()


def unprivileged_user() -> pwd.struct_passwd | None:
    """Return who servers run as; ``None``: as whoever runs the tests, who is not root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def started(run: Callable[[], Process], ready: str, *, attempts: int = 1) -> Process:
    """Run and wait until it says ``ready``; again where it ended before, as with a port that was taken."""
    for attempt in range(attempts):
        process = run()
        try:
            process.log.wait_for(ready)
        except ServiceError:
            process.kill()
            if attempt + 1 == attempts:
                raise
        else:
            return process
    raise AssertionError(attempts)
