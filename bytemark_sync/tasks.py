"""The job's doors: what the admin and the command ask for, and what django-q2 calls (CONTRACT: Queue).

Task arguments are ids alone, never a token: django-q2 keeps them as pickles in the broker. A broker that cannot be
reached loses nothing: the run is a row in the database, and the watchdog hands it out again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.utils import timezone
from django_q.tasks import async_task

from bytemark_sync.models import SyncRun, Trigger
from bytemark_sync.models.runs import ALIVE

logger = logging.getLogger(__name__)

PLAN = "bytemark_sync.tasks.plan_run"


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What became of a request: the queued run, and the users that a live resync already has.

    `run` is None when every user asked for is under way already.
    """

    run: SyncRun | None
    users_under_way: tuple[int, ...] = ()


def request_run(
    *,
    trigger: Trigger,
    requested_by: str = "",
    users: Iterable[int] = (),
    orders: Iterable[str] = (),
    filters: Mapping[str, Any] | None = None,
    limit: int | None = None,
    include_deferred: bool = False,
) -> RunRequest:
    """Record a queued run and hand its planning to the cluster once the caller's transaction is committed.

    `filters` is the admin's "all that match this filter", evaluated while planning: `reason` (one `Reason` value or a
    list of them, or `never_tried`), `first_before` and `first_after` (ISO times that bound `OrderOutcome.first_at`),
    `user` (a user id). ValueError names an unknown key. Without users, orders and filters: everything that is due.
    """
    wanted = sorted({int(user) for user in users})
    under_way = _users_under_way(wanted)
    left = [user for user in wanted if user not in under_way]
    order_uuids = sorted({str(uuid).strip() for uuid in orders})
    if wanted and not left and not order_uuids and not filters:
        return RunRequest(None, tuple(sorted(under_way)))
    scope: dict[str, Any] = {}
    if left:
        scope["users"] = left
    if order_uuids:
        scope["orders"] = order_uuids
    if filters:
        scope["filters"] = dict(filters)
    if limit is not None:
        scope["limit"] = limit
    if include_deferred:
        scope["include_deferred"] = True
    run = SyncRun.objects.create(trigger=trigger, requested_by=requested_by[:150], scope=scope)
    transaction.on_commit(lambda: enqueue(PLAN, run.pk))
    return RunRequest(run, tuple(sorted(under_way)))


def _users_under_way(wanted: list[int]) -> set[int]:
    if not wanted:
        return set()
    taken: set[int] = set()
    for scope in SyncRun.objects.filter(status__in=ALIVE, stop_requested=False).values_list("scope", flat=True):
        taken.update(scope.get("users", ()))
    return taken.intersection(wanted)


def request_stop(run_id: int, *, requested_by: str = "") -> bool:
    """Ask a live run to stop; what is fetched is stored. False when the run has ended or was asked before."""
    asked = SyncRun.objects.filter(pk=run_id, status__in=ALIVE, stop_requested=False).update(stop_requested=True)
    if asked:
        logger.info("run %s: stop requested by %s at %s", run_id, requested_by or "nobody named", timezone.now())
    return bool(asked)


def enqueue(func: str, *args: int) -> bool:
    """Hand one task to the broker; False, with a line in the log, when it cannot be reached: the watchdog will."""
    try:
        async_task(func, *args, q_options={"task_name": f"{func.rpartition('.')[2]} {' '.join(map(str, args))}"})
    except Exception as error:  # noqa: BLE001 - every broker has its own classes, and none may fail the caller
        logger.warning("%s%r could not be queued (%s); the watchdog will", func, args, type(error).__name__)
        return False
    return True
