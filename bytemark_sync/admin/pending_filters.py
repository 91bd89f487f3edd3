"""Filters of the pending orders; a resync of "all that match" understands the same words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from unfold.contrib.filters.admin import DropdownFilter

from bytemark_sync.admin.labels import NEVER, REASON_WORDS
from bytemark_sync.storage.pending import passed_over

YES = "yes"


def with_reason(rows: QuerySet[Any], reason: str) -> QuerySet[Any]:
    return rows.filter(outcome__isnull=True) if reason == NEVER else rows.filter(outcome__reason=reason)


class ReasonFilter(DropdownFilter):  # type: ignore[misc]
    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(REASON_WORDS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return with_reason(queryset, value) if value else queryset  # an unknown reason: no row


@dataclass(frozen=True, slots=True)
class Age:
    """Bounds of `OrderOutcome.first_at`, as time before now; they are `request_run`'s filters of the same names."""

    label: str
    first_before: timedelta | None = None
    first_after: timedelta | None = None

    def bounds(self, now: datetime) -> dict[str, datetime]:
        values = {"first_before": self.first_before, "first_after": self.first_after}
        return {name: now - gap for name, gap in values.items() if gap is not None}

    def narrow(self, rows: QuerySet[Any], now: datetime) -> QuerySet[Any]:
        lookups = {"first_before": "outcome__first_at__lt", "first_after": "outcome__first_at__gte"}
        return rows.filter(**{lookups[name]: at for name, at in self.bounds(now).items()})


AGES: dict[str, Age] = {
    "new": Age("first tried within a day", first_after=timedelta(days=1)),
    "day": Age("first tried over a day ago", first_before=timedelta(days=1)),
    "week": Age("first tried over a week ago", first_before=timedelta(days=7)),
    "month": Age("first tried over 30 days ago", first_before=timedelta(days=30)),
}


def this_minute() -> datetime:
    """Now, in minutes: the same question for a while, so that its count can be kept."""
    return timezone.now().replace(second=0, microsecond=0)


class DeferredFilter(DropdownFilter):  # type: ignore[misc]
    """As of this minute, so that the list's count can be kept."""

    title = "next try"
    parameter_name = "deferred"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(YES, "deferred: scheduled runs pass it over for now")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        return passed_over(queryset, this_minute()) if self.value() == YES else queryset.none()


class AgeFilter(DropdownFilter):  # type: ignore[misc]
    """The order table has no time that may be read: age is the time since the first try."""

    title = "age"
    parameter_name = "age"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, age.label) for value, age in AGES.items()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        chosen = AGES.get(str(self.value()))
        return chosen.narrow(queryset, this_minute()) if chosen else queryset.none()
