"""The clock of the search: it stands still but for a little with each statement, and jumps when a rule says so.

All of the product's times come from `django.utils.timezone.now` and from `time`; both are given this clock, so that a
day costs nothing and the same steps always meet the same times. A request alone takes none of it: whoever waits for
Bytemark (`Waits`) waits by this clock too.
"""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from django.utils import timezone

START = datetime(2030, 3, 4, 2, 0, tzinfo=UTC)
"""A Monday, an hour before the daily run."""
STATEMENT = 0.05
"""Seconds that one statement takes."""
REAL = ("bytemark_sync.bytemark.", "bytemark_sync.sandbox", "bytemark_sync.admin")


class Clock:
    def __init__(self) -> None:
        self.now = START
        self.monotonic = 1000.0

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)
        self.monotonic += seconds

    def install(self, patch: pytest.MonkeyPatch) -> None:
        clock = self

        class Datetime(datetime):
            @classmethod
            def now(cls, tz: tzinfo | None = None) -> Any:
                return clock.now.astimezone(tz)

        patch.setattr(timezone, "datetime", Datetime)  # the global that `timezone.now` asks, whoever holds it
        for name, module in list(sys.modules.items()):
            if name.startswith("bytemark_sync.") and not name.startswith(REAL) and vars(module).get("time") is time:
                patch.setattr(module, "time", _Time(self))


class Waits(threading.Event):
    """A stop event for which nobody waits in vain: the clock goes on instead."""

    def __init__(self, stop: threading.Event, clock: Clock) -> None:
        super().__init__()
        self._stop = stop
        self._clock = clock

    def is_set(self) -> bool:
        return self._stop.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self._clock.advance(timeout or 0.0)
        return self.is_set()


class _Time:
    """Stands for the module `time`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def monotonic(self) -> float:
        return self._clock.monotonic

    def time(self) -> float:
        return self._clock.now.timestamp()

    def sleep(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)
