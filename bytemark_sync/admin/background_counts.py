"""A dear figure that no page waits for: worked out beside the request, shown as it was last until it is there anew."""

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
"""A figure is kept for this many times what it cost: counting takes 2 % of the time, however big the tables."""
LONGEST = 300.0
"""Seconds after which a figure is worked out again, whatever it cost."""
WAIT = 0.12
"""Seconds that a page waits for a figure that is being worked out: enough for every small installation to show what is
true now."""
WAIT_FOR_ANY = 0.25
"""Seconds that a list waits for its first rows where none are known yet."""


class Watched(Generic[T]):
    """What `compute` gave last; one thread of this process asks it anew when that is older than its cost allows.

    `compute` may give several values, each better than the one before: a page shows the best that there is.
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
        """Have it worked out anew if that is due, without waiting for it."""
        if connection.in_atomic_block:  # another connection would not see what this one sees
            return
        with self._changed:
            if self._is_busy or monotonic() < self._fresh_until:
                return
            self._is_busy, self._began = True, monotonic()
        threading.Thread(target=self._work, name="figure", daemon=True).start()

    def latest(self, wait_for_any: float = WAIT) -> T | None:
        """The newest value there is; None while the very first is being worked out for longer than the page waits."""
        if connection.in_atomic_block:
            return [*self.compute()][-1]
        self.begin()
        with self._changed:
            if self._cost < WAIT:  # else it will not be there in time: what was true last is shown at once
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
        except Exception as error:  # noqa: BLE001 - a database that is away; the page asks again
            logger.warning("A figure of the admin could not be worked out (%s).", type(error).__name__)
        finally:
            connections.close_all()
            with self._changed:
                self._cost = monotonic() - self._began
                self._fresh_until = monotonic() + min(self._cost * SHARE, LONGEST)
                self._is_busy = False
                self._changed.notify_all()


class WatchedEach(Generic[T]):
    """A `Watched` for each of many keys; those asked for longest ago are forgotten."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Watched[T]] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, key: Hashable, compute: Callable[[], Iterable[T]]) -> Watched[T]:
        with self._lock:
            watched = self._kept.setdefault(key, Watched(compute))
            watched.compute = compute  # the same figure, as of now: a filter by age holds a time
            self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
            return watched

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()
