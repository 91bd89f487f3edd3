"""What is old goes, in small deletes; nothing else does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django_q.models import Task

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import (
    LimitedMinute,
    Order,
    OrderAttempt,
    OrderItem,
    OrderOutcome,
    OrderToken,
    RunOutage,
    RunStatus,
    StoredOrder,
    SyncBatch,
    SyncRun,
    Trigger,
)
from bytemark_sync.storage import retention

pytestmark = pytest.mark.django_db
NOW = timezone.now()
OLD, NEW = NOW - timedelta(days=91), NOW - timedelta(days=89)


def run(at: Any, status: str = RunStatus.SUCCEEDED) -> SyncRun:
    ended = at if status != RunStatus.RUNNING else None
    return SyncRun.objects.create(trigger=Trigger.COMMAND, status=status, created_at=at, finished_at=ended)


def order(number: int) -> Order:
    return Order.objects.create(pk=number, order_uuid=f"uuid-{number}", user_id=number, amount="0")


def outcome(number: int, at: Any, last_run: SyncRun | None = None) -> None:
    OrderOutcome.objects.create(
        order_id=number, user_id=number, reason=Reason.NOT_FOUND, last_at=at, first_at=at, last_run=last_run
    )


def task(name: str, at: Any, *, success: bool) -> None:
    Task.objects.create(id=name.ljust(32, "0"), name=name, func="f", started=at, stopped=at, success=success)


def test_old_runs_go_with_their_batches_and_what_points_at_them_stays() -> None:
    old, new, alive = run(OLD), run(NEW), run(OLD, RunStatus.RUNNING)
    for each in (old, new):
        SyncBatch.objects.create(run=each, number=1)
        RunOutage.objects.create(run=each, began_at=OLD)
    order(1)
    StoredOrder.objects.create(order_id=1, run=old, user_id=1, items=2, stored_at=OLD)
    OrderAttempt.objects.create(order_id=1, run=old, at=NEW, reason=Reason.NOT_FOUND)
    order(2)
    OrderToken.objects.create(user_id=2, token="t")
    outcome(2, NEW, old)

    assert retention.prune(NOW)["runs"] == 1

    assert set(SyncRun.objects.all()) == {new, alive}
    assert [batch.run for batch in SyncBatch.objects.all()] == [new]
    assert [outage.run for outage in RunOutage.objects.all()] == [new]
    assert StoredOrder.objects.get().run is None
    assert OrderAttempt.objects.get().run is None
    assert OrderOutcome.objects.get().last_run is None


def test_old_minutes_are_added_up_so_that_their_sum_never_falls() -> None:
    alive = run(NEW)
    for number, at in enumerate((OLD, OLD, NEW)):
        LimitedMinute.objects.create(run=alive, source=str(number), minute=at, requests=100, refused=10)

    assert retention.prune(NOW)["limited minutes"] == 2
    assert retention.prune(NOW)["limited minutes"] == 0
    assert retention.prune(NOW + timedelta(days=2))["limited minutes"] == 1

    (sums,) = LimitedMinute.objects.values_list("source", "requests", "refused")
    assert sums == ("", 300, 30)


def test_the_days_are_a_setting(settings: Any) -> None:
    run(NEW)
    settings.SYNC_RETENTION_DAYS = 88
    assert retention.prune(NOW)["runs"] == 1


def test_outcomes_go_once_their_order_is_pending_no_longer() -> None:
    for number in range(1, 8):
        outcome(number, NEW if number % 2 else OLD)
    for number in range(3, 8):  # 1 and 2 are not in the portal
        order(number)
        OrderToken.objects.create(user_id=number, token="t")
    OrderItem.objects.create(order_id=4, order_uuid="x", oauth_token="t", product_uuid="p", pass_uuid="q")
    Order.objects.filter(pk=5).update(amount="2.50")
    Order.objects.filter(pk=6).update(user_id=None)
    OrderToken.objects.filter(user_id=7).delete()

    assert retention.prune(NOW)["outcomes"] == 6

    assert set(OrderOutcome.objects.values_list("pk", flat=True)) == {3}
    assert retention.prune(NOW)["outcomes"] == 0


def test_old_attempts_and_task_results_go_failed_ones_too() -> None:
    order(1)
    for at in (OLD, NEW):
        OrderAttempt.objects.create(order_id=1, at=at, reason=Reason.API_ERROR)
    task("old-good", OLD, success=True)
    task("old-bad", OLD, success=False)
    task("new-bad", NEW, success=False)

    deleted = retention.prune(NOW)

    assert (deleted["attempts"], deleted["task results"]) == (1, 2)
    assert OrderAttempt.objects.get().at == NEW
    assert Task.objects.get().name == "new-bad"


def test_deletes_are_small_and_come_to_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "ROWS_PER_DELETE", 10)
    order(1)
    OrderAttempt.objects.bulk_create(OrderAttempt(order_id=1, at=OLD, reason=Reason.API_ERROR) for _ in range(35))
    for number in range(100, 125):
        outcome(number, OLD)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        deleted = retention.prune(NOW)
    assert (deleted["attempts"], deleted["outcomes"]) == (35, 25)
    deletes = [query["sql"] for query in queries if query["sql"].startswith("DELETE") and "attempt" in query["sql"]]
    assert len(deletes) == 4


def test_nothing_old_is_no_trouble() -> None:
    run(NEW)
    assert set(retention.prune(NOW).values()) == {0}


def test_old_logins_go() -> None:
    for model in (AccessLog, AccessAttempt, AccessFailureLog):
        more = {"failures_since_start": 1} if model is AccessAttempt else {}
        for name, at in (("old", OLD), ("new", NEW)):
            row = model.objects.create(username=name, ip_address="10.0.0.1", user_agent=name, **more)
            model.objects.filter(pk=row.pk).update(attempt_time=at)
    deleted = retention.prune(NOW)
    for model in (AccessLog, AccessAttempt, AccessFailureLog):
        assert list(model.objects.values_list("username", flat=True)) == ["new"]
    assert deleted["logins"] == 3
    assert retention.prune(NOW)["logins"] == 0
