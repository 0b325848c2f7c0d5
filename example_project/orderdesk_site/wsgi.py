"""For WSGI servers; they host no actors: run `manage.py papyra_run` beside them."""

import os

from django.core.wsgi import get_wsgi_application

from django_papyra.wsgi import papyra_wsgi

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orderdesk_site.settings")
application = papyra_wsgi(get_wsgi_application())
