"""What gunicorn serves: `gunicorn project.wsgi`."""

import os

import django
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
django.setup()

from bytemark_sync.checks.foreign_tables import look_before_forking  # noqa: E402 - once the apps are loaded
from bytemark_sync.monitoring import telemetry  # noqa: E402

telemetry.start_traces()  # it has a middleware of its own
application = get_wsgi_application()

look_before_forking()  # a web server on another program's tables must not start
