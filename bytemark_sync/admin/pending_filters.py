"""Filters of the list of pending orders. A resync of "all that match" accepts the same parameters."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import DropdownFilter

from bytemark_sync.admin.labels import reason_words
from bytemark_sync.domain.pending_filter import PendingFilter
from bytemark_sync.storage.pending import matching

YES = "yes"


class ReasonFilter(DropdownFilter):  # type: ignore[misc]
    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(reason_words().items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return _narrowed(queryset, reason=self.value() or "")


@dataclass(frozen=True, slots=True)
class Age:
    """Limits of `OrderOutcome.first_at`, as spans before now."""

    label: str
    first_before: timedelta | None = None
    first_after: timedelta | None = None


AGES: dict[str, Age] = {
    "new": Age("first tried within a day", first_after=timedelta(days=1)),
    "day": Age("first tried over a day ago", first_before=timedelta(days=1)),
    "week": Age("first tried over a week ago", first_before=timedelta(days=7)),
    "month": Age("first tried over 30 days ago", first_before=timedelta(days=30)),
}


def this_minute() -> datetime:
    """The current time without seconds. So a query stays the same for a minute, and its count can be kept."""
    return timezone.now().replace(second=0, microsecond=0)


def filter_of(*, reason: str = "", age: str = "", deferred: str = "") -> PendingFilter:
    """The filter that the list's parameters describe, as of this minute. Raises ValueError for unknown values."""
    if age not in ("", *AGES) or deferred not in ("", YES):
        raise ValueError("unknown filter")
    now, chosen = this_minute(), AGES.get(age, Age(""))
    return PendingFilter(
        reasons=(reason,) if reason else (),
        first_before=now - chosen.first_before if chosen.first_before else None,
        first_after=now - chosen.first_after if chosen.first_after else None,
        next_after=now if deferred else None,
    )


def _narrowed(rows: QuerySet[Any], **chosen: str) -> QuerySet[Any]:
    try:
        return matching(rows, filter_of(**chosen))
    except ValueError:
        return rows.none()


class DeferredFilter(DropdownFilter):  # type: ignore[misc]
    """Filters deferred orders, as of this minute."""

    title = "next try"
    parameter_name = "deferred"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(YES, "deferred: scheduled runs pass it over for now")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return _narrowed(queryset, deferred=self.value() or "")


class AgeFilter(DropdownFilter):  # type: ignore[misc]
    """Filters by the time since the first try. The product may read no time from the portal's order table."""

    title = "age"
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, age.label) for value, age in AGES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return _narrowed(queryset, age=self.value() or "")
