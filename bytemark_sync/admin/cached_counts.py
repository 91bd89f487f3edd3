"""Figures over big tables, at most as often as their cost allows."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from time import perf_counter
from typing import TypeVar

from django.core.cache import cache

T = TypeVar("T")

CHEAP = 0.05
"""Seconds; what costs less is never kept, so that a small installation always shows what is true now."""
SHARE = 50
"""A value is kept for this many times what it cost: counting takes 2 % of the time, however big the tables."""
LONGEST = 300.0
"""Seconds after which a value is computed again, whatever it cost."""

_one_at_a_time = threading.Lock()


def remembered(key: str, compute: Callable[[], T]) -> T:
    """`compute()`, or what it gave a little while ago if it was dear."""
    key = "bytemark_sync:" + hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()
    kept = cache.get(key)
    if kept is None:
        with _one_at_a_time:  # ten people who open the dashboard at once count once
            kept = cache.get(key)
            if kept is None:
                start = perf_counter()
                kept = (compute(),)
                cost = perf_counter() - start
                if cost >= CHEAP:
                    cache.set(key, kept, min(cost * SHARE, LONGEST))
    value: T = kept[0]
    return value
