"""Runs Django commands in a process where nothing can be opened, and says who tried (D3)."""

from __future__ import annotations

import contextlib
import io
import os
import socket
import sqlite3
import sys
import tempfile
import traceback
import warnings
from importlib import import_module
from pathlib import Path

ATTEMPTS: list[str] = []


def trap(name: str) -> None:
    files = [frame.filename for frame in traceback.extract_stack()]
    is_ours = any("/papyra/" in file or "/django_papyra/" in file for file in files)
    ATTEMPTS.append(f"{name} by {'papyra' if is_ours else 'others'}")
    raise sqlite3.OperationalError("the database is down")


def set_traps() -> None:
    sqlite3.connect = sqlite3.dbapi2.connect = lambda *_, **__: trap("sqlite3")  # type: ignore[assignment]
    socket.socket.connect = lambda *_: trap("socket")  # type: ignore[method-assign]


def main(folder: Path) -> list[str]:
    os.environ["PAPYRA_TEST_FOLDER"] = str(folder / "nowhere")
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.django.settings")
    set_traps()
    import_module("django").setup()
    management = import_module("django.core.management")
    for module in ("backend", "runtime", "testing", "routers"):
        import_module(f"django_papyra.{module}")
    call = management.call_command
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Got an error checking a consistent migration history")
        call("check")
        call("check", deploy=True, fail_level="CRITICAL")
        call("makemigrations", check_changes=True, dry_run=True)
        call("collectstatic", dry_run=True, interactive=False)
        for name, app in management.get_commands().items():
            if app == "django_papyra":
                with contextlib.suppress(SystemExit):
                    call(name, "--help")
    return ATTEMPTS


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as empty:
        sys.stdout.write("\n".join(main(Path(empty))))
