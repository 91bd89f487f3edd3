"""Compares the shape of an ended run's answers with that of an earlier run (docs/contract.md#drift)."""

from __future__ import annotations

import logging
from functools import partial

from django.db.models import QuerySet

from bytemark_sync.bytemark.shape import Shape
from bytemark_sync.domain.drift import Change, compare, is_comparable
from bytemark_sync.models import SyncRun
from bytemark_sync.storage.database_retry import DatabaseGone, RowRefused, retrying

logger = logging.getLogger(__name__)

MAX_RUNS_LOOKED_AT = 50
PATIENCE_SECONDS = 5.0


def note_drift(run: SyncRun) -> None:
    """Write on the run what has changed since the last run of all that was due. Each change says if it was told before.

    The run is closed already, so a database error costs only the comparison.
    """
    try:
        retrying(partial(_note, run), patience=PATIENCE_SECONDS)
    except (DatabaseGone, RowRefused) as error:
        logger.error("run %s: its answers' shape could not be compared with an earlier run's: %s", run.pk, error)


def _note(run: SyncRun) -> None:
    now = Shape.from_json(run.shape)
    earlier = SyncRun.objects.filter(pk__lt=run.pk, finished_at__isnull=False).order_by("-pk")
    measure = _last_whole(earlier) if is_comparable(now) else None
    changes = compare(measure[1], now) if measure else []
    if not measure or not changes:
        return
    drifts = earlier.filter(pk__gt=measure[0]).values_list("drift", flat=True)[:MAX_RUNS_LOOKED_AT]
    told = {Change.from_json(each) for drift in drifts for each in drift.get("changes", ())}
    run.drift = {
        "since_run": measure[0],
        "changes": [each.to_json() | {"is_told": each in told} for each in changes],
    }
    SyncRun.objects.filter(pk=run.pk).update(drift=run.drift)


def _last_whole(earlier: QuerySet[SyncRun]) -> tuple[int, Shape] | None:
    """The last run of all that was due with enough answers to compare with."""
    for pk, kept in earlier.filter(whole=True).values_list("pk", "shape")[:MAX_RUNS_LOOKED_AT]:
        shape = Shape.from_json(kept)
        if is_comparable(shape):
            return pk, shape
    return None
