"""System checks of the queue: a configuration that would start a task twice, or repeat or lose one, is refused.

E101 unknown key            E102 timeout       E103 retry          E104 max_attempts    E105 ack_failures
E106 catch_up               E107 broker        E108 workers, queue_limit or bulk        E109 sync or cached
E110 time_zone              E111 SLACK_API_URL is not https
W101 no scheduler           W102 Redis with SQLite                 W103 SYNC_HEARTBEAT_LIMIT very short
The measured reasons: docs/decisions/0005-queue-arithmetic.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register

KNOWN = frozenset(
    [
        *(
            "name",
            "label",
            "redis",
            "orm",
            "workers",
            "timeout",
            "retry",
            "queue_limit",
            "max_attempts",
            "ack_failures",
        ),
        *("catch_up", "poll", "recycle", "save_limit", "save_limit_per", "bulk", "max_rss", "compress", "guard_cycle"),
        *("scheduler", "log_level", "cpu_affinity", "cache", "cached", "sync", "time_zone", "error_reporter"),
        *("daemonize_workers", "testing"),
    ]
)
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


@register("queue")
def check_queue(**kwargs: Any) -> list[CheckMessage]:
    """All findings on `Q_CLUSTER` and what belongs to it."""
    conf: Mapping[str, Any] = getattr(settings, "Q_CLUSTER", {})
    return [*_keys(conf), *_times(conf), *_delivery(conf), *_surroundings(conf)]


def _error(number: str, text: str, hint: str) -> CheckMessage:
    return Error(f"Q_CLUSTER: {text}", hint=hint, id=f"bytemark_sync.{number}")


def _keys(conf: Mapping[str, Any]) -> list[CheckMessage]:
    found = [
        _error("E101", f"{key!r} is not known, or not supported here.", "django-q2 ignores what it does not know.")
        for key in sorted(set(conf) - KNOWN)
    ]
    if ("orm" in conf) == ("redis" in conf):
        found.append(_error("E107", "exactly one broker is needed, orm or redis.", "Set REDIS_URL, or leave it unset."))
    return found


def _times(conf: Mapping[str, Any]) -> list[CheckMessage]:
    counts = {"workers": conf.get("workers"), "queue_limit": conf.get("queue_limit"), "bulk": conf.get("bulk", 1)}
    found = [
        _error("E108", f"{key} must be a whole number of 1 or more.", "Its default depends on the machine.")
        for key, value in counts.items()
        if not _whole(value, 1)
    ]
    timeout = conf.get("timeout")
    if not _whole(timeout, 60):
        found.append(_error("E102", "timeout must be whole seconds, 60 or more.", "None lets a task hang for ever."))
    if found:
        return found
    # The clock starts when a task leaves the broker: what waits in memory waits for a free worker first.
    rounds = math.ceil((conf["queue_limit"] + counts["bulk"]) / conf["workers"])
    least = timeout * (1 + rounds)
    if not _whole(conf.get("retry"), least + 1):
        hint = f"Set it above {least}: {rounds} x timeout waiting in memory and 1 x timeout running."
        found.append(_error("E103", "retry is too short, tasks would be started twice.", hint))
    return found


def _delivery(conf: Mapping[str, Any]) -> list[CheckMessage]:
    found = []
    if conf.get("max_attempts") != 1:
        found.append(_error("E104", "max_attempts must be 1.", "The watchdog repeats what died; 0 repeats for ever."))
    if conf.get("ack_failures") is not True:
        found.append(_error("E105", "ack_failures must be True.", "Else a failing task is repeated for ever."))
    if conf.get("catch_up") is not False:
        found.append(_error("E106", "catch_up must be False.", "Else a week off gives seven runs at once."))
    if conf.get("sync") or conf.get("cached") or conf.get("testing"):
        found.append(_error("E109", "sync, cached and testing must be off.", "They bypass the queue or its results."))
    if conf.get("time_zone", settings.TIME_ZONE) != settings.TIME_ZONE:
        found.append(_error("E110", "time_zone differs from TIME_ZONE.", "Leave it out: the schedule uses TIME_ZONE."))
    return found


def _surroundings(conf: Mapping[str, Any]) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    if conf.get("scheduler") is False:
        text, hint = "Q_CLUSTER: the scheduler is off in this process.", "Another cluster must run the schedules."
        found.append(Warning(text, hint=hint, id="bytemark_sync.W101"))
    if "redis" in conf and settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
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


def _whole(value: object, least: float) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
