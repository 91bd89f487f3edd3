"""Outages of the whole API, with a start and an end. They are fault rules of the kind `outage`."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bytemark_sync.sandbox.faults import FaultRule


class Outages:
    """Says of each request whether the API is away. Times are seconds on any clock that only goes forward."""

    def __init__(self, rules: Iterable[FaultRule]) -> None:
        self.replace(rules)

    def replace(self, rules: Iterable[FaultRule]) -> None:
        """Rules of other kinds are passed over."""
        self._outages = [_Outage(rule) for rule in rules if rule.kind == "outage"]

    def under_way(self, now: float, place: str = "orders") -> tuple[FaultRule, float] | None:
        """Count a request here. The outage that it meets, and the seconds that are left of it (infinity: for good)."""
        here = [outage for outage in self._outages if outage.rule.place in ("", place)]
        met = [(outage.rule, left) for outage in here if (left := outage.left(now)) > 0]
        return met[0] if met else None


class _Outage:
    """It begins once both hold: `after` seconds have passed since the first request, and `after_requests` came."""

    def __init__(self, rule: FaultRule) -> None:
        self.rule = rule
        self._requests = 0
        self._first_at = 0.0
        self._begun_at: float | None = None

    def left(self, now: float) -> float:
        """Seconds until its end; 0 before it and after it."""
        if self._requests == 0:
            self._first_at = now
        self._requests += 1
        if self._begun_at is None and self._requests > self.rule.after_requests:
            self._begun_at = max(self._first_at + self.rule.after, now if self.rule.after_requests else 0)
        if self._begun_at is None or now < self._begun_at:
            return 0.0
        return math.inf if self.rule.seconds is None else max(0.0, self._begun_at + self.rule.seconds - now)
