"""What the product promises of its rows, after whatever has happened; each function gives what is wrong, in words.

`Book.look` holds at any moment at which no process is inside a transaction. `settled` holds once all is at rest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Count, Sum
from django_q.models import OrmQ, Schedule

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import (
    BatchStatus,
    OrderAttempt,
    OrderItem,
    OrderOutcome,
    RunKind,
    RunStatus,
    StoredOrder,
    SyncBatch,
    SyncRun,
    Trigger,
)
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.queue.batches import MAX_TRIES
from bytemark_sync.queue.schedules import SYNC
from bytemark_sync.sandbox import ExpectedItem
from bytemark_sync.sandbox.request_counts import SeenLogin
from bytemark_sync.storage.pending import pending_orders
from tests.faults import checks
from tests.faults.renewal import is_answered

OPEN = (BatchStatus.QUEUED, BatchStatus.RUNNING)
COUNTED = {
    Reason.NOT_FOUND: "orders_not_found",
    Reason.NO_PASSES: "orders_without_passes",
    Reason.MALFORMED: "orders_invalid",
}
FINAL = (*checks.COUNTS, "status", "error", "finished_at", "orders_deferred", "answers", "latency")
"""What of a run stays as it is once the run has ended."""

Row = dict[str, Any]


def _scheduled_since(due: datetime) -> bool:
    return SyncRun.objects.filter(trigger=Trigger.SCHEDULE, due_at__gte=due).exists()


def _rows(model: Any) -> dict[int, Row]:
    return {row["id"]: row for row in model.objects.values()}


class Book:
    """What was seen of runs and batches the last time: states only move forward, and nothing ended changes."""

    def __init__(self) -> None:
        self._runs: dict[int, Row] = {}
        self._batches: dict[int, Row] = {}
        self._planned: dict[int, Counter[int]] = defaultdict(Counter)
        """By run: how often each user was planned."""
        self._untried: dict[int, set[int]] = defaultdict(set)
        """By run: orders of the planned users that nobody had tried when they were planned."""
        self._holders: dict[str, str] = {}
        """By claim of a batch: the process that made it."""
        self._due: dict[int, datetime] = {}
        """By schedule of the sync: when it is due next."""
        self._own_runs: dict[str, int] = {}
        """By process: the run that it has opened for itself."""
        self._seen_logins = 0
        self._logins: Counter[tuple[int, int | None]] = Counter()
        """By run and rider: logins that were answered."""
        self._granted: Counter[int] = Counter()

    def look(
        self, expected: Sequence[ExpectedItem], owner: checks.Told, logins: Sequence[SeenLogin], process: str
    ) -> Iterator[str]:
        """After `process`, and no other, has acted since the last look. `logins`: all since the beginning."""
        runs, batches = _rows(SyncRun), _rows(SyncBatch)
        yield from self._forward(runs, batches)
        yield from self._logged_in_once(runs, batches, logins, process)
        yield from self._one_holder(batches, process)
        yield from self._no_due_time_lost()
        yield from _counts(runs, batches)
        yield from _worked_once(runs, batches)
        yield from checks.whole_orders(list(expected), owner)
        self._runs, self._batches = runs, batches

    def _forward(self, runs: dict[int, Row], batches: dict[int, Row]) -> Iterator[str]:
        for run_id, before in self._runs.items():
            now = runs.get(run_id)
            if now is None:
                yield f"run {run_id} is gone"
                continue
            if before["status"] == RunStatus.RUNNING and now["status"] == RunStatus.QUEUED:
                yield f"run {run_id} went back to queued"
            if before["status"] not in ALIVE:
                for name in FINAL:
                    if before[name] != now[name]:
                        yield f"run {run_id} had ended {before['status']}: {name} {before[name]!r} is {now[name]!r}"
        for batch_id, before in self._batches.items():
            after = batches[batch_id]
            if before["status"] not in OPEN and before["status"] != after["status"]:
                yield f"batch {batch_id} was {before['status']} and is {after['status']}"
            if not set(after["user_ids"]) <= set(before["user_ids"]) or after["tries"] < before["tries"]:
                yield f"batch {batch_id} went back: {before['user_ids']} {after['user_ids']}"
        for batch_id in batches.keys() - self._batches.keys():
            planned = self._planned[batches[batch_id]["run_id"]]
            planned.update(batches[batch_id]["user_ids"])
            untried = pending_orders().filter(user_id__in=batches[batch_id]["user_ids"], attempts=None)
            self._untried[batches[batch_id]["run_id"]].update(untried.values_list("pk", flat=True))
            if planned.most_common(1)[0][1] > 1:
                yield f"batch {batch_id} has users {batches[batch_id]['user_ids']}, planned are {dict(planned)}"
        for batch in batches.values():
            if batch["tries"] > MAX_TRIES:
                yield f"batch {batch['id']} was tried {batch['tries']} times more"
            if batch["status"] in OPEN and runs[batch["run_id"]]["status"] not in ALIVE:
                yield f"batch {batch['id']} is {batch['status']} of a run that is {runs[batch['run_id']]['status']}"

    def _logged_in_once(
        self, runs: dict[int, Row], batches: dict[int, Row], logins: Sequence[SeenLogin], process: str
    ) -> Iterator[str]:
        """No rider is logged in twice by one run, and a run counts no more renewals than it was given tokens."""
        for run_id in runs.keys() - self._runs.keys():
            if runs[run_id]["pid"]:
                self._own_runs[process] = run_id
        for seen in filter(is_answered, logins[self._seen_logins :]):
            task, _, rest = process.partition(" ")
            run_id = batches[int(rest.split()[0])]["run_id"] if task == "sync_batch" else self._own_runs[process]
            self._logins[run_id, seen.user_id] += 1
            self._granted[run_id] += seen.outcome == "granted"
            if self._logins[run_id, seen.user_id] > 1:
                yield f"run {run_id} logged rider {seen.user_id} in once more"
        self._seen_logins = len(logins)
        for run_id, run in runs.items():
            if run["tokens_renewed"] > self._granted[run_id]:
                yield f"run {run_id} counts {run['tokens_renewed']} renewals of {self._granted[run_id]}"

    def _one_holder(self, batches: dict[int, Row], process: str) -> Iterator[str]:
        for batch_id, batch in batches.items():
            holder = self._holders.setdefault(batch["worker"], process)
            before = self._batches.get(batch_id, batch)
            if before["worker"] == batch["worker"] != "" and before["writes"] != batch["writes"] and holder != process:
                yield f"batch {batch_id} is held by {holder}, and {process} has written for it"

    def _no_due_time_lost(self) -> Iterator[str]:
        """Whoever moves a schedule on writes the run that was due, or finds it there."""
        due = dict(Schedule.objects.filter(func=SYNC).values_list("pk", "next_run"))
        for schedule, before in self._due.items():
            if before != due.get(schedule) and not _scheduled_since(before):
                yield f"no run for what was due at {before}, and the schedule is moved on to {due.get(schedule)}"
        self._due = due

    def succeeded(self) -> Iterator[str]:
        """A run that has succeeded has tried all that it planned."""
        runs = SyncRun.objects.filter(status=RunStatus.SUCCEEDED, pk__in=self._untried)
        for run_id in runs.filter(kind=RunKind.SYNC).values_list("pk", flat=True):
            missed = pending_orders().filter(pk__in=self._untried[run_id], attempts=None).values_list("pk", flat=True)
            if missed:
                yield f"run {run_id} has succeeded and never tried the orders {list(missed)}"


def _counts(runs: dict[int, Row], batches: dict[int, Row]) -> Iterator[str]:
    """Each run's counts are those of the rows that it has written."""
    stored = {
        run_id: (orders, items)
        for run_id, orders, items in StoredOrder.objects.order_by()
        .values_list("run_id")
        .annotate(Count("pk"), Sum("items"))
    }
    reasons: Counter[tuple[int, str]] = Counter(OrderAttempt.objects.values_list("run_id", "reason").order_by())
    answers: defaultdict[int, Counter[str]] = defaultdict(Counter)
    for batch in batches.values():
        answers[batch["run_id"]].update(batch["answers"])
    for run_id, run in runs.items():
        if (run["orders_synced"], run["items_created"]) != stored.get(run_id, (0, 0)):
            yield f"run {run_id} counts {run['orders_synced'], run['items_created']}: stored {stored.get(run_id)}"
        for reason, name in COUNTED.items():
            if run[name] != reasons[run_id, reason]:
                yield f"run {run_id}: {name} is {run[name]}, its attempts say {reasons[run_id, reason]}"
        if run["kind"] == RunKind.SYNC and run["users_failed"] > run["users"]:
            yield f"run {run_id}: {run['users_failed']} of {run['users']} users failed"
        of_batches = Counter(run["answers"]) if run["pid"] else answers[run_id]
        if of_batches.total() != run["api_requests"]:
            yield f"run {run_id}: {run['api_requests']} requests, {of_batches.total()} answers"
        if not run["pid"] and run["status"] not in ALIVE and Counter(run["answers"]) != of_batches:
            yield f"run {run_id} ended with answers {run['answers']}, its batches have {of_batches}"
    if sum(run["items_created"] for run in runs.values()) != OrderItem.objects.count():
        yield "the runs' items are not those of the table"


