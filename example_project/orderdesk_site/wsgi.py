"""For WSGI servers; they host no actors: run `manage.py papyra_run` beside them."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orderdesk_site.settings")
django_application = get_wsgi_application()

from django_papyra.wsgi import papyra_wsgi  # noqa: E402  # models may be imported only after setup

application = papyra_wsgi(django_application)
