"""Requests by a person or a command to start a run or to stop one. The queue does the rest.

A requested run is first a row in the database, and its tasks carry only its id. So nothing is lost if the broker cannot
be reached: the watchdog hands the run over later.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace

from django.db import transaction
from django.db.models import QuerySet

from bytemark_sync.domain.pending_filter import NO_FILTER, PendingFilter
from bytemark_sync.domain.run_scope import AuditScope, Scope
from bytemark_sync.models import BatchStatus, RunKind, RunStatus, SyncBatch, SyncRun, Trigger
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.queue import closing, planning
from bytemark_sync.queue.kinds import is_known
from bytemark_sync.queue.locks import held

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """The answer to a request: the queued run, and the requested users that another live run already works.

    `run` is None in two cases: all the users are already under way, or the live run `same` has the same filter.
    `waits_for_broker` is True if the broker did not take the task. The watchdog hands the run over once it is back.
    """

    run: SyncRun | None
    users_under_way: tuple[int, ...] = ()
    same: SyncRun | None = None
    waits_for_broker: bool = False


def request_run(
    *,
    trigger: Trigger,
    requested_by: str = "",
    users: Iterable[int] = (),
    orders: Iterable[str] = (),
    filters: PendingFilter = NO_FILTER,
    limit: int | None = None,
    include_deferred: bool = False,
) -> RunRequest:
    """Record a queued run, and have it planned by the cluster once the caller's transaction is committed.

    Without users, orders and filters the run takes everything that is due. `filters` is the admin's "all that match
    this filter" and is evaluated during planning. A request from the admin leaves out users that a live run already
    works, and starts no second run for the same filter. So a second click costs no request to Bytemark.
    """
    wanted = sorted({int(user) for user in users})
    with held("request"):
        taken = under_way(wanted) if trigger == Trigger.ADMIN else {}
        left = tuple(user for user in wanted if user not in taken)
        if wanted and not left:
            return RunRequest(None, tuple(sorted(taken)))
        uuids = tuple(dict.fromkeys(uuid.strip() for uuid in orders))
        scope = Scope(left, uuids, filters, limit, include_deferred)
        if trigger == Trigger.ADMIN and not wanted and (same := _same(scope)):
            return RunRequest(None, same=same)
        run = SyncRun.objects.create(trigger=trigger, requested_by=requested_by[:150], scope=scope.to_json())
        taken_over: list[bool] = []
        transaction.on_commit(lambda: taken_over.append(planning.hand_over(run.pk)))
    return RunRequest(run, tuple(sorted(taken)), waits_for_broker=taken_over == [False])


def request_audit(scope: AuditScope, *, trigger: Trigger = Trigger.COMMAND, requested_by: str = "") -> SyncRun:
    """Record a queued audit and have it planned by the cluster. Its scope holds only ids and dates."""
    run = SyncRun.objects.create(
        kind=RunKind.AUDIT, trigger=trigger, requested_by=requested_by[:150], scope=scope.to_json()
    )
    transaction.on_commit(lambda: planning.hand_over(run.pk))
    return run


def _live() -> QuerySet[SyncRun]:
    return SyncRun.objects.filter(kind=RunKind.SYNC, status__in=ALIVE, stop_requested=False)


def under_way(users: Iterable[int]) -> dict[int, SyncRun]:
    """Those of `users` whose orders will all be worked by a live run, and that run.

    The run names the user. Or it was requested in the admin by a filter, and one of its open batches has the user.
    Runs of some orders only do not count. Nor do runs with a limit that name users: they may leave the user out.
    """
    wanted = set(users)
    whole = [run for run in _live().order_by("pk") if not run.scope.get("orders")]
    named = (run for run in whole if run.scope.get("limit") is None)
    taken = {user: run for run in named for user in wanted.intersection(run.scope.get("users", ()))}
    resyncs = {run.pk: run for run in whole if run.trigger == Trigger.ADMIN and not run.scope.get("users")}
    waiting = SyncBatch.objects.filter(run__in=resyncs, status__in=(BatchStatus.QUEUED, BatchStatus.RUNNING))
    for run_id, user_ids in waiting.values_list("run", "user_ids").iterator(chunk_size=100):
        taken.update((user, resyncs[run_id]) for user in wanted.intersection(user_ids))
    return taken


def _same(scope: Scope) -> SyncRun | None:
    """A live run from the admin with the same filters, if there is one.

    The values of times are not compared, only which are set: they are ages counted back from the minute of the click.
    """
    for run in _live().filter(trigger=Trigger.ADMIN).order_by("pk"):
        if is_known(run) and _without_times(Scope.from_json(run.scope)) == _without_times(scope):
            return run
    return None


def _without_times(scope: Scope) -> Scope:
    return replace(scope, filters=scope.filters.without_times())


def request_stop(run_id: int, *, requested_by: str = "") -> bool:
    """Ask a live run to stop. What it has fetched is still stored. The run keeps the name of whoever asked first.

    False if the run has ended or was asked before.
    """
    alive = SyncRun.objects.filter(pk=run_id, status__in=ALIVE, stop_requested=False)
    if not alive.update(stop_requested=True, stopped_by=requested_by[:150]):
        return False
    logger.info("run %s: %s asked it to stop", run_id, requested_by or "somebody", extra={"run": run_id})
    if SyncRun.objects.filter(pk=run_id, status=RunStatus.QUEUED).exists():
        closing.end(run_id, RunStatus.INTERRUPTED)
    else:
        closing.close_if_done(run_id)
    return True
