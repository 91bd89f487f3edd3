"""The only place that hands tasks to django-q2. Arguments are only ids, because the broker keeps them as pickles."""

from __future__ import annotations

import logging
import threading
import time

from django_q.brokers import get_broker
from django_q.conf import Conf
from django_q.tasks import async_task

from bytemark_sync.log_fields import log_fields

logger = logging.getLogger(__name__)

PLAN = "bytemark_sync.tasks.plan_run"
BATCH = "bytemark_sync.tasks.sync_batch"

AWAY = "The broker (Redis) cannot be reached"
ASKED_FOR = 5.0
"""Seconds for which the broker's answer is cached, so that pages and monitors do not ask it all the time."""
PATIENCE_SECONDS = 1.0
"""Seconds to connect, and the same again for the answer, after which the broker counts as unreachable."""
_lock = threading.Lock()
_answer: tuple[float, bool] | None = None


def plan(run_id: int) -> bool:
    """Have the run planned; as `_enqueue`."""
    with log_fields(run=run_id):
        return _enqueue(PLAN, run_id, f"plan_run {run_id}")


def work(batch_id: int, run_id: int) -> bool:
    """Have the run's batch worked; as `_enqueue`."""
    with log_fields(run=run_id, batch=batch_id):
        return _enqueue(BATCH, batch_id, f"sync_batch {batch_id} of run {run_id}")


def _enqueue(func: str, key: int, name: str) -> bool:
    """Hand one task over. False, with a line in the log, if the broker cannot be reached; the watchdog tries later."""
    try:
        async_task(func, key, q_options={"task_name": name})
    except Exception as error:  # noqa: BLE001 - every broker has its own classes, and none may fail the caller
        logger.warning("%s could not be queued (%s); the watchdog will try again", name, type(error).__name__)
        return False
    return True


def is_away() -> bool:
    """Whether this process cannot reach Redis. False if the database is the broker; it is checked anyway."""
    global _answer
    with _lock:
        if _answer is None or time.monotonic() >= _answer[0]:
            away = _cannot_be_reached()
            _answer = (time.monotonic() + ASKED_FOR, away)
        return _answer[1]


def _cannot_be_reached() -> bool:
    if Conf.ORM:
        return False
    from redis.exceptions import RedisError  # costs 100 ms that a process without Redis does not need

    connection = get_broker().connection
    connection.connection_pool.connection_kwargs.update(
        socket_connect_timeout=PATIENCE_SECONDS, socket_timeout=PATIENCE_SECONDS
    )
    try:
        return not connection.ping()
    except (RedisError, OSError):
        return True
    finally:
        connection.close()
