"""An order desk: one Django project that hosts actors and keeps their whole history in its own database."""

import os
from contextlib import suppress
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
DATABASE_FILE = Path(os.environ.get("PAPYRA_EXAMPLE_DB", BASE_DIR / "var" / "orderdesk.sqlite3"))
with suppress(OSError):  # what needs the database says so; the rest works without
    DATABASE_FILE.parent.mkdir(exist_ok=True)

DEBUG = os.environ.get("PAPYRA_EXAMPLE_DEBUG", "1") == "1"
# Good for an example on one machine, and for nothing else.
SECRET_KEY = os.environ.get("PAPYRA_EXAMPLE_SECRET_KEY", "the-example-is-not-a-secret-" * 2)
ALLOWED_HOSTS = ["127.0.0.1", "localhost", "[::1]", "testserver"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_papyra",
    "orders",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "orderdesk_site.urls"
ASGI_APPLICATION = "orderdesk_site.asgi.application"
WSGI_APPLICATION = "orderdesk_site.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATABASE_FILE,
        "OPTIONS": {
            "timeout": 20,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    },
}

USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
STATIC_URL = "static/"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL = "admin:login"

PAPYRA = {
    # A store URL such as ndjson:/var/lib/orders.ndjson keeps the history in a file instead.
    "BACKEND": os.environ.get("PAPYRA_EXAMPLE_STORE", "django_papyra.backend.DjangoPersistence"),
    "SYSTEM": "orders.system.populate",
    "SYSTEM_ID": "orders",
    "MESSAGES": ["orders.messages"],
    # `make serve` hosts the actors inside the web process; a larger site runs `manage.py papyra_run` instead.
    "RUN_IN_ASGI": os.environ.get("PAPYRA_EXAMPLE_RUN_IN_ASGI", "1") == "1",
    # Card numbers are nobody's business: their values never reach the history.
    "REDACT": ["card"],
    "RETENTION": {"max_age_seconds": 30 * 24 * 3600, "max_records": 1_000_000},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {
        "papyra": {"handlers": ["console"], "level": os.environ.get("PAPYRA_EXAMPLE_LOG", "WARNING")}
    },
}
