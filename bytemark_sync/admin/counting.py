"""Counts over big tables, at most as often as their cost allows."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from time import perf_counter
from typing import Any, TypeVar

from django.core.cache import cache
from django.core.exceptions import EmptyResultSet
from django.core.paginator import Paginator
from django.utils.functional import cached_property

T = TypeVar("T")

CHEAP = 0.05
"""Seconds; what costs less is never kept, so that a small installation always shows what is true now."""
SHARE = 50
"""A value is kept for this many times what it cost: counting takes 2 % of the time, however big the tables."""
LONGEST = 300.0
"""Seconds after which a value is computed again, whatever it cost."""
MOST_COUNTED = 100_000
"""A list longer than this is called "more than": a page that far down is reached by a filter, not by its number."""

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


class CountedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to `MOST_COUNTED` rows, and keeps a dear count for a while."""

    template_name = "bytemark_sync/pagination.html"

    @cached_property
    def count(self) -> int:
        key = self.key()
        return remembered(key, self.count_rows) if key else 0

    def key(self) -> str:
        """The query as text; empty where it cannot have a row."""
        rows: Any = self.object_list
        try:
            return "count {!r} {!r}".format(*rows.query.sql_with_params())
        except EmptyResultSet:
            return ""

    def count_rows(self) -> int:
        """The rows, but not many more than `MOST_COUNTED`."""
        rows: Any = self.object_list
        return int(rows.order_by().values("pk")[: MOST_COUNTED + 1].count())

    @property
    def has_more(self) -> bool:
        return self.count > MOST_COUNTED
