"""The product's django-q2 schedules. `migrate` creates each once. From then on they are changed in the admin.

A row written in the same transaction remembers that a schedule was created. So a schedule that was edited, renamed or
deleted in the admin never comes back, and two machines that migrate at the same time create only one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from croniter import croniter
from django.conf import settings
from django.db import IntegrityError, connections, transaction
from django.utils import timezone
from django_q.models import Schedule

from bytemark_sync.domain.cron import next_due
from bytemark_sync.models import NamedLock

SYNC = "bytemark_sync.tasks.scheduled_run"
SILENCE = "bytemark_sync.tasks.check_silence"
PRUNE = "bytemark_sync.tasks.prune"
SYNC_SCHEDULE_LOCK = "schedule scheduled_run"
MIN_SILENCE = timedelta(hours=36)
MALFORMED = (ValueError, KeyError, AttributeError, TypeError, OverflowError)
"""The exceptions of croniter and django-q2 for a schedule that cannot be read."""


def create_schedules(using: str = "default", **_signal: Any) -> None:
    """Called after `migrate`. Does nothing if the tables are missing or the schedules were created before."""
    if using != "default":
        return
    tables = {Schedule._meta.db_table, NamedLock._meta.db_table}
    if not tables <= set(connections[using].introspection.table_names()):
        return
    cron = Schedule.CRON
    _create(SYNC, name="Bytemark sync", schedule_type=cron, cron=settings.SYNC_CRON, intended_date_kwarg="due")
    _create(SILENCE, name="Bytemark sync: look for a silence", schedule_type=Schedule.HOURLY)
    _create(PRUNE, name="Bytemark sync: prune", schedule_type=cron, cron="30 1 * * *")


def _create(func: str, **fields: Any) -> None:
    lock = f"schedule {func.rpartition('.')[2]}"
    if NamedLock.objects.filter(name=lock).exists():
        return
    try:
        with transaction.atomic():
            NamedLock.objects.create(name=lock)
            Schedule.objects.create(func=func, **fields)
    except IntegrityError:
        if not NamedLock.objects.filter(name=lock).exists():
            raise


def installed_at() -> datetime | None:
    """When `migrate` created the sync's schedule, or None."""
    return NamedLock.objects.filter(name=SYNC_SCHEDULE_LOCK).values_list("created_at", flat=True).first()


def sync_schedules() -> list[Schedule]:
    """The sync's schedules that will run again, the next due first."""
    return list(Schedule.objects.filter(func=SYNC).exclude(repeats=0).order_by("next_run", "pk"))


def longest_silence(plans: Iterable[Schedule]) -> timedelta:
    """How long it may take until a scheduled run succeeds: 36 hours, or 1.5 times the longest wait between two runs.

    Of several schedules the most frequent one counts. One that runs only once does not count.
    """
    waits = [_longest_wait(plan) for plan in plans if plan.schedule_type != Schedule.ONCE]
    return max(MIN_SILENCE, 1.5 * min(waits)) if waits else MIN_SILENCE


def _longest_wait(plan: Schedule) -> timedelta:
    """The longest wait between two of the next ten due times; none if the schedule cannot be read."""
    due: list[datetime] = [timezone.now() if plan.schedule_type == Schedule.CRON else plan.next_run]
    try:
        if plan.schedule_type == Schedule.CRON:
            times = croniter(plan.cron, due[0])
            due = [times.get_next(datetime) for _ in range(10)]
        else:
            for _ in range(10):
                due.append(plan.calculate_next_run(due[-1]))
    except MALFORMED:
        return timedelta(0)
    return max(later - earlier for earlier, later in pairwise(due))


def daily_schedule() -> Schedule | None:
    """The schedule of the daily run; None if somebody has deleted it."""
    schedule: Schedule | None = Schedule.objects.filter(func=SYNC).order_by("pk").first()
    return schedule


def set_daily_cron(cron: str) -> datetime | None:
    """Run the daily sync by `cron` (in `TIME_ZONE`) from now on. Returns the next time, or None without a schedule.

    Raises ValueError for what is no expression or is never due.
    """
    next_run = next_due(cron, timezone.localtime())
    changed = Schedule.objects.filter(func=SYNC).update(
        cron=cron, schedule_type=Schedule.CRON, next_run=next_run, repeats=-1
    )
    return next_run if changed else None
