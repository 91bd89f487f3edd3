"""Figures that are slow to compute. A thread computes them, and pages show the last known value in the meantime.

Monitors need a count that is there, or its error: they wait, with `Kept` (monitoring/health.py).
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from time import monotonic
from typing import Generic, TypeVar

from django.db import connection, connections

T = TypeVar("T")
logger = logging.getLogger(__name__)

SHARE = 50
"""A figure is kept for this many times as long as it took to compute, so computing uses 2 % of the time."""
LONGEST = 300.0
"""Seconds for which a figure is kept at most. So a figure that takes over 6 s uses more than 2 % of the time."""
WAIT = 0.12
"""Seconds that a page waits for a figure. Small installations compute it in this time, so they show current values."""
WAIT_FOR_ANY = 0.25
"""Seconds that a list waits for its first rows when none are known yet."""


class Watched(Generic[T]):
    """Keeps the last value of `compute`. When it is too old, one thread of this process computes it again.

    `compute` may yield several values, each better than the one before. A page shows the best one so far.
    """

    def __init__(self, compute: Callable[[], Iterable[T]]) -> None:
        self.compute = compute
        self._changed = threading.Condition()
        self._value: T | None = None
        self._began = 0.0
        self._is_busy = False
        self._cost = 0.0
        self._fresh_until = 0.0

    def begin(self) -> None:
        """Start computing the value again if it is too old. Do not wait for it."""
        if connection.in_atomic_block:  # the thread's connection would not see this transaction's changes
            return
        with self._changed:
            if self._is_busy or monotonic() < self._fresh_until:
                return
            self._is_busy, self._began = True, monotonic()
        threading.Thread(target=self._work, name="figure", daemon=True).start()

    def latest(self, wait_for_any: float = WAIT) -> T | None:
        """The newest value. None if the first one is not ready within the time that a page waits."""
        if connection.in_atomic_block:
            return [*self.compute()][-1]
        self.begin()
        with self._changed:
            if self._cost < WAIT:  # a slower value would not be ready in time, so the last one is shown at once
                self._changed.wait_for(lambda: not self._is_busy, self._began + WAIT - monotonic())
            self._changed.wait_for(
                lambda: not self._is_busy or self._value is not None, self._began + wait_for_any - monotonic()
            )
            return self._value

    def _work(self) -> None:
        try:
            for value in self.compute():
                with self._changed:
                    self._value = value
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001 - for example, the database is away; the next page tries again
            logger.warning("A figure of the admin could not be worked out (%s).", type(error).__name__)
        finally:
            connections.close_all()
            with self._changed:
                self._cost = monotonic() - self._began
                self._fresh_until = monotonic() + min(self._cost * SHARE, LONGEST)
                self._is_busy = False
                self._changed.notify_all()


class WatchedEach(Generic[T]):
    """A `Watched` for each key. The least recently used ones are dropped."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Watched[T]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, key: Hashable, compute: Callable[[], Iterable[T]]) -> Watched[T]:
        with self._lock:
            watched = self._kept.setdefault(key, Watched(compute))
            watched.compute = compute  # the newest query, because filters by age contain the current time
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return watched

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
