"""Functions that read one environment variable. If its value cannot be used, the error names the variable."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from bytemark_sync.domain.cron import next_due

_TRUE = {"1", "true", "yes", "on", "y", "t", "ok"}
_FALSE = {"0", "false", "no", "off", "n", "f", ""}


def text(name: str, default: str) -> str:
    """The variable without surrounding blanks. An empty one counts as unset."""
    return os.environ.get(name, "").strip() or default


def site(name: str) -> str:
    """The URL of the admin for people: scheme and host, without a slash at the end. Empty if unset."""
    raw = text(name, "").rstrip("/")
    if not raw:
        return ""
    try:
        parts = urlsplit(raw)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or any(each.isspace() for each in raw):
        raise ImproperlyConfigured(f"{name}: {raw!r} is no address, such as https://sync.example.org.")
    return raw


def text_list(name: str, default: Sequence[str]) -> list[str]:
    """A comma-separated list."""
    found = [part.strip() for part in text(name, "").split(",") if part.strip()]
    return found or list(default)


def boolean(name: str, default: bool) -> bool:
    raw = text(name, "1" if default else "0").lower()
    if raw not in _TRUE | _FALSE:
        raise ImproperlyConfigured(f"{name}: {raw!r} is neither on nor off; use 1 or 0.")
    return raw in _TRUE


def integer(name: str, default: int, *, minimum: int, maximum: int) -> int:
    raw = text(name, str(default))
    try:
        value = int(raw)
    except ValueError:
        raise ImproperlyConfigured(f"{name}: {raw!r} is not a whole number.") from None
    if not minimum <= value <= maximum:
        raise ImproperlyConfigured(f"{name}: {value} is out of range; use {minimum} to {maximum}.")
    return value


def decimal(name: str, default: float, *, above: float | None = None) -> float:
    """Seconds, zero or more, or more than `above`. At most a day."""
    raw = text(name, str(default))
    try:
        value = float(raw)
    except ValueError:
        raise ImproperlyConfigured(f"{name}: {raw!r} is not a number of seconds.") from None
    if not math.isfinite(value) or value < 0 or (above is not None and value <= above) or value > 86_400:
        wanted = f"more than {above:g}" if above is not None else "0 or more"
        raise ImproperlyConfigured(f"{name}: {raw} is out of range; use {wanted}, and at most 86400 seconds.")
    return value


def rate(name: str) -> float | None:
    """Requests a second, from 0.01 to 100,000. None if unset."""
    raw = text(name, "")
    if not raw:
        return None
    try:
        value = float(raw)
    except ValueError:
        raise ImproperlyConfigured(f"{name}: {raw!r} is not a number of requests a second.") from None
    if not 0.01 <= value <= 100_000:
        raise ImproperlyConfigured(f"{name}: {raw} is out of range; use 0.01 to 100000 requests a second.")
    return value


def choice(name: str, default: str, allowed: Sequence[str]) -> str:
    raw = text(name, default).lower()
    if raw not in allowed:
        raise ImproperlyConfigured(f"{name}: {raw!r} is unknown; use one of {', '.join(allowed)}.")
    return raw


def cron(name: str, default: str) -> str:
    """A cron expression of five fields (minute hour day month weekday) that has a next time."""
    raw = " ".join(text(name, default).split())
    try:
        next_due(raw, datetime.now(UTC))
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name}: {raw!r} cannot be used. {error} 0 3 * * * is every day at 03:00."
        ) from None
    return raw


def dsn(name: str) -> str:
    """A project's address at Sentry: `https://key@host/project`. Empty if unset. The error repeats no key."""
    raw = text(name, "")
    try:
        parts = urlsplit(raw)
        has_place = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        usable = has_place and bool(parts.username) and parts.path.rpartition("/")[2].isdigit()
    except ValueError:
        usable = False
    if raw and not usable:
        raise ImproperlyConfigured(f"{name}: use the project's address as Sentry shows it, https://key@host/number.")
    return raw


def redis_url(name: str) -> str:
    """A Redis URL with timeouts added, so that a hanging broker does not hold a web request."""
    raw = text(name, "")
    if not raw:
        return ""
    if not raw.startswith(("redis://", "rediss://", "unix://")):
        raise ImproperlyConfigured(f"{name}: use redis://host:6379/0, rediss:// for TLS, or unix:///path.")
    try:
        _ = urlsplit(raw).port
    except ValueError:  # its text would repeat a part of the URL, perhaps of the password
        raise ImproperlyConfigured(f"{name}: the address cannot be read; use redis://host:6379/0.") from None
    limits = {"socket_connect_timeout": 5, "socket_timeout": 15, "health_check_interval": 30}
    added = "&".join(f"{key}={value}" for key, value in limits.items() if f"{key}=" not in raw)
    return f"{raw}{'&' if '?' in raw else '?'}{added}" if added else raw
