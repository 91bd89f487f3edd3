"""A run that this process does by itself from start to end. Both management commands use it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from functools import partial

from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.domain.counters import Counts, Found, Totals
from bytemark_sync.log_fields import bind
from bytemark_sync.models import RunStatus, SyncRun
from bytemark_sync.runs import lifecycle
from bytemark_sync.runs.drift import note_drift
from bytemark_sync.runs.engine import Progress, Terms, work
from bytemark_sync.runs.renewal import logins_of
from bytemark_sync.runs.run_rows import RunClosed
from bytemark_sync.runs.strategy import Strategy
from bytemark_sync.runs.writer import DryRunWriter
from bytemark_sync.slack.reporter import report_forgotten, report_run
from bytemark_sync.storage.database_retry import DatabaseGone, RowRefused, explain, retrying
from bytemark_sync.storage.pending import Deferred

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class RunReport:
    """How a run went. `run_id` is None for a dry run, which leaves no trace."""

    run_id: int | None
    status: RunStatus
    totals: Totals
    seconds: float
    error: str = ""
    nothing_to_work: list[str] = field(default_factory=list)
    logins_stopped: str = ""
    """Why nobody was logged in any more; empty where that did not happen."""
    found: Found = field(default_factory=Found)
    """What an audit found, if it went to its end."""


def work_here(
    strategy: Strategy,
    *,
    client_settings: BytemarkSettings,
    workers: int,
    stop: threading.Event,
    dry_run: bool = False,
    requested_by: str = "",
    progress: Progress | None = None,
) -> RunReport:
    """Work the strategy's scope in this process, and close the run with its true status, whatever ends it.

    The report is what the run's row says; a dry run writes nothing. Runs that are found dead, and those that died
    before they reported, are reported to Slack too. Without a cluster nobody else would.
    """
    began = time.monotonic()
    totals, deferred = Totals(), Deferred()
    nothing_to_work: list[str] = []
    run: SyncRun | None = None
    dead: list[int] = []
    error = ""
    try:
        if not dry_run:
            dead = retrying(lifecycle.close_dead_runs)
            run = lifecycle.open_run(strategy.kind, strategy.scope, requested_by=requested_by)
            bind(run=run.pk)
        nothing_to_work = strategy.nothing_to_work()
        logins = logins_of(run, strategy.scope)
        terms = Terms(client_settings, workers, stop, progress=progress, dry_run=dry_run, logins=logins)
        work(strategy.users(deferred), strategy.writer(run, stop) if run else DryRunWriter(), terms, totals)
        totals.orders_deferred = deferred.orders
    except RunClosed as closed:
        error = str(closed)
    except Exception as broken:  # noqa: BLE001 - whatever it is, the run is closed and told
        error = explain(broken)
    status, error = _verdict(totals, error)
    report = RunReport(run.pk if run else None, status, totals, 0.0, error, nothing_to_work)
    if run:
        _close_as_reported(run, report)
        _tell_of_the_dead(dead)
    report.seconds = time.monotonic() - began
    if report.run_id and not report.error:
        report.found = strategy.found(report.run_id)
    name = f"{strategy.kind.label} {report.run_id}" if report.run_id else "dry run" if dry_run else "no run"
    _log(name, report, strategy.words(totals.counts, report.found))
    return report


def _verdict(totals: Totals, error: str) -> tuple[RunStatus, str]:
    """How a run ended, and why it could not go on. `error`: it broke off."""
    since = totals.unanswered_since
    status = lifecycle.verdict(
        totals.counts, stopped=totals.interrupted, broke_off=bool(error), unanswered=since is not None
    )
    return status, error or (lifecycle.unanswered_words(since) if since else "")


def _close_as_reported(run: SyncRun, report: RunReport) -> None:
    """Close the run. Another process may have closed it before: the report then says what the run's row says."""
    row = close(run, report.status, report.error, report.totals)
    if row is not None:
        report.status, report.error, report.logins_stopped = RunStatus(row.status), row.error, row.logins_stopped
        report.totals.counts, report.totals.orders_deferred = Counts.of(row), row.orders_deferred


def close(run: SyncRun, status: RunStatus, error: str, totals: Totals) -> SyncRun | None:
    """Close the run, report it to Slack and return its row. Another process may have closed the run before.

    Waits for a database that is away. If it stays away, the end cannot be written and the result is None: the next run
    then closes this one as dead.
    """
    try:
        retrying(partial(lifecycle.finish, run.pk, status, error=error, orders_deferred=totals.orders_deferred))
        row = retrying(SyncRun.objects.filter(pk=run.pk).first)
    except (DatabaseGone, RowRefused) as gone:
        logger.error("run %s could not be closed; the next run closes it: %s", run.pk, gone)
        return None
    if row is None:
        logger.error("run %s is not in the database any more", run.pk)
        return None
    if row.status != status:
        logger.error("run %s was closed by another process as %s: %s", run.pk, row.status, row.error)
    note_drift(row)
    report_run(row)
    return row


def _tell_of_the_dead(run_ids: list[int]) -> None:
    try:
        for run in retrying(lambda: list(SyncRun.objects.filter(pk__in=run_ids)), patience=5.0):
            report_run(run)
        retrying(report_forgotten, patience=5.0)
    except (DatabaseGone, RowRefused):
        logger.error("dead runs could not be reported; the next run reports them")


def _log(name: str, report: RunReport, words: str) -> None:
    counts = report.totals.counts
    logger.log(
        lifecycle.log_level(report.status),
        "%s %s: %d users, %d failed; %s; %d requests in %.1f s%s",
        name,
        report.status.value,
        counts.users,
        counts.users_failed,
        words,
        counts.api_requests,
        report.seconds,
        f"; {report.error}" if report.error else "",
    )
