"""Updates of a run's row and its batch's row while it is worked: counts, heartbeats, users still to work.

Each transaction has a number. One that is repeated because the answer to its commit was lost has no effect
(docs/decisions/0014-numbered-writes.md).
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import F
from django.utils import timezone

from bytemark_sync.bytemark.outage import GOOD
from bytemark_sync.bytemark.shape import Shape
from bytemark_sync.bytemark.stats import ApiSample, Histogram
from bytemark_sync.domain.counters import Counts
from bytemark_sync.domain.matching import Bookmark
from bytemark_sync.models import BatchStatus, RunOutage, RunStatus, SyncBatch, SyncRun
from bytemark_sync.runs.bookmarks import Bookmarks, moved
from bytemark_sync.runs.outage_watch import Heard


class ClaimLost(Exception):
    """The batch was queued again and now belongs to another worker. Nothing more may be written for it."""


class RunClosed(Exception):
    """Another process has closed the run, for example as dead. Nothing more may be written for it."""


class WrittenBefore(Exception):
    """The transaction is already in the database: the connection was lost after its commit, before the answer."""


@dataclass(slots=True)
class BatchClaim:
    """A worker's hold on a batch. `user_ids` are the users still to work; the list is written back as users are done.

    `bookmarks` belong to those users whose work has begun.
    """

    batch_id: int
    worker: str
    user_ids: list[int]
    bookmarks: Bookmarks = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """What one transaction achieves: its counts, the orders that it settles, and how far their users then are."""

    counts: Counts = field(default_factory=Counts)
    wanted: Mapping[int, Collection[int]] = field(default_factory=dict)
    """User id -> ids of all the orders that were looked for."""
    settled: Mapping[int, Collection[int]] = field(default_factory=dict)
    done: Collection[int] = ()
    broken_off: Mapping[int, Bookmark] = field(default_factory=dict)


class RunRows:
    """The rows of one run, or of one batch of it.

    Each write also checks the run's row. It sets `stop` once a person has asked for a stop, and raises `RunClosed` if
    the run is closed.
    """

    def __init__(self, run: SyncRun, stop: threading.Event, claim: BatchClaim | None) -> None:
        self._run = run
        self._stop = stop
        self._claim = claim
        kept: SyncRun | SyncBatch = SyncBatch.objects.get(pk=claim.batch_id) if claim else run
        self._answers: dict[str, int] = dict(kept.answers)
        self._latency = Histogram.from_json(kept.latency)
        self._shape = Shape.from_json(kept.shape)
        self._shape_grew = False
        self._writes = kept.writes
        self._was_answered = False

    def add(self, sample: ApiSample) -> None:
        """Add requests to the figures that the next write stores."""
        self._answers = {
            kind: self._answers.get(kind, 0) + sample.answers.get(kind, 0) for kind in {*self._answers, *sample.answers}
        }
        self._latency.merge(sample.latency)
        if sample.shape.answers:
            self._shape.merge(sample.shape)
            self._shape_grew = True
        self._was_answered = self._was_answered or bool(GOOD & sample.answers.keys())

    def beat(self) -> None:
        """Write a heartbeat. Raises `ClaimLost` and `RunClosed`."""
        self._write(Step(), self._writes)

    def write(self, step: Step) -> None:
        """Write `step` within its transaction. Raises what `beat` does, and `WrittenBefore`."""
        self._write(step, self._writes + 1)

    def committed(self) -> None:
        """The transaction of the last `write` is in the database."""
        self._writes += 1
        self._shape_grew = False
        self._was_answered = False

    def heard(self) -> Heard:
        """Over all processes of the run."""
        row = SyncRun.objects.filter(pk=self._run.pk).values_list("answered_at", "silent_since").first()
        return Heard(*row) if row else Heard()

    def silent(self, since: datetime) -> None:
        """Note an outage, if none is noted yet, within a transaction. The next good answer of any process ends it.

        One that seemed to have ended after `since` goes on: what ended it was an answer from before, written late.
        """
        run = SyncRun.objects.filter(pk=self._run.pk, status=RunStatus.RUNNING, silent_since=None)
        if not run.update(silent_since=since):
            return
        if not RunOutage.objects.filter(run_id=self._run.pk, ended_at__gt=since).update(ended_at=None):
            RunOutage.objects.create(run_id=self._run.pk, began_at=since)

    def _write(self, step: Step, number: int) -> None:
        """Batch first, run last: workers share the run's row, so its lock is held for the shortest time."""
        now = timezone.now()
        api: dict[str, Any] = {"answers": self._answers, "latency": self._latency.to_json(), "writes": number}
        if self._shape_grew:
            api["shape"] = self._shape.to_json()
        if self._claim:
            self._write_batch(self._claim, step, {"heartbeat_at": now, **api})
            api = {}
        growth = {name: F(name) + count for name, count in step.counts.as_dict().items() if count}
        answers = {"answered_at": now, "silent_since": None} if self._was_answered else {}
        self._write_run({**growth, "heartbeat_at": now, **answers, **api}, number)

    def _write_batch(self, claim: BatchClaim, step: Step, values: dict[str, Any]) -> None:
        left = [user_id for user_id in claim.user_ids if user_id not in step.done]
        bookmarks = moved(
            claim.bookmarks, wanted=step.wanted, settled=step.settled, broken_off=step.broken_off, done=step.done
        )
        mine = SyncBatch.objects.filter(pk=claim.batch_id, worker=claim.worker, status=BatchStatus.RUNNING)
        if not mine.filter(writes=self._writes).update(user_ids=left, bookmarks=bookmarks, **values):
            raise WrittenBefore if mine.filter(writes=values["writes"]).exists() else ClaimLost
        claim.user_ids, claim.bookmarks = left, bookmarks

    def _write_run(self, values: dict[str, Any], number: int) -> None:
        """One statement if the row is as expected. Only if it is not, the row is read to find out why.

        A good answer in an outage is not as expected, whichever process has noted the outage: it ends it.
        """
        run = SyncRun.objects.filter(pk=self._run.pk)
        mine = {} if self._claim else {"writes": self._writes}
        calm = {"silent_since": None} if self._was_answered else {}
        if run.filter(status=RunStatus.RUNNING, stop_requested=False, **mine, **calm).update(**values):
            return
        row = run.only("status", "stop_requested", "writes").first()
        if row is None:  # a crashed server has lost the row; nobody has closed the run
            return
        if not self._claim and row.writes == number > self._writes:
            raise WrittenBefore
        if not run.filter(status=RunStatus.RUNNING).update(**values):
            raise RunClosed("the run was closed by another process")
        if self._was_answered:
            RunOutage.objects.filter(run_id=self._run.pk, ended_at=None).update(ended_at=values["answered_at"])
        if row.stop_requested:
            self._stop.set()
