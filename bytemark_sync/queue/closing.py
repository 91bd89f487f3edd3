"""Closes a run after its last batch, adds up its batches' figures and reports it (docs/contract.md#queue).

Like every step of a run, its end is one conditional update: exactly one caller closes it.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

from django.db import transaction
from django.utils import timezone

from bytemark_sync.bytemark.shape import Shape
from bytemark_sync.bytemark.stats import Histogram
from bytemark_sync.domain.counters import Counts, many
from bytemark_sync.log_fields import log_fields
from bytemark_sync.models import BatchStatus, RunKind, RunStatus, SyncBatch, SyncRun
from bytemark_sync.queue.kinds import strategy_of
from bytemark_sync.runs import lifecycle
from bytemark_sync.runs.drift import note_drift
from bytemark_sync.slack import reporter
from bytemark_sync.storage.database_retry import explain, in_transaction

logger = logging.getLogger(__name__)


def close_if_done(run_id: int) -> bool:
    """Close and report a run that is fully planned and has no open batches. True only for the caller that did it."""
    run = SyncRun.objects.filter(pk=run_id, status=RunStatus.RUNNING, planned_at__isnull=False, pid=None).first()
    if run is None:
        return False
    batches = SyncBatch.objects.filter(run_id=run_id)
    if run.stop_requested or run.gave_up_at:
        waiting = batches.filter(status=BatchStatus.QUEUED)
        waiting.update(status=BatchStatus.GIVEN_UP, finished_at=timezone.now())
    if batches.filter(status__in=(BatchStatus.QUEUED, BatchStatus.RUNNING)).exists():
        return False
    run.refresh_from_db()  # no batch is open any more, so the counts are now final
    given_up = _given_up(batches)
    status = lifecycle.verdict(
        Counts.of(run),
        stopped=run.stop_requested,
        broke_off=bool(run.error) and not run.gave_up_at,  # planning could not go on
        unanswered=run.gave_up_at is not None,
        batches_given_up=bool(given_up),
    )
    error = "" if run.stop_requested else f"{run.error} {given_up}".strip()
    return end(run_id, status, error=error)


def _given_up(batches: Any) -> str:
    """How many of a run's batches were given up, and why the last of them broke off. "" if none were."""
    given_up = batches.filter(status=BatchStatus.GIVEN_UP)
    missed = [len(user_ids) for user_ids in given_up.values_list("user_ids", flat=True).iterator()]
    if not missed:
        return ""
    words = f"{len(missed)} of {many(batches.count(), 'batch', 'batches')} given up;"
    words += f" {many(sum(missed), 'user')} not reached, whose orders stay pending."
    why = given_up.exclude(error="").order_by("-finished_at").values_list("error", flat=True).first()
    return f"{words} The last one broke off: {why}" if why else words


def end(run_id: int, status: RunStatus, *, error: str = "") -> bool:
    """Close the run, add up its batches' API figures and report it. True only for the caller that closed it."""

    def close() -> bool:
        with transaction.atomic():
            closed = lifecycle.finish(run_id, status, error=error)
            if closed:
                # Batches are open here only if the run ends early. Their workers lose the claim and store no more.
                left = SyncBatch.objects.filter(run_id=run_id, status__in=(BatchStatus.QUEUED, BatchStatus.RUNNING))
                left.update(status=BatchStatus.GIVEN_UP, worker="", finished_at=timezone.now())
                SyncBatch.objects.filter(run_id=run_id, status=BatchStatus.GIVEN_UP).update(bookmarks={})
                SyncRun.objects.filter(pk=run_id).update(**_api(run_id))
            return closed

    with log_fields(run=run_id):
        closed = in_transaction(close)
        if closed:
            run = SyncRun.objects.get(pk=run_id)
            note_drift(run)
            reporter.report_run(run)
            _log_end(run)
    return closed


def _log_end(run: SyncRun) -> None:
    """Log the result in the words of the run's kind. Never raises: the run is closed and reported already."""
    try:
        strategy = strategy_of(run)
        words = strategy.words(Counts.of(run), strategy.found(run.pk))
    except Exception as error:  # noqa: BLE001 - the findings cannot be counted, or the scope cannot be read
        words = f"no result: {explain(error)}"
    name = RunKind(run.kind).label
    values = (name, run.pk, run.status, run.users, run.users_failed, words)
    logger.log(lifecycle.log_level(run.status), "%s %s %s: %d users, %d failed; %s", *values)


def _api(run_id: int) -> dict[str, Any]:
    """The number of requests by kind of answer, the latency histogram and the answers' shape, over all batches."""
    answers: Counter[str] = Counter()
    latency = Histogram()
    shape = Shape()
    rows = SyncBatch.objects.filter(run_id=run_id).values_list("answers", "latency", "shape")
    for batch_answers, batch_latency, batch_shape in rows.iterator(chunk_size=500):
        answers.update(batch_answers)
        latency.merge(Histogram.from_json(batch_latency))
        shape.merge(Shape.from_json(batch_shape))
    return {"answers": dict(answers), "latency": latency.to_json(), "shape": shape.to_json()}
