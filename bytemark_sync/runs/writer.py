"""Writes what a run comes to: items, outcomes and counts together, each time in one transaction.

So the counts are exact even where the process is killed, and a batch that is queued again goes on with the users left
(docs/decisions/0014-numbered-writes.md).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from django.db.models import F
from django.utils import timezone

from bytemark_sync.bytemark.stats import ApiSample, Histogram
from bytemark_sync.domain.counters import Counts, Flushed
from bytemark_sync.domain.matching import Bookmark, LeftOrder, UserResult
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import BatchStatus, RunStatus, SyncBatch, SyncRun
from bytemark_sync.runs.bookmarks import Bookmarks, moved
from bytemark_sync.storage.database_retry import RowRefused, in_transaction, retrying
from bytemark_sync.storage.order_items import Finding, Written, write
from bytemark_sync.storage.pending import DueUser

ORDERS_PER_TRANSACTION = 2000


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
class _End:
    """What a transaction writes beside its orders: users, of whom all orders are written then, and requests to count.

    Requests are counted with the first orders that they gave, for the answers are written with each.
    """

    worked: Sequence[Worked] = ()
    sample: ApiSample = field(default_factory=ApiSample)

    def counts(self) -> Counts:
        """An interrupted user is not done, and only the orders that were settled of it count."""
        whole = [each.result for each in self.worked if not each.result.interrupted]
        return Counts(
            users=len(whole),
            users_failed=sum(result.failure is not None for result in whole),
            api_requests=self.sample.requests,
            retries=self.sample.retries,
        )

    @property
    def done(self) -> set[int]:
        return {each.result.user_id for each in self.worked if not each.result.interrupted}

    @property
    def broken_off(self) -> dict[int, Bookmark]:
        """Those whose list was begun, or who have failed requests."""
        marks = ((each.result.user_id, each.result.bookmark) for each in self.worked)
        return {user_id: mark for user_id, mark in marks if mark and (mark.pages or mark.attempts)}


@dataclass(slots=True)
class BatchClaim:
    """A worker's hold on a queued batch; `user_ids` are those still to work, written back as they are done.

    `bookmarks` are of those among them who are under way.
    """

    batch_id: int
    worker: str
    user_ids: list[int]
    bookmarks: Bookmarks = field(default_factory=dict)


class SyncWriter:
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
        self._wanted: dict[int, list[int]] = {}

    def flush(self, worked: Sequence[Worked], sample: ApiSample) -> Flushed:
        """Write the users' orders and count them; what came of it. Raises `RowRefused`, and what `beat` does."""
        self._answers = {
            kind: self._answers.get(kind, 0) + sample.answers.get(kind, 0) for kind in {*self._answers, *sample.answers}
        }
        self._latency.merge(sample.latency)
        self._wanted = {each.result.user_id: [order.id for order in each.due.pending.orders] for each in worked}
        total = Flushed()
        parts = list(_parts([_finding(each) for each in worked])) or [[]]
        last = len(parts) - 1
        ends_in = {finding.user_id: number for number, part in enumerate(parts) for finding in part}
        for number, part in enumerate(parts):
            ended = [each for each in worked if ends_in.get(each.result.user_id, last) == number]
            total.add(self._write(part, _End(ended, ApiSample() if number else sample)))
        return total

    def beat(self) -> None:
        """A sign of life. Raises `DatabaseGone`, `ClaimLost`, `RunClosed`."""
        retrying(lambda: self._progress(Counts(), [], _End(), self._writes))

    def _write(self, part: list[Finding], end: _End) -> Flushed:
        """Each transaction has a number, so that one repeated after a commit without an answer takes no effect."""
        flushed = Flushed()

        def transaction() -> None:
            nonlocal flushed
            applied = self._apply(part)
            applied.counts.orders = _size(part)
            applied.counts.add(end.counts())
            self._progress(applied.counts, part, end, self._writes + 1)
            flushed = applied

        try:
            in_transaction(transaction)
        except _WrittenBefore:
            pass
        except RowRefused as refused:
            if not part:
                raise
            return self._write_apart(part, end, str(refused))
        self._writes += 1
        return flushed

    def _apply(self, part: list[Finding]) -> Flushed:
        """Inside the transaction: what is written of the users' orders. An audit writes something else."""
        return _flushed(part, write(part, run_id=self._run.pk, reference=self._run.created_at))

    def _write_apart(self, part: list[Finding], end: _End, refusal: str) -> Flushed:
        """The server refused a row: find the order by halves, for it alone is left."""
        orders = _size(part)
        if orders == 1:
            (finding,) = part
            return self._write([self._leave(finding, refusal)], end)
        first, second = _halves(part, orders // 2)
        total = self._write(first, _End(sample=end.sample))
        total.add(self._write(second, replace(end, sample=ApiSample())))
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

    def _progress(self, counts: Counts, part: list[Finding], end: _End, number: int) -> None:
        """Batch first, run last: the run's row is shared, so its lock is held for the shortest time.

        `number` is the transaction's; that of the last one for a mere sign of life.
        """
        now = timezone.now()
        api = {"answers": self._answers, "latency": self._latency.to_json(), "writes": number}
        if self._claim:
            done = end.done
            left = [user_id for user_id in self._claim.user_ids if user_id not in done]
            bookmarks = moved(
                self._claim.bookmarks,
                wanted=self._wanted,
                settled={finding.user_id: set(_ids(finding)) for finding in part},
                broken_off=end.broken_off,
                done=done,
            )
            mine = SyncBatch.objects.filter(
                pk=self._claim.batch_id, worker=self._claim.worker, status=BatchStatus.RUNNING
            )
            values = {"user_ids": left, "bookmarks": bookmarks, "heartbeat_at": now, **api}
            if not mine.filter(writes=self._writes).update(**values):
                raise _WrittenBefore if mine.filter(writes=number).exists() else ClaimLost
            self._claim.user_ids, self._claim.bookmarks = left, bookmarks
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


class DryRunWriter:
    """Counts what a `SyncWriter` would write, and writes nothing."""

    def flush(self, worked: Sequence[Worked], sample: ApiSample) -> Flushed:
        findings = [_finding(each) for each in worked]
        written = Written(
            stored={found.order.id for finding in findings for found in finding.found},
            left={left.order.id for finding in findings for left in finding.left},
            items=sum(len(found.items) for finding in findings for found in finding.found),
        )
        flushed = _flushed(findings, written)
        flushed.counts.orders = _size(findings)
        flushed.counts.add(_End(worked, sample).counts())
        return flushed

    def beat(self) -> None:
        """Nobody waits for a sign of life of it."""


def _finding(worked: Worked) -> Finding:
    return Finding(worked.due.pending.user_id, worked.due.fingerprint, worked.result.found, worked.result.left)


def _parts(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """Findings in parts of at most `ORDERS_PER_TRANSACTION` orders; a user with more is spread over several."""
    part: list[Finding] = []
    room = ORDERS_PER_TRANSACTION
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
                part, room = [], ORDERS_PER_TRANSACTION
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


def _ids(finding: Finding) -> Iterator[int]:
    """The orders that it settles."""
    yield from (found.order.id for found in finding.found)
    yield from (left.order.id for left in finding.left)


def _size(findings: Sequence[Finding]) -> int:
    """Orders that are settled: each is found or left, once."""
    return sum(len(finding.found) + len(finding.left) for finding in findings)


def _flushed(findings: Sequence[Finding], written: Written) -> Flushed:
    left = [(each.user_id, order) for each in findings for order in each.left if order.order.id in written.left]
    counts = Counts(orders_synced=len(written.stored), items_created=written.items)
    counts.count_left(order.reason for _, order in left)
    return Flushed(counts, left)
