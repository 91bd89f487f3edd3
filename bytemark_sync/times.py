"""The one way in which a person is told a point or a span of time: pages, Slack, commands, the words of a run."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from bytemark_sync.domain.counters import many


def dated(at: datetime) -> str:
    """ "2026-11-24 12:50 UTC", in the zone of `TIME_ZONE`; a time without a zone is of that one.

    `project/formats` says the same to Django's own pages.
    """
    aware = timezone.make_aware(at) if timezone.is_naive(at) else at
    return f"{timezone.localtime(aware):%Y-%m-%d %H:%M %Z}"


def dated_text(text: str) -> str:
    """An ISO time in the same way; as it is where it is none."""
    at = parse_datetime(text)
    return dated(at) if at else text


def hours(span: timedelta) -> str:
    """ "36 hours"."""
    return many(round(span.total_seconds() / 3600), "hour")
