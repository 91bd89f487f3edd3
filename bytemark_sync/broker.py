"""The one place that hands tasks to django-q2. Arguments are ids alone: they lie in the broker as pickles."""

from __future__ import annotations

import logging

from django_q.tasks import async_task

logger = logging.getLogger(__name__)

PLAN = "bytemark_sync.tasks.plan_run"
BATCH = "bytemark_sync.tasks.sync_batch"


def enqueue(func: str, *args: int) -> bool:
    """Hand one task over; False, with a line in the log, when the broker cannot be reached: the watchdog will."""
    try:
        async_task(func, *args, q_options={"task_name": " ".join([func.rpartition(".")[2], *map(str, args)])})
    except Exception as error:  # noqa: BLE001 - every broker has its own classes, and none may fail the caller
        logger.warning("%s%r could not be queued (%s); the watchdog will try again", func, args, type(error).__name__)
        return False
    return True
