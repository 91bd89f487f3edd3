"""A run's states. They only move forward, each step one conditional update in the database (CONTRACT: Queue)."""

from __future__ import annotations

import logging
import os
import socket
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from bytemark_sync.database import retrying
from bytemark_sync.models import RunStatus, SyncRun, Trigger
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.scope import AuditScope, Scope

logger = logging.getLogger(__name__)

DIED = "The process died without a word; what it had not stored is still pending, and the next run takes it."


def open_run(trigger: Trigger, scope: Scope | AuditScope, *, requested_by: str = "") -> SyncRun:
    """A run that this process works by itself, already running. Raises `DatabaseGone`."""
    now = timezone.now()
    run = SyncRun(
        trigger=trigger,
        scope=scope.to_json(),
        requested_by=requested_by,
        status=RunStatus.RUNNING,
        created_at=now,
        started_at=now,
        heartbeat_at=now,
        planned_at=now,
        host=socket.gethostname(),
        pid=os.getpid(),
    )

    def save() -> SyncRun:
        # The row of a try whose answer was lost would lie there as a run that died.
        mine = SyncRun.objects.filter(created_at=now, host=run.host, pid=run.pid).first() if run.pk is None else None
        if mine is None:
            run.save(force_insert=True)
        return mine or run

    return retrying(save)


def start(run_id: int) -> bool:
    """queued -> running; True for the one caller that moved it."""
    now = timezone.now()
    moved = SyncRun.objects.filter(pk=run_id, status=RunStatus.QUEUED)
    return moved.update(status=RunStatus.RUNNING, started_at=now, heartbeat_at=now, planner_at=now) == 1


def finish(run_id: int, status: RunStatus, *, error: str = "") -> bool:
    """queued or running -> one of the five ends; True for the one caller that closed it."""
    now = timezone.now()
    alive = SyncRun.objects.filter(pk=run_id, status__in=ALIVE)
    return alive.update(status=status, finished_at=now, heartbeat_at=now, error=error) == 1


def close_dead_runs() -> list[int]:
    """Close runs of single processes that died in silence; the ids of those that this call closed.

    Dead is a run without a heartbeat for `SYNC_HEARTBEAT_LIMIT`, or whose process on this very machine is gone.
    """
    limit = timezone.now() - timedelta(seconds=settings.SYNC_HEARTBEAT_LIMIT)
    alone = SyncRun.objects.filter(status=RunStatus.RUNNING, pid__isnull=False)
    silent = Q(heartbeat_at__lt=limit) | Q(host=socket.gethostname())
    closed = []
    for run in alone.filter(silent).only("pk", "pid", "host", "heartbeat_at", "status"):
        gone = run.host == socket.gethostname() and not _process_lives(run.pid or 0)
        if (gone or run.heartbeat_at < limit) and finish(run.pk, RunStatus.FAILED, error=DIED):
            logger.warning("run %s closed: %s", run.pk, DIED)
            closed.append(run.pk)
    return closed


def verdict(*, users: int, users_failed: int, orders_synced: int) -> RunStatus:
    """How a run ended that went to its end: failed when nothing worked, partial when some users failed."""
    if not users_failed:
        return RunStatus.SUCCEEDED
    if users_failed == users and not orders_synced:
        return RunStatus.FAILED
    return RunStatus.PARTIAL


def _process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
