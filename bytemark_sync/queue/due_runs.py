"""Due times become runs: none is lost, and none gives two (docs/contract.md#queue).

django-q2 moves a schedule on and hands a task to the broker. From then on no schedule tells that a run was due, and the
task may fail, or be lost with the broker's memory. So the run's row is written in the very transaction that moves the
schedule on (`before_change`), and by the watchdog where no scheduler does; the task comes last and mostly finds it.
All three ask for the same: one run for the latest due time, unless a run is there for it or a later one
(docs/decisions/0011-a-due-time-is-a-row-first.md).
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from croniter import croniter
from django.db import transaction
from django.utils import timezone
from django_q.models import Schedule

from bytemark_sync.models import RunStatus, SyncRun, Trigger
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.queue import planning, schedules
from bytemark_sync.queue.locks import CLOCK_SKEW, held
from bytemark_sync.runs import lifecycle
from bytemark_sync.times import dated

logger = logging.getLogger(__name__)

LATCH = "scheduled run"


def before_change(instance: Schedule, raw: bool = False, **_signal: Any) -> None:
    """Called before a schedule is saved, by whomever, in the same transaction.

    What it raises undoes the change: django-q2's scheduler then tries again half a minute later.
    """
    if instance.func == schedules.SYNC and not raw:
        start_due()


def before_delete(instance: Schedule, **_signal: Any) -> None:
    """Called before a schedule is deleted: one that comes once is, by django-q2, when it has come."""
    if instance.schedule_type == Schedule.ONCE:
        before_change(instance)


def start_due() -> str:
    """Write the run that is due by the schedules as they stand in the database, where it has none yet."""
    if _latest() is not None:
        with held(LATCH):
            # Read again: whoever had the latch before has perhaps moved the schedule on.
            if (latest := _latest()) is not None:
                return _start(latest)
    return "nothing is due"


def start(due: datetime) -> str:
    """Write the run that was due then, where there is none for that time or a later one; what became of it."""
    with held(LATCH):
        return _start(due)


def _latest() -> datetime | None:
    now = timezone.now()
    overdue = [plan for plan in schedules.sync_schedules() if plan.next_run and plan.next_run <= now]
    return max((_last_due(plan, now) for plan in overdue), default=None)


def _last_due(plan: Schedule, now: datetime) -> datetime:
    """The last due time up to now of a schedule that nobody has moved on; what is malformed is due once."""
    due: datetime = plan.next_run
    try:
        if plan.schedule_type == Schedule.CRON:
            before: datetime = croniter(plan.cron, timezone.localtime(now)).get_prev(datetime)
            return max(due, before.astimezone(UTC))
        while plan.schedule_type != Schedule.ONCE and due < (later := plan.calculate_next_run(due)) <= now:
            due = later
    except schedules.MALFORMED:
        pass
    return due


def _start(due: datetime) -> str:
    mine = SyncRun.objects.filter(trigger=Trigger.SCHEDULE)
    # A time further ahead was written by a clock that was wrong, and must not stand for what is due until then.
    if mine.filter(due_at__range=(due, timezone.now() + CLOCK_SKEW)).exists() or mine.filter(due_at=due).exists():
        return "started before"
    alive = mine.filter(status__in=ALIVE).first()
    run = SyncRun.objects.create(trigger=Trigger.SCHEDULE, due_at=due, requested_by=f"schedule, due {dated(due)}")
    if alive is None:
        transaction.on_commit(lambda: planning.hand_over(run.pk))
        logger.info("run %s: due at %s, it is queued", run.pk, dated(due))
        return f"run {run.pk} is queued"
    lifecycle.finish(run.pk, RunStatus.SKIPPED, error=f"Run {alive.pk} was still alive.")
    SyncRun.objects.filter(pk=run.pk).update(slack="not needed")
    logger.warning("run %s skipped: run %s is still alive", run.pk, alive.pk)
    return f"skipped: run {alive.pk} is still alive"
