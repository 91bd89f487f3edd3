"""How times and spans of time are written for people: on pages, in Slack, commands and a run's messages."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from bytemark_sync.domain.counters import many


def dated(at: datetime) -> str:
    """ "2026-11-24 12:50 UTC", in `TIME_ZONE`. A time without a zone is taken to be in `TIME_ZONE`.

    `project/formats` does the same for Django's own pages.
    """
    aware = timezone.make_aware(at) if timezone.is_naive(at) else at
    return f"{timezone.localtime(aware):%Y-%m-%d %H:%M %Z}"


def dated_text(text: str) -> str:
    """An ISO time in the same form. A text that is no ISO time is returned unchanged."""
    at = parse_datetime(text)
    return dated(at) if at else text


def hours(span: timedelta) -> str:
    """ "36 hours"."""
    return many(round(span.total_seconds() / 3600), "hour")
