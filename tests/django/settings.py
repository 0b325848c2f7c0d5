"""A Django project as small as the tests allow; conftest.py removes its files."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

FILES = str(
    Path(os.environ.get("PAPYRA_TEST_FOLDER") or tempfile.gettempdir()) / f"papyra-tests-{os.getpid()}"
)

SECRET_KEY = "tests"  # noqa: S105  # nothing that matters is signed
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick
ALLOWED_HOSTS = ["testserver", "localhost", "127.0.0.1"]
USE_TZ = True
TIME_ZONE = "Asia/Kolkata"  # half an hour off, so that a forgotten zone shows
ROOT_URLCONF = "tests.django.urls"
STATIC_URL = "static/"
STATIC_ROOT = f"{FILES}-static"
SILENCED_SYSTEM_CHECKS = ["papyra.W002"]  # tests keep everything
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_papyra",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    alias: {
        "ENGINE": "tests.django.faulty_sqlite3",
        "NAME": f"{FILES}-{alias}.sqlite3",
        "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL;"},
        "TEST": {"NAME": f"{FILES}-{alias}-test.sqlite3"},
    }
    for alias in ("default", "other")
}
