"""Reading past users whose turn it is not: a sign of life for each group of orders, and a place to go on from."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import F
from django.utils import timezone

from bytemark_sync import tasks
from bytemark_sync.domain.pending_filter import PendingFilter
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.domain.run_scope import Scope
from bytemark_sync.models import Order, OrderOutcome, OrderToken, RunStatus, SyncBatch, SyncRun, Trigger
from bytemark_sync.queue.requests import request_run, request_stop
from bytemark_sync.runs import in_process, lifecycle
from bytemark_sync.runs.client_settings import bytemark_settings
from bytemark_sync.runs.strategy import SyncStrategy
from tests.support.queue import Queue

pytestmark = pytest.mark.django_db(transaction=True)
USERS = 12
DUE = (1, 7)
"""Two users who are due between ten who are not; nobody is behind the API's address."""


@pytest.fixture(autouse=True)
def portal(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two orders a user, and a group for each of them."""
    settings.BYTEMARK_CUSTOMER_API_URL = "http://127.0.0.1:9"
    settings.BYTEMARK_MAX_ATTEMPTS, settings.BYTEMARK_BACKOFF_CAP = 1, 0.001
    monkeypatch.setattr("bytemark_sync.storage.keyset.ORDERS_PER_GROUP", 2)
    later = timezone.now() + timedelta(days=1)
    for user_id in range(1, USERS + 1):
        OrderToken.objects.create(user_id=user_id, token=f"made-up-{user_id}")
        for part in "ab":
            order = Order.objects.create(order_uuid=f"{part}-{user_id}", user_id=user_id, amount="0", oauth_token="t")
            if user_id not in DUE:
                OrderOutcome.objects.create(order=order, user_id=user_id, reason=Reason.NOT_FOUND, next_at=later)


@contextmanager
def at_each_group(act: Callable[[int], None]) -> Iterator[list[int]]:
    """`act(n)` while the n-th group is read; the list is of those that were read."""
    read: list[int] = []

    def look(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.replace('"', "`").startswith("SELECT `bytemark_tokens`"):
            read.append(len(read) + 1)
            act(read[-1])
        return execute(sql, *rest)

    with connection.execute_wrapper(look):
        yield read


def ask(*, filters: Mapping[str, Any] | None = None, **wanted: Any) -> SyncRun:
    run = request_run(trigger=Trigger.SCHEDULE, filters=PendingFilter.from_json(filters or {}), **wanted).run
    assert run is not None
    return run


def planned() -> list[int]:
    batches = SyncBatch.objects.order_by("number").values_list("user_ids", flat=True)
    return [user_id for batch in batches for user_id in batch]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("filters", "users", "deferred"), [({}, [1, 7], 20), ({"reason": "api_error"}, [], 0), ({"user": 7}, [7], 0)]
)
def test_planning_that_reads_slowly_past_many_users_is_no_dead_planning(
    settings: Any, queue: Queue, filters: dict[str, Any], users: list[int], deferred: int
) -> None:
    run = ask(filters=filters)
    most_of_the_limit = timedelta(seconds=settings.SYNC_HEARTBEAT_LIMIT * 0.6)

    def let_time_pass(_group: int) -> None:
        SyncRun.objects.update(
            planner_at=F("planner_at") - most_of_the_limit, heartbeat_at=F("heartbeat_at") - most_of_the_limit
        )
        tasks.watch()

    with at_each_group(let_time_pass) as read:
        tasks.plan_run(run.pk)
    run.refresh_from_db()
    assert (len(read), planned()) == (USERS, users)
    assert (run.planning_tries, run.planned_at is not None, run.orders_deferred) == (0, True, deferred)
    assert queue.tasks().count(("plan_run", (run.pk,))) == 1


@pytest.mark.slow
@pytest.mark.parametrize("batch_users", [1, 2])
@pytest.mark.parametrize(
    ("scope", "users", "deferred"), [({}, [1, 7], 20), ({"filters": {"user": 7}}, [7], 0), ({"limit": 1}, [1], 0)]
)
def test_planning_that_dies_again_and_again_gets_on_and_counts_everything_once(
    settings: Any, scope: dict[str, Any], users: list[int], deferred: int, batch_users: int
) -> None:
    """Killed in every fourth group: it goes on with that group, or where the batch began that waits to be filled."""
    settings.SYNC_BATCH_USERS = batch_users
    run = ask(**scope)
    tries = 0

    def die(group: int) -> None:
        if group % 4 == 0 and tries < 8:
            raise SystemExit

    with at_each_group(die):
        while SyncRun.objects.filter(pk=run.pk, planned_at=None).exists():
            tries += 1
            try:
                tasks.plan_run(run.pk)
            except SystemExit:
                continue
    run.refresh_from_db()
    assert (planned(), run.status, run.orders_deferred) == (users, RunStatus.RUNNING, deferred)
    if batch_users == 1:
        assert tries == (1 if "limit" in scope else 4)  # three groups a try


def test_planning_that_is_asked_to_stop_between_deferred_users_stops(queue: Queue) -> None:
    run = ask()

    def stop(group: int) -> None:
        if group == 4:
            request_stop(run.pk)

    with at_each_group(stop) as read:
        tasks.plan_run(run.pk)
    run.refresh_from_db()
    assert (len(read), run.status) == (4, RunStatus.INTERRUPTED)


def sync_here(act: Callable[[int], None]) -> tuple[in_process.RunReport, list[int]]:
    """The command's run; a sign of life is due at each group."""

    def take_long(group: int) -> None:
        act(group)
        time.sleep(lifecycle.beat_every() * 1.1)

    with at_each_group(take_long) as read:
        report = in_process.work_here(
            SyncStrategy(Scope()),
            client_settings=bytemark_settings(),
            workers=2,
            stop=threading.Event(),
            requested_by="test",
        )
    return report, read


@pytest.mark.slow
def test_a_command_gives_a_sign_of_life_for_each_group_that_it_passes_over(settings: Any) -> None:
    settings.SYNC_HEARTBEAT_LIMIT = 0.2
    seen: list[datetime] = []
    report, read = sync_here(lambda _group: seen.append(SyncRun.objects.get().heartbeat_at))
    assert len(read) == USERS
    assert sorted(set(seen)) == seen
    assert (report.totals.counts.users, report.totals.orders_deferred) == (2, 20)


def test_a_command_that_is_asked_to_stop_between_deferred_users_stops(settings: Any) -> None:
    settings.SYNC_HEARTBEAT_LIMIT = 0.2

    def stop(group: int) -> None:
        if group == 4:
            request_stop(SyncRun.objects.get().pk)

    report, read = sync_here(stop)
    assert (len(read), report.status, report.totals.orders_deferred) == (4, RunStatus.INTERRUPTED, 6)
    assert SyncRun.objects.get().orders_deferred == 6
