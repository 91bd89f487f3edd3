"""The one way in which a person is told a point in time: pages, Slack, commands, the words of a run."""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone


def dated(at: datetime) -> str:
    """ "2026-11-24 12:50 UTC", in the zone of `TIME_ZONE`; `project/formats` says the same to Django's own pages."""
    return f"{timezone.localtime(at):%Y-%m-%d %H:%M %Z}"
