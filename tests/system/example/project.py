"""The example as a user has it: commands in processes of their own, history read behind papyra's back."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "example_project"
TABLES = {
    "event": "django_papyra_event",
    "audit": "django_papyra_audit",
    "dead_letter": "django_papyra_deadletter",
}


class Identity(NamedTuple):
    incarnation: str
    kind: str
    seq: int


class Run(NamedTuple):
    """One demo that went well."""

    project: Project
    told: str
    acknowledged: set[Identity]


class Project:
    """One folder with a database, and ``store`` if the history lies elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database = folder / "orderdesk.sqlite3"
        self.file = folder / "orders.ndjson"
        self.store = ""

    @classmethod
    def at(cls, folder: Path, database: Path, *, in_file: bool = False) -> Project:
        """Return one with a copy of ``database``, whose history lies in a file if asked to."""
        project = cls(folder)
        shutil.copyfile(database, project.database)
        if in_file:
            project.store = f"ndjson:{project.file}"
        return project

    def copied_to(self, folder: Path) -> Project:
        """Return one with the same history, to be changed."""
        copy = Project.at(folder, self.database, in_file=bool(self.store))
        if self.store:
            shutil.copyfile(self.file, copy.file)
        return copy

    def environment(self, **more: str) -> dict[str, str]:
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("PAPYRA", "DJANGO"))
        }
        named = {"PAPYRA_EXAMPLE_STORE": self.store} if self.store else {}
        path = os.pathsep.join([str(EXAMPLE), str(ROOT)])
        return {**kept, "PYTHONPATH": path, "PAPYRA_EXAMPLE_DB": str(self.database), **named, **more}

    def start(self, *words: str | Path, **more: str) -> subprocess.Popen[str]:
        """Start ``manage.py …`` and leave it running."""
        return subprocess.Popen(
            [sys.executable, EXAMPLE / "manage.py", *words],
            cwd=self.folder,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def manage(self, *words: str | Path, **more: str) -> subprocess.CompletedProcess[str]:
        """Run ``manage.py …`` to its end."""
        with self.start(*words, **more) as process:
            try:
                out, err = process.communicate(timeout=120)
            finally:
                process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def records(self) -> list[dict[str, Any]]:
        """Return every stored record, by another reader than papyra's."""
        if self.store:
            lines = self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else []
            return [record for line in lines if (record := json.loads(line))["kind"] != "header"]
        connection = sqlite3.connect(self.database)
        try:
            return [
                json.loads(body)
                for table in TABLES.values()
                for (body,) in connection.execute(f"SELECT body FROM {table} ORDER BY id")  # noqa: S608  # ours
            ]
        finally:
            connection.close()

    def identities(self) -> Counter[Identity]:
        """Return how often each identity is stored."""
        return Counter(
            Identity(record["incarnation"], record["kind"], record["seq"]) for record in self.records()
        )

    def content(self) -> bytes:
        """Return every byte of the folder."""
        return b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())

    def damage(self) -> None:
        """Change one letter of the last record, behind its checksum."""
        if self.store:
            head, mark, tail = self.file.read_bytes().rpartition(b'"system_id":"orders"')
            self.file.write_bytes(head + mark.replace(b"orders", b"0rders") + tail)
            return
        connection = sqlite3.connect(self.database, isolation_level=None)
        connection.execute(
            "UPDATE django_papyra_event SET body = replace(body, '\"orders\"', '\"0rders\"') "
            "WHERE id = (SELECT max(id) FROM django_papyra_event)"
        )
        connection.close()


def acknowledged(ledger: Path) -> set[Identity]:
    """Return what ``--ack-log`` lists; what a kill has cut in the middle was not written."""
    lines = ledger.read_text().split("\n")[:-1] if ledger.exists() else []
    found = set()
    for line in lines:
        incarnation, kind, seq = line.split()
        found.add(Identity(incarnation, kind, int(seq)))
    return found
