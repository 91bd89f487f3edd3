"""Finds runs, plans and batches without a heartbeat, and queues them again or closes them (docs/contract.md#queue)."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import F, Max, QuerySet
from django.utils import timezone

from bytemark_sync.log_fields import log_fields
from bytemark_sync.models import BatchStatus, RunStatus, SyncBatch, SyncRun
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.queue import batches, closing, due_runs, planning
from bytemark_sync.queue.kinds import is_known
from bytemark_sync.runs import lifecycle
from bytemark_sync.slack import reporter

logger = logging.getLogger(__name__)

PLANNING_DIED = "Planning died again and again without any progress. Orders that were not stored are still pending."


def watch() -> None:
    """Check everything that is due or under way once. Safe to call at any time, by any number of processes at once."""
    due_runs.start_due()
    limit = timezone.now() - timedelta(seconds=settings.SYNC_HEARTBEAT_LIMIT)
    for run_id in lifecycle.close_dead_runs():
        reporter.report_run(SyncRun.objects.get(pk=run_id))
    for run in SyncRun.objects.filter(status__in=ALIVE, pid=None):
        if not is_known(run):
            continue
        with log_fields(run=run.pk):
            if run.planned_at is None:
                _watch_planning(run, limit)
            _watch_batches(run, limit)
            batches.go_on(run.pk)
    reporter.report_forgotten()


def _watch_planning(run: SyncRun, limit: datetime) -> None:
    """Queue planning again if it has no heartbeat. It continues after the last user that it planned."""
    silent = SyncRun.objects.filter(pk=run.pk, status__in=ALIVE, planned_at=None, planner_at__lt=limit)
    # A run that waits for its planner uses up no try, nor does one with live batches: the planner may wait behind them.
    dead = run.status == RunStatus.RUNNING and run.heartbeat_at < limit
    if dead and run.planning_tries >= batches.MAX_TRIES and silent.filter(heartbeat_at__lt=limit).exists():
        closing.end(run.pk, RunStatus.FAILED, error=PLANNING_DIED)
        return
    tries = F("planning_tries") + (1 if dead else 0)
    if silent.update(heartbeat_at=timezone.now(), planner_at=None, planning_tries=tries):
        logger.warning("run %s: planning gave no sign of life, it is queued again", run.pk)
    planning.hand_over(run.pk)


def _watch_batches(run: SyncRun, limit: datetime) -> None:
    mine = SyncBatch.objects.filter(run_id=run.pk)
    silent = mine.filter(status=BatchStatus.RUNNING, heartbeat_at__lt=limit)
    for batch_id in list(silent.values_list("pk", flat=True)):
        if became := batches.queue_again(silent.filter(pk=batch_id)):
            about = {"batch": batch_id}
            logger.warning("run %s: batch %s gave no sign of life, it is %s", run.pk, batch_id, became, extra=about)
    lost = _lost(run, limit).update(queued_at=None)
    if lost:
        SyncRun.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now())
        logger.warning("run %s: the broker lost %d waiting batches, they are queued again", run.pk, lost)


def _lost(run: SyncRun, limit: datetime) -> QuerySet[SyncBatch]:
    """Batches that were handed to the broker and that no worker will get.

    Waiting alone is no sign, because the queue may be long. There are two signs. The whole run is silent. Or the
    broker, which keeps the order, has delivered a batch that it was handed later. Handing a batch out again uses up no
    try, and a batch that is delivered twice is claimed once.
    """
    mine = SyncBatch.objects.filter(run_id=run.pk)
    waiting = mine.filter(status=BatchStatus.QUEUED, queued_at__lt=limit)
    if not SyncRun.objects.filter(pk=run.pk, heartbeat_at__gte=limit).exists():
        return waiting
    taken = mine.exclude(status=BatchStatus.QUEUED).filter(heartbeat_at__gte=limit)
    latest = taken.aggregate(latest=Max("queued_at"))["latest"]
    return waiting.filter(queued_at__lt=latest) if latest else waiting.none()