def _worked_once(runs: dict[int, Row], batches: dict[int, Row]) -> Iterator[str]:
    """No user is worked twice in a run: each order is left once, and who was worked is on no batch any more."""
    twice = OrderAttempt.objects.order_by().values_list("run_id", "order_id").annotate(times=Count("pk"))
    for run_id, order_id, times in twice.filter(times__gt=1):
        yield f"run {run_id} left order {order_id} {times} times"
    left: Counter[int] = Counter()
    for batch in batches.values():
        left[batch["run_id"]] += len(batch["user_ids"])
    for run_id, run in runs.items():
        if not run["pid"] and run["users"] + left[run_id] > run["users_planned"]:
            yield f"run {run_id}: {run['users']} users worked and {left[run_id]} left of {run['users_planned']} planned"


def nobody_is_blamed() -> Iterator[str]:
    """Where Bytemark does nothing but refuse requests as too many, or list fewer orders a page than asked for."""
    for order_id, detail in OrderOutcome.objects.filter(reason=Reason.API_ERROR).values_list("order_id", "detail"):
        yield f"order {order_id} is blamed: {detail}"


def settled(due: Iterable[datetime]) -> Iterator[str]:
    """At rest: every run has ended and says truly how, nothing is open, nothing waits, and what was `due` has run."""
    yield from checks.runs()
    waiting = OrmQ.objects.count()
    if waiting:
        yield f"{waiting} tasks still wait"
    for run in SyncRun.objects.exclude(status__in=ALIVE):
        if run.planned_at is None and not (run.error or run.status == RunStatus.INTERRUPTED):
            yield f"run {run.pk} is {run.status} and was never planned to its end"
        given_up = run.batches.filter(status=BatchStatus.GIVEN_UP).exists()
        if run.status == RunStatus.SUCCEEDED and given_up:
            yield f"run {run.pk} has succeeded with a batch that was given up"
        if run.slack in ("", "being sent"):
            yield f"run {run.pk}, {run.status}, was never told: slack is {run.slack!r}"
    for at in due:
        if not _scheduled_since(at):
            yield f"no run for what was due at {at}"
    stale = OrderOutcome.objects.filter(order__items__isnull=False).count()
    if stale:
        yield f"{stale} stored orders still have a reason for being pending"
