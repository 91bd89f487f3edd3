"""What must be true, whatever has happened. Each function gives what is wrong, in words; nothing is good."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.db.models import F, Sum
from django.utils import timezone

from bytemark_sync.domain.counters import Counts
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import (
    BatchStatus,
    OrderAttempt,
    OrderItem,
    OrderOutcome,
    RiderLogin,
    RunStatus,
    StoredOrder,
    SyncBatch,
    SyncRun,
)
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.sandbox import ExpectedItem, World
from bytemark_sync.storage.logins import ANSWER_LOST

COUNTS = [field.name for field in fields(Counts)]

Row = tuple[int, str, str, str, str]
Told = Callable[[str], str]


def _itself(token: str) -> str:
    return token


def stored_rows(owner: Told = _itself) -> list[Row]:
    """`owner` stands for the token, where it is chance which of a rider's tokens was used."""
    fields = ("order_id", "order_uuid", "oauth_token", "product_uuid", "pass_uuid")
    rows = OrderItem.objects.values_list(*fields)
    return sorted((key, uuid, owner(token), *passes) for key, uuid, token, *passes in rows)


def whole_orders(expected: list[ExpectedItem], owner: Told = _itself) -> Iterator[str]:
    """At any moment: each order has all its rows or none, each row once and as expected."""
    wanted: dict[int, Counter[Row]] = {}
    for item in expected:
        wanted.setdefault(item.order_id, Counter())[item] += 1
    stored: dict[int, Counter[Row]] = {}
    for row in stored_rows(owner):
        stored.setdefault(row[0], Counter())[row] += 1
    for order_id, rows in stored.items():
        if rows != wanted.get(order_id):
            missing = sum((wanted.get(order_id, Counter()) - rows).values())
            more = sum((rows - wanted.get(order_id, Counter())).values())
            yield f"order {order_id}: {missing} rows are missing, {more} are too many"


def end_state(
    expected: list[ExpectedItem], reasons: Mapping[int, Reason], before: int, owner: Told = _itself
) -> Iterator[str]:
    """After a clean run. `before`: rows that were there before any run."""
    yield from whole_orders(expected, owner)
    have = {row[0] for row in stored_rows()}
    for order_id in sorted({item.order_id for item in expected} - have):
        yield f"order {order_id} is not stored"
    found = dict(OrderOutcome.objects.values_list("order_id", "reason"))
    for order_id in sorted(found.keys() | reasons.keys()):
        if found.get(order_id) != reasons.get(order_id):
            yield f"order {order_id}: reason {found.get(order_id)}, expected {reasons.get(order_id)}"
    yield from _books(before)
    yield from runs()


def _books(before: int) -> Iterator[str]:
    """The runs' own counts against the rows, exact under every kind of death."""
    rows = OrderItem.objects.count() - before
    sums = SyncRun.objects.aggregate(items=Sum("items_created"), orders=Sum("orders_synced"))
    books = StoredOrder.objects.aggregate(items=Sum("items"))["items"] or 0
    if (sums["items"] or 0) != rows:
        yield f"the runs count {sums['items']} items, the table has {rows}"
    if books != rows:
        yield f"the stored orders count {books} items, the table has {rows}"
    if (sums["orders"] or 0) != StoredOrder.objects.count():
        yield f"the runs count {sums['orders']} stored orders, there are {StoredOrder.objects.count()}"
    wrong = StoredOrder.objects.filter(order__outcome__isnull=False).count()
    if wrong:
        yield f"{wrong} stored orders still have a reason for being pending"


def runs() -> Iterator[str]:
    """Every run has ended and says truly how."""
    for run in SyncRun.objects.order_by("pk"):
        name = f"run {run.pk} ({run.trigger}, {run.status})"
        if run.status in ALIVE:
            yield f"{name} is still alive"
            continue
        if run.finished_at is None:
            yield f"{name} has no end time"
        if run.status == RunStatus.SUCCEEDED and (run.users_failed or run.error):
            yield f"{name}: {run.users_failed} failed users, error {run.error!r}"
        if run.status in (RunStatus.FAILED, RunStatus.PARTIAL) and not (run.users_failed or run.error):
            yield f"{name} tells of nothing that failed"
        if run.users_failed > run.users:
            yield f"{name}: more failed users than users"
        told = run.orders_synced + run.orders_not_found + run.orders_without_passes + run.orders_invalid
        if told > run.orders:
            yield f"{name}: {told} orders with an end, {run.orders} looked for"
    open_ = SyncBatch.objects.filter(status__in=(BatchStatus.QUEUED, BatchStatus.RUNNING)).count()
    if open_:
        yield f"{open_} batches are still open"
    for batch in SyncBatch.objects.filter(status=BatchStatus.DONE).exclude(user_ids=[]):
        yield f"{batch} is done with users left: {batch.user_ids}"


