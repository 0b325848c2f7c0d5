"""The tests' project in a process of its own: where the database lies and ``PAPYRA`` come from outside."""

from __future__ import annotations

import json
import os

from tests.django.settings import *  # noqa: F403  # as settings are derived

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ["PAPYRA_TEST_DATABASE"],
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL;"},
    }
}
PAPYRA = json.loads(os.environ["PAPYRA_TEST_SETTINGS"])
