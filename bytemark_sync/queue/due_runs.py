"""Each due time gives exactly one run (docs/contract.md#queue).

django-q2 moves a schedule on and hands a task to the broker. From then on no schedule shows that a run was due, and the
task may fail or be lost by the broker. So the run's row is written in the transaction that moves the schedule on
(`before_change`). If no scheduler works, the watchdog writes it. The task comes last and mostly finds the row. All
three ask for the same: one run for the latest due time, unless there is one for that time or a later one
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

RUN_LOCK = "scheduled run"


def before_change(instance: Schedule, raw: bool = False, **_signal: Any) -> None:
    """Called before anybody saves a schedule, in the same transaction.

    An exception undoes the change. django-q2's scheduler then tries again half a minute later.
    """
    if instance.func == schedules.SYNC and not raw:
        start_due()


def before_delete(instance: Schedule, **_signal: Any) -> None:
    """Called before a schedule is deleted. django-q2 deletes a schedule that runs only once when it has run."""
    if instance.schedule_type == Schedule.ONCE:
        before_change(instance)


def start_due() -> str:
    """Write the run that is due by the schedules in the database, unless it exists."""
    if _latest() is not None:
        with held(RUN_LOCK):
            # Read again, because whoever held the lock before may have moved the schedule on.
            if (latest := _latest()) is not None:
                return _start(latest)
    return "nothing is due"


def start(due: datetime) -> str:
    """Write the run that was due then, unless there is one for that time or a later one. Returns what was done."""
    with held(RUN_LOCK):
        return _start(due)


def _latest() -> datetime | None:
    now = timezone.now()
    overdue = [plan for plan in schedules.sync_schedules() if plan.next_run and plan.next_run <= now]
    return max((_last_due(plan, now) for plan in overdue), default=None)


def _last_due(plan: Schedule, now: datetime) -> datetime:
    """The last due time until now of a schedule that nobody has moved on. A malformed schedule is due once."""
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
    # A time further in the future was written by a wrong clock. It must not count as the run for earlier due times.
    if mine.filter(due_at__range=(due, timezone.now() + CLOCK_SKEW)).exists() or mine.filter(due_at=due).exists():
        return "started before"
    alive = mine.filter(status__in=ALIVE).first()
    run = SyncRun.objects.create(trigger=Trigger.SCHEDULE, due_at=due, requested_by=f"schedule, due {dated(due)}")
    if alive is None:
        transaction.on_commit(lambda: planning.hand_over(run.pk))
        logger.info("run %s: queued, it was due at %s", run.pk, dated(due), extra={"run": run.pk})
        return f"run {run.pk} is queued"
    lifecycle.finish(run.pk, RunStatus.SKIPPED, error=f"Run {alive.pk} was still alive.")
    SyncRun.objects.filter(pk=run.pk).update(slack="not needed")
    logger.warning("run %s skipped: run %s is still alive", run.pk, alive.pk, extra={"run": run.pk})
    return f"skipped: run {alive.pk} is still alive"
