"""Works the batches of a run side by side (docs/contract.md#queue). What follows the last one is in `closing`.

Every step is one conditional update in the database. Nothing relies on a status that was read earlier.

Only a few batches of a run are in the broker at a time, and each batch that ends hands out the next ones. So a resync
waits for a few batches of the nightly run, not for all of them, and a broker that loses its tasks loses little.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError, InterfaceError
from django.db.models import F, QuerySet, Sum
from django.db.models.functions import Coalesce
from django.utils import timezone

from bytemark_sync.bytemark.outage import Witnesses
from bytemark_sync.domain.counters import Totals, many
from bytemark_sync.log_fields import log_fields
from bytemark_sync.models import BatchStatus, ClusterBeat, RunStatus, SyncBatch, SyncRun
from bytemark_sync.queue import broker, closing
from bytemark_sync.queue.kinds import is_known, strategy_of
from bytemark_sync.runs import lifecycle
from bytemark_sync.runs.bookmarks import pages_read, with_bookmarks
from bytemark_sync.runs.client_settings import bytemark_settings
from bytemark_sync.runs.engine import Terms, work
from bytemark_sync.runs.outage_watch import Known
from bytemark_sync.runs.renewal import logins_of
from bytemark_sync.runs.run_rows import BatchClaim, ClaimLost, RunClosed
from bytemark_sync.storage.database_retry import explain, in_transaction, retrying
from bytemark_sync.storage.pending import Deferred
from bytemark_sync.storage.strict_mode import refuse_cut_values

logger = logging.getLogger(__name__)

MAX_TRIES = 2
"""How often a batch that died is queued again before it is given up (docs/contract.md#queue)."""

MIN_BATCHES_HANDED_OUT = 8


CUT_OFF = "handed back: Bytemark answers other processes, but not this one"

REST_SECONDS = 30.0
"""How long a process that is cut off from Bytemark takes no other batch, and leaves them to other machines."""

_cut_off = threading.Event()
"""Set if Bytemark answered other processes but not this one, when this one last worked a batch."""

_answered: Witnesses = {}
"""Users whom Bytemark answered in this process's batches. In a batch of few users they tell an outage from failures."""


class BrokeOff(Exception):
    """A batch broke off. django-q2 stores and shows this exception's text, so it holds no values and no tokens."""


def time_limit() -> float:
    """Seconds that a task works before it hands back the rest: half the time after which django-q2 kills it."""
    return float(settings.Q_CLUSTER["timeout"]) / 2


def hand_out(run_id: int) -> None:
    """Put the run's next batches into the broker: two for each live worker of all clusters."""
    if not SyncRun.objects.filter(pk=run_id, status=RunStatus.RUNNING, stop_requested=False, gave_up_at=None).exists():
        return
    mine = SyncBatch.objects.filter(run_id=run_id)
    out = mine.filter(status=BatchStatus.RUNNING).count()
    out += mine.filter(status=BatchStatus.QUEUED, queued_at__isnull=False).count()
    room = max(MIN_BATCHES_HANDED_OUT, 2 * _live_workers()) - out
    waiting = mine.filter(status=BatchStatus.QUEUED, queued_at=None).order_by("number")
    for batch_id in list(waiting.values_list("pk", flat=True)[: max(0, room)]):
        free = SyncBatch.objects.filter(pk=batch_id, status=BatchStatus.QUEUED, queued_at=None)
        if free.update(queued_at=timezone.now()) and not broker.work(batch_id, run_id):
            SyncBatch.objects.filter(pk=batch_id, status=BatchStatus.QUEUED).update(queued_at=None)
            return


def _live_workers() -> int:
    return _live_clusters().aggregate(all=Sum("workers"))["all"] or 0


def _live_clusters() -> QuerySet[ClusterBeat]:
    return ClusterBeat.objects.filter(heartbeat_at__gte=timezone.now() - timedelta(minutes=2))


def work_batch(batch_id: int) -> str:
    """Claim the batch and work it. Return what happened, in words.

    A second delivery of the same task finds nothing to do. A newer version's batch is left to that version's clusters.
    """
    with log_fields(batch=batch_id):
        run = retrying(lambda: SyncRun.objects.filter(batches=batch_id).first())
        if run is not None and not is_known(run):
            waiting = SyncBatch.objects.filter(pk=batch_id, status=BatchStatus.QUEUED)
            retrying(lambda: waiting.update(queued_at=None))
            return "handed back: its run is of a newer version"
        claim = retrying(lambda: _claim(batch_id))
        if run is None or claim is None:
            return "nothing to do: the batch is not waiting any more"
        with log_fields(run=run.pk):
            return _work_claimed(run, claim)


def _work_claimed(run: SyncRun, claim: BatchClaim) -> str:
    """Work the batch, end it and go on with its run. Return what happened, in words. Raises `BrokeOff`."""
    began_at_page = pages_read(claim.bookmarks)
    try:
        totals = _work(run, claim)
        ended = _end_batch(claim, totals, got_on=pages_read(claim.bookmarks) > began_at_page)
    except (ClaimLost, RunClosed):
        lives = retrying(SyncRun.objects.filter(pk=run.pk, status=RunStatus.RUNNING).exists)
        ended = "taken over by another worker after a silence" if lives else "its run was closed meanwhile"
    except BaseException as error:
        # django-q2's time limit raises SystemExit about 3 s before the process is killed.
        words = explain(error)
        logger.error("run %s: batch %s broke off: %s", run.pk, claim.batch_id, words)
        with suppress(DatabaseError, InterfaceError):  # if the database is away, the watchdog does it later
            queue_again(_mine(claim), error=words)
            go_on(run.pk)
        if isinstance(error, Exception):
            raise BrokeOff(words) from None
        raise
    retrying(lambda: go_on(run.pk))
    if ended == CUT_OFF:
        time.sleep(REST_SECONDS)
    return ended


def go_on(run_id: int) -> None:
    """Continue a run after anything has happened to it: hand out the next batches, or close it if none are left."""
    with log_fields(run=run_id):
        hand_out(run_id)
        closing.close_if_done(run_id)


def _claim(batch_id: int) -> BatchClaim | None:
    """Take the batch for this worker. None if it is not waiting, or its run has ended or is to stop."""
    alive = SyncRun.objects.filter(batches=batch_id, status=RunStatus.RUNNING, stop_requested=False, gave_up_at=None)
    if not alive.update(heartbeat_at=timezone.now()):
        return None
    worker = uuid.uuid4().hex
    waiting = SyncBatch.objects.filter(pk=batch_id, status=BatchStatus.QUEUED)
    if not waiting.update(status=BatchStatus.RUNNING, worker=worker, heartbeat_at=timezone.now()):
        return None
    user_ids, bookmarks = SyncBatch.objects.values_list("user_ids", "bookmarks").get(pk=batch_id)
    return BatchClaim(batch_id, worker, list(user_ids), dict(bookmarks))


def _work(run: SyncRun, claim: BatchClaim) -> Totals:
    """Work the users that the batch still has, for at most `time_limit` seconds."""
    refuse_cut_values()
    strategy = strategy_of(run)
    stop = threading.Event()
    totals = Totals()
    terms = Terms(
        bytemark_settings(),
        settings.BYTEMARK_WORKERS,
        stop,
        deadline=time.monotonic() + time_limit(),
        known=Known(_cut_off.is_set(), retrying(lambda: _live_clusters().count()) > 1, _answered),
        logins=logins_of(run, strategy.scope),
    )
    users = with_bookmarks(strategy.users(Deferred(), claim), claim.bookmarks)
    work(users, strategy.writer(run, stop, claim), terms, totals)
    if totals.is_cut_off:
        _cut_off.set()
    elif totals.unanswered_since is None and not totals.held:
        _cut_off.clear()
    return totals


def _mine(claim: BatchClaim) -> Any:
    return SyncBatch.objects.filter(pk=claim.batch_id, worker=claim.worker, status=BatchStatus.RUNNING)


def _end_batch(claim: BatchClaim, totals: Totals, *, got_on: bool) -> str:
    """End the batch, or hand it back with the users that were not reached. Return which, in words.

    Handing it back without any progress costs a try. Reading more pages of a user's list is progress (`got_on`).
    """
    if totals.interrupted:
        retrying(lambda: _mine(claim).update(status=BatchStatus.GIVEN_UP, finished_at=timezone.now()))
        return "stopped"
    if totals.unanswered_since is not None:
        return _give_up(claim, lifecycle.unanswered_words(totals.unanswered_since))
    if not totals.unreached:
        end = {"status": BatchStatus.DONE, "finished_at": timezone.now(), "user_ids": [], "bookmarks": {}}
        retrying(lambda: _mine(claim).update(**end))
        return "done"
    if not totals.counts.users and not got_on and not totals.held:
        queue_again(_mine(claim))
    else:
        retrying(lambda: _mine(claim).update(status=BatchStatus.QUEUED, worker="", queued_at=None))
    if totals.is_cut_off:
        return CUT_OFF
    return f"handed back with {many(len(claim.user_ids), 'user')} left"


def _give_up(claim: BatchClaim, words: str) -> str:
    """Give up the batch, the run's waiting batches and its planning, because Bytemark does not answer."""
    now = timezone.now()

    def give_up() -> None:
        run_id = SyncBatch.objects.values_list("run_id", flat=True).get(pk=claim.batch_id)
        if _mine(claim).update(status=BatchStatus.GIVEN_UP, finished_at=now):
            run = SyncRun.objects.filter(pk=run_id, status=RunStatus.RUNNING, gave_up_at=None)
            run.update(gave_up_at=now, error=words, planned_at=Coalesce("planned_at", now))
            waiting = SyncBatch.objects.filter(run_id=run_id, status=BatchStatus.QUEUED)
            waiting.update(status=BatchStatus.GIVEN_UP, finished_at=now)

    in_transaction(give_up)
    return "given up with the run"


def queue_again(one: Any, *, error: str = "") -> str:
    """Queue the batch in `one` again, or give it up after `MAX_TRIES`. `one` is a queryset with the condition.

    Return which, in words, or "" if the condition no longer holds. `error` says why the batch broke off, if known.
    """
    why = {"error": error} if error else {}
    again = one.filter(tries__lt=MAX_TRIES)
    if again.update(status=BatchStatus.QUEUED, worker="", queued_at=None, tries=F("tries") + 1, **why):
        return "queued again"
    over = one.filter(tries__gte=MAX_TRIES)
    if over.update(status=BatchStatus.GIVEN_UP, worker="", finished_at=timezone.now(), **why):
        return "given up"
    return ""
