"""A dear count that no page waits for: counted beside the request, shown as it was last until it is counted anew."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic, perf_counter
from typing import Generic, TypeVar

from django.db import connection, connections
from django.utils.functional import cached_property

from bytemark_sync.admin.counting import LONGEST, MOST_COUNTED, SHARE, CountedPaginator

T = TypeVar("T")
logger = logging.getLogger(__name__)

WAIT = 0.15
"""Seconds that a page waits for a count under way: enough for every small installation to show what is true now."""


MOST_LISTS = 100
"""Lists whose length is kept; each filter and search is one."""


class Watched(Generic[T]):
    """What `compute` gave last; one thread of this process counts anew when that is older than its cost allows."""

    def __init__(self, compute: Callable[[], T]) -> None:
        self._compute = compute
        self._lock = threading.Lock()
        self._value: T | None = None
        self._fresh_until = 0.0
        self._done: threading.Event | None = None

    def latest(self) -> T | None:
        """The newest value there is; None while the very first is being counted."""
        if connection.in_atomic_block:  # another connection would not see what this one sees
            return self._compute()
        with self._lock:
            if self._done is None and monotonic() >= self._fresh_until:
                self._done = threading.Event()
                threading.Thread(target=self._count, args=(self._done,), name="count", daemon=True).start()
            done = self._done
        if done is not None:
            done.wait(WAIT)
        with self._lock:
            return self._value

    def _count(self, done: threading.Event) -> None:
        start = perf_counter()
        value: T | None = None
        try:
            value = self._compute()
        except Exception as error:  # noqa: BLE001 - a database that is away; the page asks again
            logger.warning("The pending orders could not be counted (%s).", type(error).__name__)
        finally:
            connections.close_all()
            with self._lock:
                self._value = self._value if value is None else value
                self._fresh_until = monotonic() + min((perf_counter() - start) * SHARE, LONGEST)
                self._done = None
            done.set()


class WatchedPaginator(CountedPaginator):
    """Says "being counted" instead of making the page wait."""

    is_counting = False

    @cached_property
    def count(self) -> int:
        key = self.key()
        count = _list_length(key, self.count_rows).latest() if key else 0
        self.is_counting = count is None
        return MOST_COUNTED + 1 if count is None else count


_lengths: OrderedDict[str, Watched[int]] = OrderedDict()
_lengths_lock = threading.Lock()


def _list_length(key: str, count: Callable[[], int]) -> Watched[int]:
    with _lengths_lock:
        watched = _lengths.setdefault(key, Watched(count))
        _lengths.move_to_end(key)
        while len(_lengths) > MOST_LISTS:
            _lengths.popitem(last=False)
        return watched
