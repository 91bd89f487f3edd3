"""System checks of the settings that the queue and its messages depend on.

E111 SLACK_API_URL is not https    W102 Redis with SQLite    W103 SYNC_HEARTBEAT_LIMIT very short

`Q_CLUSTER` is no setting of an installation: tests/queue/test_arithmetic.py holds its values against the rules.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@register("queue")
def check_queue(**kwargs: Any) -> list[CheckMessage]:
    """A queue that several machines cannot share, that takes a pause for death, or a bot token sent in the open."""
    found: list[CheckMessage] = []
    if settings.REDIS_URL and settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        text, hint = "REDIS_URL is set, but the database is SQLite.", "Several machines need MySQL or MariaDB."
        found.append(Warning(text, hint=hint, id="bytemark_sync.W102"))
    if settings.SYNC_HEARTBEAT_LIMIT < 10:
        text = f"SYNC_HEARTBEAT_LIMIT is {settings.SYNC_HEARTBEAT_LIMIT:g} s: a pause of the database counts as death."
        found.append(Warning(text, hint="Use 60 or more in production.", id="bytemark_sync.W103"))
    slack = urlsplit(settings.SLACK_API_URL)
    if slack.scheme != "https" and not (slack.scheme == "http" and slack.hostname in LOOPBACK):
        text, hint = (
            "SLACK_API_URL must use https.",
            "The bot token goes there; http only for a server on this machine.",
        )
        found.append(Error(text, hint=hint, id="bytemark_sync.E111"))
    return found
