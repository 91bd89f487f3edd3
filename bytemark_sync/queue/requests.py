"""Runs that a person or a command asks for, and the wish to stop one; the queue does the rest.

A request is a row in the database first. Tasks carry its id alone, so a broker that cannot be reached loses nothing:
the watchdog hands the run over later.
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
from bytemark_sync.queue import batches, planning
from bytemark_sync.queue.locks import held

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What became of a request: the queued run, and the users that a live resync already has.

    `run` is None when every user asked for is under way already, or when `same` was asked for the very same before.
    `waits_for_broker` where the broker took no task for it: the watchdog hands it over once the broker is back.
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
    """Record a queued run and hand its planning to the cluster once the caller's transaction is committed.

    `filters` is the admin's "all that match this filter", evaluated while planning. Without users, orders and filters:
    everything that is due. Users that a live resync has are left out of a person's request, and so is the same filter
    once more: a second click asks Bytemark nothing.
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
    """Record a queued audit and hand its planning to the cluster; ids and dates are all that it carries."""
    run = SyncRun.objects.create(
        kind=RunKind.AUDIT, trigger=trigger, requested_by=requested_by[:150], scope=scope.to_json()
    )
    transaction.on_commit(lambda: planning.hand_over(run.pk))
    return run


def _live() -> QuerySet[SyncRun]:
    return SyncRun.objects.filter(kind=RunKind.SYNC, status__in=ALIVE, stop_requested=False)


def under_way(users: Iterable[int]) -> dict[int, SyncRun]:
    """Which of `users` a live run is to work with all their orders, and which run that is.

    It names them, or has them in a batch still to be worked where a person asked for it by a filter. A run of some
    orders alone holds nobody up, nor does one whose limit may leave the user out.
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
    """A live run that a person asked for by the same filters; ages are counted to the minute, so by kind alone."""
    for run in _live().filter(trigger=Trigger.ADMIN).order_by("pk"):
        if _without_times(Scope.from_json(run.scope)) == _without_times(scope):
            return run
    return None


def _without_times(scope: Scope) -> Scope:
    return replace(scope, filters=scope.filters.without_times())


def request_stop(run_id: int, *, requested_by: str = "") -> bool:
    """Ask a live run to stop; what is fetched is stored. False when it has ended, or was asked before.

    The run keeps who asked first.
    """
    alive = SyncRun.objects.filter(pk=run_id, status__in=ALIVE, stop_requested=False)
    if not alive.update(stop_requested=True, stopped_by=requested_by[:150]):
        return False
    logger.info("run %s: %s asked it to stop", run_id, requested_by or "somebody")
    if SyncRun.objects.filter(pk=run_id, status=RunStatus.QUEUED).exists():
        batches.end(run_id, RunStatus.INTERRUPTED)
    else:
        batches.close_if_done(run_id)
    return True
