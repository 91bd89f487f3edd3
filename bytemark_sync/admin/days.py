"""Days in the admin's time zone. The database is not asked to convert times: a fresh MariaDB has no time zones."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import CharField
from django.db.models.functions import Cast, Substr
from django.utils import timezone
from django.utils.timezone import get_current_timezone

DAYS = 30


def last_days(count: int = DAYS) -> list[date]:
    """Today and the days before, oldest first."""
    today = timezone.localdate()
    return [today - timedelta(days=back) for back in range(count - 1, -1, -1)]


def begin(day: date) -> datetime:
    """The first moment of a day."""
    return datetime.combine(day, time.min, tzinfo=get_current_timezone())


def minute_of(field: str) -> Substr:
    """A UTC time cut to the minute, as text ("2026-11-22 21:12"), to group by in any database."""
    return Substr(Cast(field, CharField()), 1, 16)


def by_day(minutes: Iterable[tuple[str, int]]) -> dict[date, int]:
    """Add the numbers up by day. The minutes have the form that `minute_of` gives."""
    days: dict[date, int] = {}
    for minute, number in minutes:
        at = datetime.strptime(minute.replace("T", " "), "%Y-%m-%d %H:%M").replace(tzinfo=UTC)
        day = timezone.localdate(at)
        days[day] = days.get(day, 0) + number
    return days
