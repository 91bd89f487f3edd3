"""The product's settings for tests that run inside pytest's process. Child processes get `project.settings` itself."""

import atexit
import os
import shutil
import tempfile

_folder = tempfile.mkdtemp(prefix="bytemark-tests-")
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ["DEBUG"] = "1"
os.environ["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL", f"sqlite:///{_folder}/unused.sqlite3")
OTEL = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")
for _name in ("REDIS_URL", "SLACK_BOT_TOKEN", "SLACK_CHANNEL_ID", "SITE_URL", "METRICS_TOKEN", "SENTRY_DSN", *OTEL):
    os.environ[_name] = ""  # counts as unset, and keeps a developer's own .env out

from project.settings import *  # noqa: E402, F403
from project.settings import DATABASES  # noqa: E402

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, as in life: the database in memory that Django would make has locks of its own kind between threads.
    DATABASES["default"]["TEST"] = {"NAME": f"{_folder}/test.sqlite3"}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # logins in tests cost nothing
WHITENOISE_AUTOREFRESH = True  # static files are looked for when one is asked for, not all of them for each client
