"""Cutting a run into batches of user ids, in flat memory, and going on where a dead planner stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import islice
from typing import Any

from django.conf import settings
from django.db.models import F, Max, Q
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from bytemark_sync import audit, batches, runs
from bytemark_sync.broker import PLAN, enqueue
from bytemark_sync.config import bytemark_settings
from bytemark_sync.database import DatabaseAway, explain, in_transaction, retrying
from bytemark_sync.models import OrderOutcome, RunStatus, SyncBatch, SyncRun, Trigger
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.pending import Deferred, is_due, pending_orders, stream
from bytemark_sync.reasons import Reason
from bytemark_sync.scope import AuditScope, Scope
from bytemark_sync.strictness import refuse_cut_values

logger = logging.getLogger(__name__)

NEVER_TRIED = "never_tried"
TIMES = ("first_before", "first_after", "next_after")
FILTERS = frozenset({"reason", "user", *TIMES})


def hand_over(run_id: int) -> bool:
    """Have the run planned by whoever gets the task; False where the broker takes none, and the watchdog tries again.

    One caller alone hands a run over, by setting its empty `planner_at`.
    """
    now = timezone.now()
    mine = SyncRun.objects.filter(pk=run_id, status__in=ALIVE, planned_at=None)
    if not mine.filter(planner_at=None).update(planner_at=now):
        return True
    if enqueue(PLAN, run_id):
        return True
    mine.filter(planner_at=now).update(planner_at=None)
    return False


def plan(run_id: int) -> None:
    """Plan the run to its end, or until this task's time is up, and hand its first batches out.

    A database that is away leaves it to the watchdog; with any other error the run ends behind what was planned.
    """
    try:
        _plan(run_id)
    except DatabaseAway:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the run is closed and told
        words = explain(error)
        logger.error("run %s: planning broke off: %s", run_id, words)
        now = timezone.now()
        planning = SyncRun.objects.filter(pk=run_id, status=RunStatus.RUNNING, planned_at=None)
        retrying(lambda: planning.update(planned_at=now, error=words))
        retrying(lambda: batches.go_on(run_id))


def _plan(run_id: int) -> None:
    retrying(lambda: runs.start(run_id))
    run = retrying(lambda: SyncRun.objects.filter(pk=run_id, status=RunStatus.RUNNING, pid=None).first())
    if run is None or run.planned_at is not None:
        return
    bytemark_settings()  # before any batch is made
    refuse_cut_values()
    deadline = time.monotonic() + batches.time_limit()
    deferred = Deferred()
    cursor = run.planned_user_id
    number = retrying(lambda: run.batches.aggregate(last=Max("number"))["last"] or 0)
    scope = Scope.from_json(run.scope)
    for user_ids in _chunks(_due(scope, run, deferred), settings.SYNC_BATCH_USERS):
        number += 1
        if not _save(run_id, cursor, number, user_ids, deferred):
            logger.info("run %s: planning ends here, it was stopped or goes on elsewhere", run_id)
            break
        cursor = user_ids[-1]
        retrying(lambda: batches.hand_out(run_id))
        if time.monotonic() > deadline:
            _go_on_later(run_id, cursor)
            return
    _planned(run_id, cursor, deferred)
    retrying(lambda: batches.go_on(run_id))


def _save(run_id: int, cursor: int | None, number: int, user_ids: list[int], deferred: Deferred) -> bool:
    """One batch and the new place in one transaction; False when the run was stopped, or another planner is ahead."""

    def save() -> bool:
        now = timezone.now()
        moved = _here(run_id, cursor, stop_requested=False).update(
            planned_user_id=user_ids[-1],
            users_planned=F("users_planned") + len(user_ids),
            orders_deferred=F("orders_deferred") + deferred.orders,
            heartbeat_at=now,
            planner_at=now,
            planning_tries=0,
        )
        if moved:
            SyncBatch.objects.create(run_id=run_id, number=number, user_ids=user_ids)
        return bool(moved)

    saved = in_transaction(save)
    if saved:
        deferred.orders = 0
    return saved


def _go_on_later(run_id: int, cursor: int) -> None:
    retrying(lambda: _here(run_id, cursor).update(planner_at=None))
    hand_over(run_id)


def _planned(run_id: int, cursor: int | None, deferred: Deferred) -> None:
    now = timezone.now()
    growth = F("orders_deferred") + deferred.orders
    retrying(lambda: _here(run_id, cursor).update(planned_at=now, heartbeat_at=now, orders_deferred=growth))


def _here(run_id: int, cursor: int | None, **more: Any) -> Any:
    """The run while it is planned, and planned exactly up to `cursor`."""
    place = {"planned_user_id__isnull": True} if cursor is None else {"planned_user_id": cursor}
    return SyncRun.objects.filter(pk=run_id, status=RunStatus.RUNNING, planned_at=None, **place, **more)


def _due(scope: Scope, run: SyncRun, deferred: Deferred) -> Iterator[int]:
    """User ids still to plan, rising, at most the scope's limit over all planners of the run."""
    if run.trigger == Trigger.AUDIT:
        return audit.audit_users(AuditScope.from_json(run.scope), after_user=run.planned_user_id)
    unlimited = replace(scope, limit=None)
    due = stream(unlimited, now=timezone.now(), deferred=deferred, after_user=run.planned_user_id)
    user_ids: Iterable[int] = (each.pending.user_id for each in due)
    if scope.filters:
        user_ids = _matching(scope.filters, user_ids)
    return islice(user_ids, None if scope.limit is None else max(0, scope.limit - run.users_planned))


