"""Writes what a run comes to: items, outcomes and counts together, each time in one transaction.

So the counts are exact even where the process is killed, and a batch that is queued again goes on with the users left
(docs/decisions/0014-numbered-writes.md).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from django.db.models import F
from django.utils import timezone

from bytemark_sync.bytemark.stats import ApiSample, Histogram
from bytemark_sync.database import RowRefused, in_transaction, retrying
from bytemark_sync.matching import LeftOrder, UserResult
from bytemark_sync.models import BatchStatus, RunStatus, SyncBatch, SyncRun
from bytemark_sync.pending import DueUser
from bytemark_sync.reasons import Reason
from bytemark_sync.storing import Finding, Written, write
from bytemark_sync.totals import Counts, Flushed

ORDERS_A_TRANSACTION = 2000


class ClaimLost(Exception):
    """The batch was queued again and belongs to another worker now; nothing more may be written for it."""


class RunClosed(Exception):
    """Somebody else has closed the run, as dead for example; nothing more may be written for it."""


class _WrittenBefore(Exception):
    """The transaction is in the database already: the connection was lost after its commit, before the answer."""


@dataclass(frozen=True, slots=True)
class Worked:
    """A user with what the pages gave."""

    due: DueUser
    result: UserResult


@dataclass(slots=True)
class _Last:
    """What goes into the last transaction of a flush: the users themselves, now that all their orders are written."""

    worked: Sequence[Worked]
    sample: ApiSample
    refused: set[int] = field(default_factory=set)
    """Users of whom the database refused an order: they have failed, though Bytemark did its part."""

    def counts(self) -> Counts:
        return _users(self.worked, self.sample, self.refused)

    def done(self) -> list[int]:
        return [each.due.pending.user_id for each in self.worked if not each.result.interrupted]


@dataclass(slots=True)
class BatchClaim:
    """A worker's hold on a queued batch; `user_ids` are those still to work, written back as they are done."""

    batch_id: int
    worker: str
    user_ids: list[int]


