"""A run's states. They only move forward. Each step is one conditional update (docs/contract.md#queue)."""

from __future__ import annotations

import logging
import os
import socket
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from bytemark_sync.domain.counters import Counts
from bytemark_sync.domain.run_scope import AuditScope, Scope
from bytemark_sync.models import RunKind, RunStatus, SyncRun, Trigger
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.storage.database_retry import retrying
from bytemark_sync.times import dated

logger = logging.getLogger(__name__)

DIED = (
    "The process died, or gave no sign of life for too long; what it had not stored is still pending, and the next run"
    " takes it."
)
MAX_BEAT_SECONDS = 2.0
MISSED_BEATS = 3
"""After this many missed heartbeats, it is checked whether the run's process still exists."""


def beat_every() -> float:
    """Seconds between two heartbeats of whatever works a run."""
    return float(min(MAX_BEAT_SECONDS, settings.SYNC_HEARTBEAT_LIMIT / 4))


def open_run(kind: RunKind, scope: Scope | AuditScope, *, requested_by: str = "") -> SyncRun:
    """Record a run that the command works by itself, already running. Raises `DatabaseGone`."""
    now = timezone.now()
    run = SyncRun(
        kind=kind,
        trigger=Trigger.COMMAND,
        scope=scope.to_json(),
        requested_by=requested_by,
        status=RunStatus.RUNNING,
        created_at=now,
        started_at=now,
        heartbeat_at=now,
        planned_at=now,
        host=socket.gethostname(),
        pid=os.getpid(),
        pid_space=pid_space(),
    )

    def save() -> SyncRun:
        # If only the answer of an earlier try was lost, its row is there. A second row would look like a dead run.
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


def finish(
    run_id: int, status: RunStatus, *, error: str = "", silent_since: datetime | None = None, **columns: Any
) -> bool:
    """queued or running -> one of the five ends; True for the one caller that closed it.

    With `silent_since`, it closes only a run without a heartbeat after that time. `columns` are written with the end.
    """
    now = timezone.now()
    alive = SyncRun.objects.filter(pk=run_id, status__in=ALIVE)
    if silent_since is not None:
        alive = alive.filter(heartbeat_at__lte=silent_since)
    return alive.update(status=status, finished_at=now, heartbeat_at=now, error=error, **columns) == 1


def close_dead_runs() -> list[int]:
    """Close runs of single processes that have died. Returns the ids of the runs that this call closed.

    A run is dead if it has had no heartbeat for `SYNC_HEARTBEAT_LIMIT`, or if it has missed some and its process is
    gone. A pid identifies a process only within one boot and one PID namespace. Elsewhere the heartbeat alone decides.
    """
    now = timezone.now()
    limit = now - timedelta(seconds=settings.SYNC_HEARTBEAT_LIMIT)
    margin = timedelta(seconds=MISSED_BEATS * beat_every())
    fresh = Q(heartbeat_at__range=(now - margin, now + margin))  # later than that: the clock was turned back
    here = pid_space()
    closed = []
    for run in SyncRun.objects.filter(~fresh, status=RunStatus.RUNNING, pid__isnull=False):
        gone = run.heartbeat_at < limit or (here and run.pid_space == here and not _process_lives(run.pid or 0))
        if gone and finish(run.pk, RunStatus.FAILED, error=DIED, silent_since=run.heartbeat_at):
            logger.warning("run %s closed: %s", run.pk, DIED, extra={"run": run.pk})
            closed.append(run.pk)
    return closed


def pid_space() -> str:
    """The boot and the PID namespace within which this process's pid is unique; empty if they cannot be read."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def verdict(
    counts: Counts, *, stopped: bool, broke_off: bool, batches_given_up: bool = False, unanswered: bool = False
) -> RunStatus:
    """How a run ended, whoever worked it (docs/contract.md#queue).

    `broke_off` means that it could not go on, `unanswered` that it gave up because Bytemark did not answer. A stop
    takes precedence: a run that was stopped and also broke off is "interrupted".
    """
    if stopped:
        return RunStatus.INTERRUPTED
    if broke_off:
        return RunStatus.FAILED
    if not (counts.users_failed or batches_given_up or unanswered):
        return RunStatus.SUCCEEDED
    some_worked = counts.users > counts.users_failed or counts.orders_synced > 0
    return RunStatus.PARTIAL if some_worked else RunStatus.FAILED


def log_level(status: str) -> int:
    """Of the line that says how a run ended: a failed one is an error, which Sentry is told of."""
    return logging.ERROR if status == RunStatus.FAILED else logging.INFO


def unanswered_words(since: datetime) -> str:
    """Why a run gave up."""
    patience = f"{settings.BYTEMARK_OUTAGE_PATIENCE:g} s"
    return (
        f"Bytemark has not answered since {dated(since)}; the run gave up after {patience}."
        " Users who were not reached are still pending, and the next run takes them."
    )


def _process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