def check_filters(filters: Mapping[str, Any]) -> None:
    """ValueError where a filter is not known, or its value cannot be read."""
    unknown = sorted(set(filters) - FILTERS)
    if unknown:
        raise ValueError(f"unknown filter: {', '.join(unknown)}")
    reasons = {reason.value for reason in Reason} | {NEVER_TRIED}
    if bad := sorted(set(_reasons(filters)) - reasons):
        raise ValueError(f"unknown reason: {', '.join(bad)}")
    for name in TIMES:
        if name in filters and parse_datetime(str(filters[name])) is None:
            raise ValueError(f"{name} is no ISO time")


def _matching(filters: Mapping[str, Any], user_ids: Iterable[int]) -> Iterator[int]:
    """Those users of whom a pending order matches."""
    for chunk in _chunks(iter(user_ids), 500):
        matched = retrying(lambda chunk=chunk: _matched(filters, chunk))  # type: ignore[misc]
        yield from (user_id for user_id in chunk if user_id in matched)


def _matched(filters: Mapping[str, Any], user_ids: list[int]) -> set[int]:
    reasons = _reasons(filters)
    outcomes = OrderOutcome.objects.filter(user_id__in=user_ids)
    orders = pending_orders().filter(user_id__in=user_ids)
    if "user" in filters:
        outcomes, orders = outcomes.filter(user_id=int(filters["user"])), orders.filter(user_id=int(filters["user"]))
    dates = Q()
    if "first_before" in filters:
        dates &= Q(first_at__lt=parse_datetime(str(filters["first_before"])))
    if "first_after" in filters:
        dates &= Q(first_at__gte=parse_datetime(str(filters["first_after"])))
    put_off = parse_datetime(str(filters["next_after"])) if "next_after" in filters else None
    if put_off:
        dates &= Q(next_at__gt=put_off)
    matched: set[int] = set()
    if NEVER_TRIED in reasons and not dates:
        untried = orders.filter(outcome__isnull=True)
        matched.update(user_id for user_id in untried.values_list("user_id", flat=True) if user_id is not None)
    told = [reason for reason in reasons if reason != NEVER_TRIED]
    if told or (dates and not reasons):
        query = outcomes.filter(dates, reason__in=told) if told else outcomes.filter(dates)
        matched.update(query.values_list("user_id", flat=True))
    if not reasons and not dates:
        matched.update(user_id for user_id in orders.values_list("user_id", flat=True) if user_id is not None)
    return matched.difference(orders.filter(is_due(put_off)).values_list("user_id", flat=True)) if put_off else matched


def _reasons(filters: Mapping[str, Any]) -> list[str]:
    raw = filters.get("reason", [])
    return [str(raw)] if isinstance(raw, str) else [str(each) for each in raw]


def _chunks(values: Iterator[int], size: int) -> Iterator[list[int]]:
    while chunk := list(islice(values, size)):
        yield chunk