class Recorder:
    """For one run, or for one batch of it.

    Each transaction and each sign of life looks at the run's row too: `stop` is set once a person asked for that, and
    a run that is closed ends the work with `RunClosed`.
    """

    def __init__(self, run: SyncRun, stop: threading.Event, claim: BatchClaim | None = None) -> None:
        self._run = run
        self._stop = stop
        self._claim = claim
        kept: SyncRun | SyncBatch = SyncBatch.objects.get(pk=claim.batch_id) if claim else run
        self._answers: dict[str, int] = dict(kept.answers)
        self._latency = Histogram.from_json(kept.latency)
        self._writes = kept.writes

    def flush(self, worked: Sequence[Worked], sample: ApiSample) -> Flushed:
        """Write the users' orders and count them; what came of it. Raises `RowRefused`, and what `beat` does."""
        self._answers = {
            kind: self._answers.get(kind, 0) + sample.answers.get(kind, 0) for kind in {*self._answers, *sample.answers}
        }
        self._latency.merge(sample.latency)
        total = Flushed()
        last = _Last(worked, sample)
        parts = list(_parts([_finding(each) for each in worked])) or [[]]
        for number, part in enumerate(parts, 1):
            total.add(self._write(part, last, ends=number == len(parts)))
        return total

    def beat(self) -> None:
        """A sign of life. Raises `DatabaseGone`, `ClaimLost`, `RunClosed`."""
        retrying(lambda: self._progress(Counts(), [], self._writes))

    def _write(self, part: list[Finding], last: _Last, *, ends: bool) -> Flushed:
        """Each transaction has a number, so that one repeated after a commit without an answer takes no effect."""
        flushed = Flushed()

        def transaction() -> None:
            nonlocal flushed
            applied = self._apply(part)
            if ends:
                applied.counts.add(last.counts())
            self._progress(applied.counts, last.done() if ends else [], self._writes + 1)
            flushed = applied

        try:
            in_transaction(transaction)
        except _WrittenBefore:
            pass
        except RowRefused as refused:
            if not part:
                raise
            return self._write_apart(part, last, str(refused), ends=ends)
        self._writes += 1
        return flushed

    def _apply(self, part: list[Finding]) -> Flushed:
        """Inside the transaction: what is written of the users' orders. An audit writes something else."""
        return _flushed(part, write(part, run_id=self._run.pk, reference=self._run.created_at))

    def _write_apart(self, part: list[Finding], last: _Last, refusal: str, *, ends: bool) -> Flushed:
        """The server refused a row: find the order by halves, for it alone is left."""
        orders = sum(len(finding.found) + len(finding.left) for finding in part)
        if orders == 1:
            (finding,) = part
            leaving = self._leave(finding, refusal)
            if finding.found and not leaving.found:
                last.refused.add(finding.user_id)
            return self._write([leaving], last, ends=ends)
        first, second = _halves(part, orders // 2)
        total = self._write(first, last, ends=False)
        total.add(self._write(second, last, ends=ends))
        return total

    def _leave(self, finding: Finding, refusal: str) -> Finding:
        """The one order, as malformed; where it was left anyway, without the words that may be to blame.

        Raises `RowRefused` where that was refused as well.
        """
        left = tuple(LeftOrder(found.order, Reason.MALFORMED, refusal) for found in finding.found)
        left += tuple(replace(each, detail=refusal) for each in finding.left)
        if left == tuple(finding.left):
            raise RowRefused(refusal)
        return replace(finding, found=(), left=left)

    def _progress(self, counts: Counts, done: list[int], number: int) -> None:
        """Batch first, run last: the run's row is shared, so its lock is held for the shortest time.

        `number` is the transaction's; that of the last one for a mere sign of life.
        """
        now = timezone.now()
        api = {"answers": self._answers, "latency": self._latency.to_json(), "writes": number}
        if self._claim:
            gone = set(done)
            left = [user_id for user_id in self._claim.user_ids if user_id not in gone]
            mine = SyncBatch.objects.filter(
                pk=self._claim.batch_id, worker=self._claim.worker, status=BatchStatus.RUNNING
            )
            if not mine.filter(writes=self._writes).update(user_ids=left, heartbeat_at=now, **api):
                raise _WrittenBefore if mine.filter(writes=number).exists() else ClaimLost
            self._claim.user_ids = left
            api = {}
        growth = {name: F(name) + count for name, count in counts.as_dict().items() if count}
        self._write_run({**growth, "heartbeat_at": now, **api}, number)

    def _write_run(self, values: dict[str, Any], number: int) -> None:
        """One statement, as long as the row is as expected; only then is it read why it is not."""
        run = SyncRun.objects.filter(pk=self._run.pk)
        mine = {} if self._claim else {"writes": self._writes}
        if run.filter(status=RunStatus.RUNNING, stop_requested=False, **mine).update(**values):
            return
        row = run.only("status", "stop_requested", "writes").first()
        if row is None:  # lost by a server that crashed: nobody has closed it
            return
        if not self._claim and row.writes == number > self._writes:
            raise _WrittenBefore
        if not run.filter(status=RunStatus.RUNNING).update(**values):
            raise RunClosed("the run was closed by another process")
        if row.stop_requested:
            self._stop.set()


class DryRecorder:
    """Counts what a `Recorder` would write, and writes nothing."""

    def flush(self, worked: Sequence[Worked], sample: ApiSample) -> Flushed:
        findings = [_finding(each) for each in worked]
        written = Written(
            stored={found.order.id for finding in findings for found in finding.found},
            left={left.order.id for finding in findings for left in finding.left},
            items=sum(len(found.items) for finding in findings for found in finding.found),
        )
        flushed = _flushed(findings, written)
        flushed.counts.add(_users(worked, sample))
        return flushed

    def beat(self) -> None:
        """Nobody waits for a sign of life of it."""


def _finding(worked: Worked) -> Finding:
    return Finding(worked.due.pending.user_id, worked.due.fingerprint, worked.result.found, worked.result.left)


def _parts(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """Findings in parts of at most `ORDERS_A_TRANSACTION` orders; a user with more is spread over several."""
    part: list[Finding] = []
    room = ORDERS_A_TRANSACTION
    for finding in findings:
        found, left = iter(finding.found), iter(finding.left)
        while True:
            some_found = tuple(islice(found, room))
            some_left = tuple(islice(left, room - len(some_found)))
            if not some_found and not some_left:
                break
            part.append(replace(finding, found=some_found, left=some_left))
            room -= len(some_found) + len(some_left)
            if not room:
                yield part
                part, room = [], ORDERS_A_TRANSACTION
    if part:
        yield part


def _halves(part: Sequence[Finding], size: int) -> tuple[list[Finding], list[Finding]]:
    """`part` cut after `size` orders."""
    first: list[Finding] = []
    second: list[Finding] = []
    for finding in part:
        found, left = finding.found, finding.left
        cut_found = min(size, len(found))
        cut_left = min(size - cut_found, len(left))
        size -= cut_found + cut_left
        if cut_found or cut_left:
            first.append(replace(finding, found=found[:cut_found], left=left[:cut_left]))
        if cut_found < len(found) or cut_left < len(left):
            second.append(replace(finding, found=found[cut_found:], left=left[cut_left:]))
    return first, second


def _users(worked: Sequence[Worked], sample: ApiSample, refused: AbstractSet[int] = frozenset()) -> Counts:
    """What is counted by user: an interrupted one is not done, so only the orders that were settled of it count."""
    whole = [each for each in worked if not each.result.interrupted]
    return Counts(
        users=len(whole),
        users_failed=sum(each.result.failure is not None or each.result.user_id in refused for each in whole),
        orders=sum(len(each.due.pending.orders) for each in whole)
        + sum(len(each.result.found) + len(each.result.left) for each in worked if each.result.interrupted),
        api_requests=sample.requests,
        retries=sample.retries,
    )


def _flushed(findings: Sequence[Finding], written: Written) -> Flushed:
    left = [(each.user_id, order) for each in findings for order in each.left if order.order.id in written.left]
    counts = Counts(orders_synced=len(written.stored), items_created=written.items)
    counts.count_left(order.reason for _, order in left)
    return Flushed(counts, left)
