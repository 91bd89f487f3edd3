"""The product's settings for tests that run inside pytest's process. Child processes get `project.settings` itself."""

import os
import tempfile

os.environ["DEBUG"] = "1"
os.environ["DATABASE_URL"] = os.environ.get(
    "TEST_DATABASE_URL", f"sqlite:///{tempfile.gettempdir()}/bytemark-tests-{os.getpid()}.sqlite3"
)
for _name in ("REDIS_URL", "SLACK_BOT_TOKEN", "SLACK_CHANNEL_ID", "SITE_URL", "METRICS_TOKEN"):
    os.environ[_name] = ""  # counts as unset, and keeps a developer's own .env out

from project.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # logins in tests cost nothing
