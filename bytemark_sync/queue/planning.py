"""Cuts a run into batches of user ids, in flat memory. If a planner dies, the next one continues where it stopped."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.db.models import F, Max
from django.utils import timezone

from bytemark_sync.domain.run_scope import Scope
from bytemark_sync.log_fields import log_fields
from bytemark_sync.models import RunStatus, SyncBatch, SyncRun
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.queue import batches, broker
from bytemark_sync.queue.kinds import is_known, strategy_of
from bytemark_sync.runs import lifecycle
from bytemark_sync.runs.client_settings import bytemark_settings
from bytemark_sync.storage.database_retry import DatabaseAway, explain, in_transaction, retrying
from bytemark_sync.storage.keyset import IDS_PER_QUERY, chunks
from bytemark_sync.storage.pending import Deferred, ReadUpTo, users_matching
from bytemark_sync.storage.strict_mode import refuse_cut_values

logger = logging.getLogger(__name__)


class _Step(NamedTuple):
    """A batch of `user_ids`, possibly none. Once it is saved, everything is planned up to the user `up_to`."""

    user_ids: list[int]
    up_to: int | None


def hand_over(run_id: int) -> bool:
    """Queue the task that plans the run. False if the broker or the database is away.

    Nothing is lost then: the run has a row in the database, and the watchdog tries again. Only one caller hands a run
    over: the one that sets its empty `planner_at`.
    """
    now = timezone.now()
    mine = SyncRun.objects.filter(pk=run_id, status__in=ALIVE, planned_at=None)
    with suppress(DatabaseError, InterfaceError):
        if not mine.filter(planner_at=None).update(planner_at=now) or broker.plan(run_id):
            return True
        mine.filter(planner_at=now).update(planner_at=None)
    return False


def plan(run_id: int) -> None:
    """Plan the run to its end, or until this task's time is up, and hand out its first batches.

    If the database is away, the watchdog has the planning continued later. After any other error the run works only
    what was planned before it, and keeps the error. A newer version's run is left to that version's clusters.
    """
    run = retrying(lambda: SyncRun.objects.filter(pk=run_id).first())
    with log_fields(run=run_id):
        if run is not None and not is_known(run):
            logger.warning("run %s is of a newer version: it waits for a cluster of that version", run_id)
            retrying(lambda: SyncRun.objects.filter(pk=run_id, planned_at=None).update(planner_at=None))
            return
        try:
            _plan(run_id)
        except DatabaseAway:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the run must be closed and reported
            words = explain(error)
            logger.error("run %s: planning broke off: %s", run_id, words)
            now = timezone.now()
            planning = SyncRun.objects.filter(pk=run_id, status=RunStatus.RUNNING, planned_at=None)
            retrying(lambda: planning.update(planned_at=now, error=words))
            retrying(lambda: batches.go_on(run_id))


def _plan(run_id: int) -> None:
    retrying(lambda: lifecycle.start(run_id))
    run = retrying(lambda: SyncRun.objects.filter(pk=run_id, status=RunStatus.RUNNING, pid=None).first())
    if run is None or run.planned_at is not None:
        return
    bytemark_settings()  # raises for unusable settings before any batch is made
    refuse_cut_values()
    deadline = time.monotonic() + batches.time_limit()
    deferred = Deferred()
    cursor = run.planned_user_id
    number = retrying(lambda: run.batches.aggregate(last=Max("number"))["last"] or 0)
    read = _due(run, deferred)
    for step in _steps(read, cursor, deadline):
        number += bool(step.user_ids)
        if not _save(run_id, cursor, number, step, deferred):
            logger.info("run %s: planning ends here: the run was stopped, or another process plans it", run_id)
            break
        if step.up_to == cursor:
            continue
        cursor = step.up_to
        if step.user_ids:
            retrying(lambda: batches.hand_out(run_id))
        if time.monotonic() > deadline:
            _go_on_later(run_id, cursor)
            return
    _planned(run_id, cursor, deferred)
    retrying(lambda: batches.go_on(run_id))


def _steps(read: Iterator[int | ReadUpTo], cursor: int | None, deadline: float) -> Iterator[_Step]:
    """Cut what was read into batches. Each group of orders that was read also gives a step, which gives a heartbeat.

    A step without users moves `up_to` forward only while no users wait for their batch to fill. Users that wait when
    time is up become a batch.
    """
    waiting: list[int] = []
    up_to = cursor
    for each in read:
        at_group_end = isinstance(each, ReadUpTo)
        if isinstance(each, ReadUpTo):
            up_to = each.user_id
        else:
            up_to = each
            waiting.append(each)
        full = len(waiting) == settings.SYNC_BATCH_USERS
        if full or (at_group_end and (not waiting or time.monotonic() > deadline)):
            yield _Step(waiting, up_to)
            waiting, cursor = [], up_to
        elif at_group_end:
            yield _Step([], cursor)
    if waiting:
        yield _Step(waiting, up_to)


def _save(run_id: int, cursor: int | None, number: int, step: _Step, deferred: Deferred) -> bool:
    """Save the batch and how far planning has come, in one transaction.

    False if the run was stopped or another planner is ahead. A step that does not move forward is only a heartbeat.
    """

    def save() -> bool:
        now = timezone.now()
        here = _here(run_id, cursor, stop_requested=False)
        if step.up_to == cursor:
            return bool(here.update(heartbeat_at=now, planner_at=now))
        moved = here.update(
            planned_user_id=step.up_to,
            users_planned=F("users_planned") + len(step.user_ids),
            orders_deferred=F("orders_deferred") + deferred.orders,
            heartbeat_at=now,
            planner_at=now,
            planning_tries=0,
        )
        if moved and step.user_ids:
            SyncBatch.objects.create(run_id=run_id, number=number, user_ids=step.user_ids)
        return bool(moved)

    saved = in_transaction(save)
    if saved and step.up_to != cursor:
        deferred.orders = 0
    return saved


def _go_on_later(run_id: int, cursor: int | None) -> None:
    retrying(lambda: _here(run_id, cursor).update(planner_at=None))
    hand_over(run_id)


def _planned(run_id: int, cursor: int | None, deferred: Deferred) -> None:
    now = timezone.now()
    growth = F("orders_deferred") + deferred.orders
    retrying(lambda: _here(run_id, cursor).update(planned_at=now, heartbeat_at=now, orders_deferred=growth))


def _here(run_id: int, cursor: int | None, **more: Any) -> Any:
    """The run, if it is still being planned and is planned exactly up to `cursor`."""
    place = {"planned_user_id__isnull": True} if cursor is None else {"planned_user_id": cursor}
    return SyncRun.objects.filter(pk=run_id, status=RunStatus.RUNNING, planned_at=None, **place, **more)


def _due(run: SyncRun, deferred: Deferred) -> Iterator[int | ReadUpTo]:
    """The user ids still to plan, rising, with the ends of groups. All planners of a run share the scope's limit."""
    read = strategy_of(run).user_ids(deferred, after=run.planned_user_id)
    scope = Scope.from_json(run.scope)  # an audit's scope has neither filters nor a limit
    if scope.filters:
        read = _matching(scope, read)
    return read if scope.limit is None else _at_most(scope.limit - run.users_planned, read)


def _at_most(users: int, read: Iterator[int | ReadUpTo]) -> Iterator[int | ReadUpTo]:
    """What was read, cut off after `users` users."""
    while users > 0 and (each := next(read, None)) is not None:
        users -= not isinstance(each, ReadUpTo)
        yield each


def _matching(scope: Scope, read: Iterator[int | ReadUpTo]) -> Iterator[int | ReadUpTo]:
    """Only the users with a pending order that matches the scope's filters, one group at a time."""
    group: list[int] = []
    for each in read:
        if not isinstance(each, ReadUpTo):
            group.append(each)
            continue
        for chunk in chunks(group, IDS_PER_QUERY):
            matched = users_matching(scope.filters, chunk, scope.orders)
            yield from (user_id for user_id in chunk if user_id in matched)
        group = []
        yield each
