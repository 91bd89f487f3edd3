"""Deletes old rows, few at a time so that no lock is held for long (`SYNC_RETENTION_DAYS`, docs/contract.md#settings).

Rows that say when an order was stored are kept for good. There is one an order, and the portal keeps its orders too.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.conf import settings
from django.db.models import F, Model, Q, QuerySet
from django_q.models import Task

from bytemark_sync.models import (
    AuditFinding,
    LimitedMinute,
    OrderAttempt,
    OrderOutcome,
    RunOutage,
    StoredOrder,
    SyncBatch,
    SyncRun,
)
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.storage.database_retry import in_transaction
from bytemark_sync.storage.pending import still_pending

logger = logging.getLogger(__name__)

ROWS_PER_DELETE = 1000
LOGINS: tuple[type[Model], ...] = (AccessLog, AccessAttempt, AccessFailureLog)


def prune(now: datetime) -> dict[str, int]:
    """Delete what is older than `SYNC_RETENTION_DAYS` at `now`. Returns the number of rows of each kind."""
    before = now - timedelta(days=settings.SYNC_RETENTION_DAYS)
    deleted = {
        "runs": sum(_delete_run(run_id) for run_id in _old_runs(before)),
        "attempts": _delete(OrderAttempt.objects.filter(at__lt=before)),
        "outcomes": _delete_gone_outcomes(),
        "task results": _delete(Task.objects.filter(stopped__lt=before)),
        "limited minutes": _add_up_minutes(before),
        "logins": sum(_delete(model._default_manager.filter(attempt_time__lt=before)) for model in LOGINS),
    }
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    logger.info("pruned: deleted %s", ", ".join(f"{count} {name}" for name, count in deleted.items()))
    return deleted


def _old_runs(before: datetime) -> list[int]:
    old = SyncRun.objects.exclude(status__in=ALIVE).filter(Q(finished_at__lt=before) | Q(created_at__lt=before))
    return list(old.order_by("pk").values_list("pk", flat=True))


def _delete_run(run_id: int) -> int:
    """Change rows that refer to the run first, in slices. Django would update a million of them in one statement."""
    for model in (OrderAttempt, StoredOrder):
        for keys in _keys(model._default_manager.filter(run_id=run_id)):
            model._default_manager.filter(pk__in=keys).update(run=None)
    for keys in _keys(OrderOutcome.objects.filter(last_run_id=run_id)):
        OrderOutcome.objects.filter(pk__in=keys).update(last_run=None)
    _delete(SyncBatch.objects.filter(run_id=run_id))
    _delete(AuditFinding.objects.filter(run_id=run_id))
    _delete(RunOutage.objects.filter(run_id=run_id))
    return SyncRun.objects.filter(pk=run_id).delete()[1].get("bytemark_sync.SyncRun", 0)


def _add_up_minutes(before: datetime) -> int:
    """Old minutes go into one row, for the sum of all refusals is a counter of `/metrics` and must never fall."""
    old = LimitedMinute.objects.filter(minute__lt=before).exclude(source="")
    return sum(in_transaction(partial(_add_up, keys)) for keys in _keys(old))


def _add_up(keys: list[int]) -> int:
    rows = list(LimitedMinute.objects.select_for_update().filter(pk__in=keys).values_list("requests", "refused"))
    sums = {"requests": sum(row[0] for row in rows), "refused": sum(row[1] for row in rows)}
    growth = {name: F(name) + count for name, count in sums.items()}
    if not LimitedMinute.objects.filter(source="").update(**growth):
        LimitedMinute.objects.create(source="", minute=datetime.fromtimestamp(0, UTC), **sums)
    LimitedMinute.objects.filter(pk__in=keys).delete()
    return len(rows)


def _delete_gone_outcomes() -> int:
    """Rows of orders that are no longer pending: stored by anyone, paid, deleted, or without a user."""
    deleted, after = 0, None
    while True:
        page = OrderOutcome.objects.order_by("pk")
        if after is not None:
            page = page.filter(pk__gt=after)
        keys = list(page.values_list("pk", flat=True)[:ROWS_PER_DELETE])
        if not keys:
            return deleted
        over = OrderOutcome.objects.filter(~still_pending(), pk__in=keys)
        deleted += _delete_keys(OrderOutcome, list(over.values_list("pk", flat=True)))
        after = keys[-1]


def _delete(rows: QuerySet[Any]) -> int:
    return sum(_delete_keys(rows.model, keys) for keys in _keys(rows))


def _delete_keys(model: type[Model], keys: list[Any]) -> int:
    if not keys:
        return 0
    return model._default_manager.filter(pk__in=keys).delete()[0]


def _keys(rows: QuerySet[Any]) -> Iterator[list[Any]]:
    """Keys of the rows that are left, a slice at a time. The caller must remove each slice from `rows`."""
    while keys := list(rows.order_by("pk").values_list("pk", flat=True)[:ROWS_PER_DELETE]):
        yield keys
