"""Writes the results of a run: items, outcomes and counts together, in one transaction each time.

So the counts are exact even if the process is killed, and a batch that is queued again continues with the users left
(docs/decisions/0014-numbered-writes.md). Only the engine's thread calls it: one writer for each
command or batch (docs/decisions/0002-one-writer-thread.md).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from bytemark_sync.bytemark.errors import Kind
from bytemark_sync.bytemark.stats import ApiSample
from bytemark_sync.domain.counters import Counts, Flushed
from bytemark_sync.domain.matching import Bookmark, LeftOrder, UserResult
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import SyncRun
from bytemark_sync.runs.limited_minutes import MinuteLog
from bytemark_sync.runs.outage_watch import Heard
from bytemark_sync.runs.run_rows import BatchClaim, RunRows, Step, WrittenBefore
from bytemark_sync.storage.database_retry import RowRefused, in_transaction, retrying
from bytemark_sync.storage.order_items import Finding, Written, write
from bytemark_sync.storage.pending import DueUser

ORDERS_PER_TRANSACTION = 2000


@dataclass(frozen=True, slots=True)
class Worked:
    """A user, and the result of reading the user's pages."""

    due: DueUser
    result: UserResult


@dataclass(slots=True)
class _End:
    """What a transaction writes beside its orders: the users whose last orders are in it, and requests to count.

    Requests are counted in a flush's first transaction, because every transaction already writes their answers.
    """

    worked: Sequence[Worked] = ()
    sample: ApiSample = field(default_factory=ApiSample)

    def counts(self) -> Counts:
        """The counts beside those of the orders. An interrupted user is not done: only its settled orders count."""
        whole = [each.result for each in self.worked if not each.result.interrupted]
        return Counts(
            users=len(whole),
            users_failed=sum(result.failure is not None for result in whole),
            api_requests=self.sample.requests,
            retries=self.sample.retries,
            rate_limited=self.sample.answers.get(Kind.RATE_LIMITED, 0),
        )

    @property
    def done(self) -> set[int]:
        return {each.result.user_id for each in self.worked if not each.result.interrupted}

    @property
    def broken_off(self) -> dict[int, Bookmark]:
        """Bookmarks of the users whose list was begun, or who have failed requests."""
        marks = ((each.result.user_id, each.result.bookmark) for each in self.worked)
        return {user_id: mark for user_id, mark in marks if mark and (mark.pages or mark.attempts)}


class RunWriter(ABC):
    """Writer of one run, or of one batch of it. `flush` writes users' results in transactions of bounded size."""

    def __init__(self, run: SyncRun, stop: threading.Event, claim: BatchClaim | None = None) -> None:
        self._run = run
        self._rows = RunRows(run, stop, claim)
        self._wanted: dict[int, list[int]] = {}
        self._minutes = MinuteLog(run.pk)

    @abstractmethod
    def _apply(self, part: list[Finding]) -> Flushed:
        """Write the users' orders. Called inside the transaction."""

    def flush(self, worked: Sequence[Worked], sample: ApiSample) -> Flushed:
        """Write and count the users' orders; returns what was written. Raises `RowRefused`, and what `beat` does."""
        self._rows.add(sample)
        self._wanted = {each.result.user_id: [order.id for order in each.due.pending.orders] for each in worked}
        total = Flushed()
        parts = list(_parts([_finding(each) for each in worked])) or [[]]
        last = len(parts) - 1
        ends_in = {finding.user_id: number for number, part in enumerate(parts) for finding in part}
        for number, part in enumerate(parts):
            ended = [each for each in worked if ends_in.get(each.result.user_id, last) == number]
            total.add(self._write(part, _End(ended, ApiSample() if number else sample)))
        self._minutes.add(sample)
        return total

    def beat(self) -> None:
        """Write a heartbeat. Raises `DatabaseGone`, `ClaimLost`, `RunClosed`."""
        retrying(self._rows.beat)

    def end(self) -> None:
        """Nothing more is written. Never raises for the database."""
        self._minutes.write()

    def heard(self) -> Heard:
        """When Bytemark last answered the run. Raises `DatabaseGone`."""
        return retrying(self._rows.heard)

    def silent(self, since: datetime) -> None:
        """Note that Bytemark has not answered since then. Raises `DatabaseGone`."""
        in_transaction(lambda: self._rows.silent(since))

    def _write(self, part: list[Finding], end: _End) -> Flushed:
        flushed = Flushed()

        def transaction() -> None:
            nonlocal flushed
            applied = self._apply(part)
            applied.counts.orders = _size(part)
            applied.counts.add(end.counts())
            settled = {finding.user_id: set(_ids(finding)) for finding in part}
            self._rows.write(Step(applied.counts, self._wanted, settled, end.done, end.broken_off))
            flushed = applied

        try:
            in_transaction(transaction)
        except WrittenBefore:
            pass
        except RowRefused as refused:
            if not part:
                raise
            return self._write_apart(part, end, str(refused))
        self._rows.committed()
        return flushed

    def _write_apart(self, part: list[Finding], end: _End, refusal: str) -> Flushed:
        """Write a part in which the server refused a row. Bisects it to the order at fault; only that order is left."""
        orders = _size(part)
        if orders == 1:
            (finding,) = part
            return self._write([self._leave(finding, refusal)], end)
        first, second = _halves(part, orders // 2)
        total = self._write(first, _End(sample=end.sample))
        total.add(self._write(second, replace(end, sample=ApiSample())))
        return total

    def _leave(self, finding: Finding, refusal: str) -> Finding:
        """The one refused order, left as malformed.

        If it was to be left anyway, it keeps its reason, and the refusal replaces the detail that may be at fault.
        Raises `RowRefused` if that was refused as well.
        """
        left = tuple(LeftOrder(found.order, Reason.MALFORMED, refusal) for found in finding.found)
        left += tuple(replace(each, detail=refusal) for each in finding.left)
        if left == tuple(finding.left):
            raise RowRefused(refusal)
        return replace(finding, found=(), left=left)


class SyncWriter(RunWriter):
    """Stores the orders that were found, and the reasons of those that were not."""

    def _apply(self, part: list[Finding]) -> Flushed:
        return _flushed(part, write(part, run_id=self._run.pk, reference=self._run.created_at))


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
        """A dry run needs no heartbeat."""

    def end(self) -> None:
        """A dry run keeps nothing."""

    def heard(self) -> Heard:
        return Heard()

    def silent(self, since: datetime) -> None:
        """A dry run has no row to note it in."""


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
    """`part`, split after `size` orders."""
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
    """Ids of the orders that the finding settles."""
    yield from (found.order.id for found in finding.found)
    yield from (left.order.id for left in finding.left)


def _size(findings: Sequence[Finding]) -> int:
    """Number of settled orders. Each is either found or left, once."""
    return sum(len(finding.found) + len(finding.left) for finding in findings)


def _flushed(findings: Sequence[Finding], written: Written) -> Flushed:
    left = [(each.user_id, order) for each in findings for order in each.left if order.order.id in written.left]
    counts = Counts(orders_synced=len(written.stored), items_created=written.items)
    counts.count_left(order.reason for _, order in left)
    return Flushed(counts, left)
