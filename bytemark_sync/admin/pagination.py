"""Paginators for long lists, so that no page waits for a count of a big table.

With Django's `Paginator` a page waits until the whole list is counted. Unfold's `InfinitePaginator` does not count, so
a list cannot show its length or its last page. Both read whole rows for all the pages before the one that is shown.
"""

from __future__ import annotations

from array import array
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.core.paginator import Page, Paginator
from django.utils.functional import cached_property

from bytemark_sync.admin.background_counts import WAIT_FOR_ANY, WatchedEach

MAX_COUNTED = 100_000
"""A longer list is shown as "more than" this. To see rows further down, people use a filter."""
MAX_LISTS = 100
"""How many lists' lengths are kept. Each combination of filters and search is a list."""
MAX_KEYED_LISTS = 20
"""How many lists' keys are kept, at most 800 kB each."""


class CountedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to `MAX_COUNTED` rows. If that is slow, the page is shown before the count is ready."""

    template_name = "bytemark_sync/pagination.html"
    is_looking = False
    """Whether more rows of the requested page may still be found."""

    @cached_property
    def known_count(self) -> int | None:
        """The length of the list. None while it is being counted for the first time."""
        key = self.key()
        return _lengths.of(key, self.count_rows).latest() if key else 0

    @cached_property
    def count(self) -> int:
        return MAX_COUNTED + 1 if self.known_count is None else self.known_count

    @property
    def is_counting(self) -> bool:
        return self.known_count is None

    @property
    def has_more(self) -> bool:
        return self.count > MAX_COUNTED

    def key(self) -> str:
        """The query as text. Empty if it can have no rows."""
        rows: Any = self.object_list
        try:
            return "{!r} {!r}".format(*rows.query.sql_with_params())
        except EmptyResultSet:
            return ""

    def count_rows(self) -> Iterator[int]:
        """The number of rows, counted to at most `MAX_COUNTED` + 1."""
        rows: Any = self.object_list
        yield int(rows.order_by().values("pk")[: MAX_COUNTED + 1].count())

    def page(self, number: Any) -> Page[Any]:
        """Read the page's keys first, and then its rows. So only keys are read for all the pages before it."""
        number = self.validate_number(number)
        rows: Any = self.object_list
        return Page(rows.filter(pk__in=self.keys(number)), number, self)

    def keys(self, number: int) -> list[Any]:
        rows: Any = self.object_list
        first = (number - 1) * self.per_page
        return list(rows.values_list("pk", flat=True)[first : first + self.per_page])


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a list in its order, or only the first of them if it is not `is_whole`."""

    keys: array[int]
    is_whole: bool


class KeyedPaginator(CountedPaginator):
    """For lists whose rows are few in a big table. A thread collects all their keys.

    The rows of a page are read by key and with the list's conditions, so a row that no longer matches is not shown.
    `list_key` identifies the list. The query cannot, because with a filter by age it contains the current time.
    """

    list_key: Hashable = ""

    @cached_property
    def found(self) -> Keys | None:
        key = self.list_key or self.key()
        if not key:
            return Keys(array("q"), is_whole=True)
        return _keys.of(key, self.look).latest(WAIT_FOR_ANY)

    def look(self) -> Iterator[Keys]:
        rows: Any = self.object_list
        keys = rows.values_list("pk", flat=True)
        first = array("q", keys[: self.per_page])
        yield Keys(first, is_whole=len(first) < self.per_page)
        if len(first) == self.per_page:
            yield Keys(array("q", keys[: MAX_COUNTED + 1]), is_whole=True)

    @cached_property
    def known_count(self) -> int | None:
        return len(self.found.keys) if self.found and self.found.is_whole else None

    def keys(self, number: int) -> list[Any]:
        first = (number - 1) * self.per_page
        keys = list(self.found.keys[first : first + self.per_page]) if self.found else []
        self.is_looking = self.is_counting and len(keys) < self.per_page
        return keys


_lengths: WatchedEach[int] = WatchedEach(MAX_LISTS)
_keys: WatchedEach[Keys] = WatchedEach(MAX_KEYED_LISTS)
