"""The startup check stands in front of everything; with RUN_IN_ASGI the actors live in this process."""

import os

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orderdesk_site.settings")
django_application = get_asgi_application()
if settings.DEBUG:  # elsewhere a web server serves what collectstatic gathers
    django_application = ASGIStaticFilesHandler(django_application)

from django_papyra.asgi import papyra_asgi  # noqa: E402  # models may be imported only after setup

application = papyra_asgi(django_application)
