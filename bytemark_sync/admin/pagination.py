"""How long lists are cut into pages, so that no page waits for a count of a big table.

Django's `Paginator` alone counts the whole list while the page waits. Unfold's `InfinitePaginator` counts nothing, so a
list cannot say how long it is or which page is its last. Both read whole rows for all the pages before the one shown.
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
"""A list longer than this is called "more than": a page that far down is reached by a filter, not by its number."""
MAX_LISTS = 100
"""Lists whose length is kept; each filter and search is one."""
MAX_KEYED_LISTS = 20
"""Lists whose keys are kept: at most 800 kB each."""


class CountedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to `MAX_COUNTED` rows, beside the request where that takes long."""

    template_name = "bytemark_sync/pagination.html"
    is_looking = False
    """Whether rows of the page that was asked for may be found yet."""

    @cached_property
    def known_count(self) -> int | None:
        """None while it is being counted for the first time."""
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
        """The query as text; empty where it cannot have a row."""
        rows: Any = self.object_list
        try:
            return "{!r} {!r}".format(*rows.query.sql_with_params())
        except EmptyResultSet:
            return ""

    def count_rows(self) -> Iterator[int]:
        """The rows, but not many more than `MAX_COUNTED`."""
        rows: Any = self.object_list
        yield int(rows.order_by().values("pk")[: MAX_COUNTED + 1].count())

    def page(self, number: Any) -> Page[Any]:
        """The keys of a page are read first: what stands beside the rows is not read for all the pages before it."""
        number = self.validate_number(number)
        rows: Any = self.object_list
        return Page(rows.filter(pk__in=self.keys(number)), number, self)

    def keys(self, number: int) -> list[Any]:
        rows: Any = self.object_list
        first = (number - 1) * self.per_page
        return list(rows.values_list("pk", flat=True)[first : first + self.per_page])


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a list, in its order, as far as they are known."""

    keys: array[int]
    is_whole: bool


class KeyedPaginator(CountedPaginator):
    """For a list whose rows are far apart in a big table: all its keys are looked for beside the request.

    The rows of a page are then read by key, under the list's own conditions: one that has left the list since is not
    shown. `list_key` names the list in place of its query, which holds the time where a filter is by age.
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
