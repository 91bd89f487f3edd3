"""What django-q2 calls. These dotted names lie in schedule rows and in the broker, so they stay.

Task arguments are only ids, because django-q2 keeps them as pickles in the broker (docs/contract.md#queue).
"""

from __future__ import annotations

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from bytemark_sync.monitoring import silence
from bytemark_sync.monitoring.telemetry import traced
from bytemark_sync.queue import batches, closing, due_runs, planning, watchdog
from bytemark_sync.storage import retention


@traced
def scheduled_run(due: str = "") -> str:
    """The schedule's task, which is handed over when the run is already written. Returns what was done, in words.

    `due` is the ISO time when it was due. Without it the task takes whatever is due by the schedules now.
    """
    at = parse_datetime(due) if due else None
    return due_runs.start(at) if at else due_runs.start_due()


@traced
def plan_run(run_id: int) -> None:
    """Cut a run into batches. A second call continues where the first stopped."""
    planning.plan(run_id)


@traced
def sync_batch(batch_id: int) -> str:
    """Work one batch."""
    return batches.work_batch(batch_id)


@traced
def close_run_if_done(run_id: int) -> bool:
    """Close a run when all its batches have ended. True for the one caller that closed it."""
    return closing.close_if_done(run_id)


@traced
def watch() -> None:
    """Queue again or close whatever has no heartbeat any more."""
    watchdog.watch()


@traced
def check_silence() -> str:
    """Tell Slack when no scheduled run has succeeded for too long. Returns what was done."""
    return silence.check()


@traced
def prune() -> dict[str, int]:
    """Delete what is older than `SYNC_RETENTION_DAYS`. Returns the deleted rows by table."""
    return retention.prune(timezone.now())
