"""A run that this process works by itself, from opening to closing: the door of `manage.py sync_order_items`."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field

from django.utils import timezone

from bytemark_sync import runs
from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.database import DatabaseGone, RowRefused, explain, retrying
from bytemark_sync.matching import normalise
from bytemark_sync.models import RunStatus, SyncRun, Trigger
from bytemark_sync.pending import Deferred, stream, users_named_by, users_with_pending
from bytemark_sync.recorder import DryRecorder, Recorder
from bytemark_sync.scope import Scope
from bytemark_sync.slack import report_forgotten, report_run
from bytemark_sync.sync import Progress, Records, work
from bytemark_sync.totals import Totals

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RunReport:
    """How a run went; `run_id` is None for a dry run, which leaves no trace."""

    run_id: int | None
    status: RunStatus
    totals: Totals
    seconds: float
    error: str = ""
    nothing_pending: list[str] = field(default_factory=list)


def sync_here(
    scope: Scope,
    *,
    client_settings: BytemarkSettings,
    workers: int,
    stop: threading.Event,
    dry_run: bool = False,
    requested_by: str = "",
    progress: Progress | None = None,
) -> RunReport:
    """Work `scope` in this process and close the run truthfully, whatever ends it."""
    began = time.monotonic()
    totals = Totals()
    run: SyncRun | None = None
    idle: list[str] = []
    dead: list[int] = []
    error = ""
    try:
        idle = nothing_pending(scope)
        if not dry_run:
            dead = retrying(runs.close_dead_runs)
            run = retrying(lambda: runs.open_run(Trigger.COMMAND, scope, requested_by=requested_by))
        recorder: Records = Recorder(run) if run else DryRecorder()
        deferred = Deferred()
        users = stream(scope, now=timezone.now(), deferred=deferred)
        work(
            users,
            recorder,
            client_settings=client_settings,
            workers=workers,
            stop=stop,
            totals=totals,
            progress=progress,
        )
        totals.orders_deferred = deferred.orders
    except Exception as broken:  # noqa: BLE001 - whatever it is, the run is closed and told
        error = explain(broken)
    status = status_of(totals, error)
    if run:
        close(run, status, error, totals)
        _tell_of_the_dead(dead)
    seconds = time.monotonic() - began
    name = f"run {run.pk}" if run else "dry run" if dry_run else "no run"
    _log(name, status, totals, seconds, error)
    return RunReport(run.pk if run else None, status, totals, seconds, error, idle)


def status_of(totals: Totals, error: str) -> RunStatus:
    """How a run of one process ended; `error` where it could not go on."""
    counts = totals.counts
    if error:
        return RunStatus.PARTIAL if counts.orders_synced else RunStatus.FAILED
    if totals.interrupted:
        return RunStatus.INTERRUPTED
    return runs.verdict(users=counts.users, users_failed=counts.users_failed, orders_synced=counts.orders_synced)


def close(run: SyncRun, status: RunStatus, error: str, totals: Totals) -> None:
    """Waits for a database that is away; one that stays away cannot take the end: the next run closes this as dead."""
    deferred = totals.orders_deferred
    try:
        retrying(lambda: SyncRun.objects.filter(pk=run.pk).update(orders_deferred=deferred))
        if retrying(lambda: runs.finish(run.pk, status, error=error)):
            report_run(retrying(lambda: SyncRun.objects.get(pk=run.pk)))
    except (DatabaseGone, RowRefused) as gone:
        logger.error("run %s could not be closed; the next run closes it: %s", run.pk, gone)


def _tell_of_the_dead(run_ids: list[int]) -> None:
    """Runs that this one found dead, and those that died before they told: without a cluster nobody else would."""
    try:
        for run in retrying(lambda: list(SyncRun.objects.filter(pk__in=run_ids)), patience=5.0):
            report_run(run)
        retrying(report_forgotten, patience=5.0)
    except (DatabaseGone, RowRefused):
        logger.error("dead runs could not be reported; the next run reports them")


def nothing_pending(scope: Scope) -> list[str]:
    """Named users and orders that have nothing pending, in words."""
    users = users_with_pending(scope.users) if scope.users else set()
    named = users_named_by(scope.orders) if scope.orders else {}
    words = [f"user {user_id}" for user_id in scope.users if user_id not in users]
    return words + [f"order {uuid}" for uuid in scope.orders if normalise(uuid) not in named]


def _log(name: str, status: RunStatus, totals: Totals, seconds: float, error: str) -> None:
    counts = totals.counts
    logger.info(
        "%s %s: %d users, %d failed; %d of %d orders synced, %d items; %d requests in %.1f s%s",
        name,
        status.value,
        counts.users,
        counts.users_failed,
        counts.orders_synced,
        counts.orders,
        counts.items_created,
        counts.api_requests,
        seconds,
        f"; {error}" if error else "",
    )
