"""What gunicorn serves: `gunicorn project.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
application = get_wsgi_application()

from bytemark_sync.checks.foreign_tables import look_before_forking  # noqa: E402 - once the apps are loaded

look_before_forking()  # a web server on another program's tables must not start