def nobody_is_blamed(failing: set[int]) -> Iterator[str]:
    """A limited API, an outage that ends and short pages fail no user, and end no run.

    A user is logged in once a run at most. Where a kill cuts that login, the user fails in this run.
    """
    blamed = OrderOutcome.objects.filter(reason=Reason.API_ERROR).values_list("order_id", "detail")
    for order_id, detail in blamed:
        yield f"order {order_id} is blamed: {detail}"
    failed = len(failing)
    for run in SyncRun.objects.order_by("pk"):
        attempts = OrderAttempt.objects.filter(run=run, detail__contains=ANSWER_LOST)
        cut = attempts.values("order__user_id").distinct().count()
        if run.users_failed > failed + cut:
            yield f"run {run.pk} ({run.status}): {run.users_failed} users failed, at most {failed} + {cut} were to"
        if run.error.startswith("Bytemark has not answered"):
            yield f"run {run.pk} ({run.status}) gave up: {run.error}"


def reported(slack_log: Path) -> Iterator[str]:
    """Every bad run has a message at Slack, and the run says so."""
    text = slack_log.read_text() if slack_log.exists() else ""
    for run in SyncRun.objects.filter(status__in=(RunStatus.FAILED, RunStatus.PARTIAL)):
        if run.slack != "sent":
            yield f"run {run.pk} ({run.status}) was not reported: slack is {run.slack!r}"
        # In the form's encoding: "run 12 (command)".
        elif f"run+{run.pk}+" not in text and f"run {run.pk} " not in text:
            yield f"run {run.pk} ({run.status}) says it was reported, but Slack got no message"


def summary(text: str) -> dict[str, Any] | None:
    """The object of `--json`, where the command lived to print it."""
    for line in reversed(text.splitlines()):
        if line.startswith('{"run_id"'):
            loaded: dict[str, Any] = json.loads(line)
            return loaded
    return None


def command(name: str, code: int, text: str, signal_sent: int, *, lonely: bool) -> Iterator[str]:
    """A command's exit status against what it said and what the run's row says; `lonely`: nobody else closes runs."""
    if "Traceback" in text:
        yield f"{name} showed a traceback: {text[-600:]}"
    said = summary(text)
    if code < 0:
        if -code != signal_sent:
            yield f"{name} died of signal {-code}"
        return
    if said is None:
        # Before it could do anything, or it could not go on at all.
        if code == 0 or (code not in (1, 128 + signal_sent)):
            yield f"{name} said nothing and ended with {code}: {text[-300:]}"
        return
    if said["status"] == "queued":
        if code != 0:
            yield f"{name} is queued and ended with {code}"
        return
    if code == 0 and (said["users_failed"] or said["status"] != "succeeded"):
        yield f"{name} ended with 0 and said {said}"
    if code == 1 and said["status"] == "succeeded":
        yield f"{name} ended with 1 and said {said}"
    if code not in (0, 1, 128 + signal_sent):
        yield f"{name} ended with {code}"
    run = SyncRun.objects.filter(pk=said["run_id"]).first() if said["run_id"] else None
    if run is None or not lonely:
        return
    # A run that could not be closed is closed by the next one.
    if run.status != said["status"] and not (said.get("error") and run.status == RunStatus.FAILED):
        yield f"{name} said {said['status']}, its run {run.pk} is {run.status}"
    different = {each: (said[each], getattr(run, each)) for each in COUNTS if said[each] != getattr(run, each)}
    if different:
        yield f"{name} counted otherwise than its run {run.pk} (said, row): {different}"


def leaks(world: World, secrets: set[str], texts: Mapping[str, str]) -> Iterator[str]:
    """No token, and nothing of `secrets`, in any output."""
    tokens = secrets | {token for rider in world.riders for token in rider.tokens}
    tokens |= {order.oauth_token for order in world.orders} | {row.token for row in world.tokens}
    for name, text in texts.items():
        if any(token in text for token in tokens if token.strip()):
            yield f"a secret stands in the output of {name}"


def age_heartbeats() -> None:
    """Let a minute pass without a sign of life of any run, and of any login: whoever still has one is dead."""
    RiderLogin.objects.filter(asked_at__isnull=False).update(asked_at=F("asked_at") - timedelta(minutes=2))
    SyncRun.objects.filter(status__in=ALIVE).update(heartbeat_at=timezone.now() - timedelta(minutes=1))


def age_runs() -> None:
    """Make the ended runs four minutes older: what was forgotten in between is then told by the next run."""
    SyncRun.objects.exclude(finished_at=None).update(finished_at=F("finished_at") - timedelta(minutes=4))
