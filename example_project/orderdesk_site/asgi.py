"""The startup check stands in front of everything; with RUN_IN_ASGI the actors live in this process."""

import os

from django.conf import settings
from django.contrib.staticfiles.handlers import ASGIStaticFilesHandler
from django.core.asgi import get_asgi_application

from django_papyra.asgi import papyra_asgi

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orderdesk_site.settings")
application = get_asgi_application()
if settings.DEBUG:  # elsewhere a web server serves what collectstatic gathers
    application = ASGIStaticFilesHandler(application)
application = papyra_asgi(application)
