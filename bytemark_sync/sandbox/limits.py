"""How many requests for orders and logins the sandbox lets through, over all its clients. The others get a 429."""

from __future__ import annotations

import math

import msgspec

from bytemark_sync.sandbox.request_counts import LimitCounts

FORMS = "rate=100,burst=20 (a token bucket) or quota=600,window=10 (fixed windows); retry_after=SECONDS or reset"


class Limit(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, frozen=True):
    """`rate` requests a second with a `burst` (default: the rate), or a `quota` in each window of `window` seconds.

    `retry_after` is sent with each 429 as it stands, in whole seconds; `reset` sends the seconds until a request will
    be let through, rounded up; empty sends no `Retry-After`.
    """

    rate: float | None = None
    burst: float | None = None
    quota: int | None = None
    window: float | None = None
    retry_after: str = ""

    def __post_init__(self) -> None:
        if (self.rate is None) == (self.quota is None):
            raise ValueError(f"a limit has either a rate or a quota: {FORMS}")
        if self.rate is None and self.burst is not None:
            raise ValueError("burst goes with rate")
        if (self.quota is None) != (self.window is None):
            raise ValueError("quota and window go together")
        for name in ("rate", "burst", "quota", "window"):
            value = getattr(self, name)
            if value is not None and not (0 < value < math.inf):
                raise ValueError(f"{name} must be more than 0")
        if self.burst is not None and self.burst < 1:
            raise ValueError("burst must be at least 1: otherwise nothing is ever let through")
        if self.retry_after != "reset" and self.retry_after and not self.retry_after.isdecimal():
            raise ValueError(f"retry_after={self.retry_after} is neither whole seconds nor reset")


def parse_limit(text: str) -> Limit | None:
    """The short form of `FORMS`, or JSON; None for an empty text. Raises `ValueError` that says what is wrong."""
    text = text.strip()
    if not text:
        return None
    if text.startswith("{"):
        return msgspec.json.decode(text, type=Limit)
    fields: dict[str, str] = {}
    for pair in text.split(","):
        name, equals, value = pair.partition("=")
        if not equals:
            raise ValueError(f"{pair!r} is not name=value; use {FORMS}")
        fields[name.strip()] = value.strip()
    return msgspec.convert(fields, type=Limit, strict=False)


class Limiter:
    """Decides about each request. Times are seconds on any clock that only goes forward."""

    def __init__(self, limit: Limit | None) -> None:
        self.replace(limit)

    def replace(self, limit: Limit | None) -> None:
        """The new limit begins with a full bucket, or with a window of its own at the next request."""
        self._limit = limit
        self._since: float | None = None  # of the window, or of the last look at the bucket
        self._left = 0.0
        self.counts = LimitCounts()

    def refuses(self, now: float, wall: float) -> str | None:
        """None where the request is let through, else the text of `Retry-After`. `wall` only names the second."""
        limit = self._limit
        if limit is None:
            return None
        wait = self._wait_of_window(limit, now) if limit.rate is None else self._wait_of_bucket(limit, now)
        self.counts.add(wait == 0, wall)
        if wait == 0:
            return None
        return str(math.ceil(wait)) if limit.retry_after == "reset" else limit.retry_after

    def _wait_of_bucket(self, limit: Limit, now: float) -> float:
        rate = limit.rate or 0.0
        full = max(1.0, rate if limit.burst is None else limit.burst)
        since = self._since
        self._left = full if since is None else min(full, self._left + (now - since) * rate)
        self._since = now
        if self._left < 1:
            return (1 - self._left) / rate
        self._left -= 1
        return 0.0

    def _wait_of_window(self, limit: Limit, now: float) -> float:
        window = limit.window or 0.0
        if self._since is None or now >= self._since + window:
            begun = now if self._since is None else self._since
            self._since = begun + (now - begun) // window * window
            self._left = float(limit.quota or 0)
        if self._left < 1:
            return self._since + window - now
        self._left -= 1
        return 0.0
