"""Users whose lists take longer than a batch has: each try reads on, nothing is counted twice, and it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.domain.run_scope import AuditScope
from bytemark_sync.models import (
    AuditFinding,
    BatchStatus,
    Order,
    OrderAttempt,
    OrderItem,
    OrderOutcome,
    RunStatus,
    SyncBatch,
    SyncRun,
)
from bytemark_sync.queue.requests import request_audit, request_stop
from bytemark_sync.sandbox import Sandbox, World
from bytemark_sync.storage.order_items import write
from tests.support.queue import Queue, ask, items
from tests.support.scenario import add_user, listed

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
Serve = Callable[..., Sandbox]
LONG, SHORT = 101, 102
PAGES = 20
TRIES = 10
"""More than any list here takes; what needs more goes nowhere."""


def world_of_a_long_list() -> World:
    """Wanted: the first order, the second, which has no pass, the last one, and one that is not listed."""
    world = World()
    orders = [listed(f"order-{number}") for number in range(2 * PAGES)]
    orders[1].items = []
    add_user(world, LONG, orders, wanted=["order-0", "order-1", orders[-1].uuid, "unknown"])
    add_user(world, SHORT, [listed("short")])
    return world


@pytest.fixture
def slow(serve: Serve, settings: Any) -> Callable[[World], Sandbox]:
    """`slow(world)`: two orders a page, and time for some eight pages a try."""

    def start(world: World) -> Sandbox:
        settings.BYTEMARK_PAGE_SIZE = 2
        settings.Q_CLUSTER = settings.Q_CLUSTER | {"timeout": 0.8}
        return serve(world, latency=0.04)

    return start


def worked(queue: Queue, run: SyncRun) -> int:
    """Work the run to its end; how many tries its batch took."""
    tries = queue.work(most=TRIES + 1) - 1  # the planning
    run.refresh_from_db()
    assert SyncBatch.objects.get(run=run).bookmarks == {}
    return tries


def test_a_list_that_takes_several_tries_is_read_once_and_counted_once(
    slow: Callable[[World], Sandbox], queue: Queue
) -> None:
    world = world_of_a_long_list()
    box = slow(world)
    run = ask()
    tries = worked(queue, run)
    assert 2 <= tries < TRIES
    (batch,) = SyncBatch.objects.all()
    assert (batch.status, batch.tries, run.status) == (BatchStatus.DONE, 0, RunStatus.SUCCEEDED)
    assert (run.users, run.orders, run.orders_synced) == (2, 5, 3)
    assert (run.orders_without_passes, run.orders_not_found) == (1, 1)
    assert items() == world.expected_items()
    assert dict(OrderOutcome.objects.values_list("order_id", "reason")) == world.expected_reasons()
    assert set(OrderOutcome.objects.values_list("attempts", flat=True)) == {1}
    assert OrderAttempt.objects.count() == 2
    assert box.stats().requests <= PAGES + 1 + 2 * (tries - 1)  # the page of the bookmark, and the one cut off
    again = ask()
    queue.work()
    again.refresh_from_db()
    assert (again.status, again.users, again.orders_deferred) == (RunStatus.SUCCEEDED, 0, 2)


def test_between_two_tries_a_batch_keeps_no_token_and_nobody_who_is_done(
    slow: Callable[[World], Sandbox], queue: Queue
) -> None:
    world = world_of_a_long_list()
    slow(world)
    run = ask()
    queue.work(most=2)
    (batch,) = SyncBatch.objects.all()
    assert (batch.status, batch.user_ids, list(batch.bookmarks)) == (BatchStatus.QUEUED, [LONG], [str(LONG)])
    kept = batch.bookmarks[str(LONG)]
    assert kept["page"] >= 1
    assert sorted(kept["orders"]) == [order.id for order in world.orders if order.order_uuid in ("order-39", "unknown")]
    assert "key-" not in json.dumps(batch.bookmarks)
    request_stop(run.pk)
    batch.refresh_from_db()
    run.refresh_from_db()
    assert (run.status, run.orders, run.orders_without_passes) == (RunStatus.INTERRUPTED, 3, 1)
    assert (batch.status, batch.bookmarks) == (BatchStatus.GIVEN_UP, {})


def test_an_order_that_comes_while_a_list_is_read_waits_for_the_next_run(
    slow: Callable[[World], Sandbox], queue: Queue
) -> None:
    slow(world_of_a_long_list())
    run = ask()
    queue.work(most=2)
    late = Order.objects.create(order_uuid="order-3", user_id=LONG, amount="0", oauth_token="key-101")
    worked(queue, run)
    assert (run.status, run.users, run.orders, run.orders_not_found) == (RunStatus.SUCCEEDED, 2, 5, 1)
    assert not OrderItem.objects.filter(order_id=late.pk).exists()
    assert not OrderOutcome.objects.filter(order_id=late.pk).exists()
    again = ask()
    queue.work()
    again.refresh_from_db()
    assert OrderItem.objects.filter(order_id=late.pk).count() == 1


def test_a_user_of_whom_the_rest_is_deferred_is_read_to_the_end(slow: Callable[[World], Sandbox], queue: Queue) -> None:
    world = World()
    orders = [listed(f"order-{number}") for number in range(2 * PAGES)]
    add_user(world, LONG, orders, wanted=["order-0", orders[-1].uuid])
    slow(world)
    OrderOutcome.objects.create(
        order_id=world.orders[1].id,
        user_id=LONG,
        reason=Reason.NOT_FOUND,
        next_at=timezone.now() + timedelta(days=1),
    )
    run = ask()
    assert worked(queue, run) >= 2
    assert (run.status, run.users, run.orders, run.orders_synced) == (RunStatus.SUCCEEDED, 1, 2, 2)
    assert items() == world.expected_items()


def test_a_list_without_end_ends_with_the_bound_of_pages(
    slow: Callable[[World], Sandbox], queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bytemark_sync.fetch.user_orders.fetch_steps.__kwdefaults__", {"max_pages": 12})
    world = world_of_a_long_list()
    slow(world)
    run = ask()
    assert 2 <= worked(queue, run) < TRIES
    assert (run.status, run.users, run.users_failed) == (RunStatus.PARTIAL, 2, 1)
    assert (run.orders, run.orders_synced, run.orders_without_passes) == (5, 2, 1)
    assert OrderOutcome.objects.filter(reason=Reason.API_ERROR).count() == 2


def test_an_audit_counts_each_order_once_too(slow: Callable[[World], Sandbox], queue: Queue, settings: Any) -> None:
    world = world_of_a_long_list()
    cluster = settings.Q_CLUSTER
    box = slow(world)
    settings.Q_CLUSTER = cluster
    ask()
    queue.work()
    settings.Q_CLUSTER = cluster | {"timeout": 0.8}
    OrderItem.objects.update(product_uuid="other")
    before = box.stats().requests
    run = request_audit(AuditScope())
    tries = worked(queue, run)
    assert 2 <= tries < TRIES
    assert (run.status, run.users, run.orders) == (RunStatus.SUCCEEDED, 2, 3)
    assert AuditFinding.objects.filter(run=run).count() == 3
    assert box.stats().requests - before <= PAGES + 1 + 2 * (tries - 1)


@pytest.mark.parametrize("written", [1, 2])
def test_a_worker_that_dies_between_the_transactions_of_one_user_leaves_nothing_counted_twice(
    serve: Serve, queue: Queue, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Here a transaction takes two orders, and the user has five that are listed without a pass."""
    monkeypatch.setattr("bytemark_sync.runs.writer.ORDERS_PER_TRANSACTION", 2)
    world = World()
    orders = [listed(f"order-{number}") for number in range(5)]
    for order in orders:
        order.items = []
    add_user(world, LONG, orders)
    serve(world)
    run = ask()
    queue.work(most=1)
    calls = []

    def dying(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == written + 1:
            raise SystemExit
        return write(*args, **options)

    monkeypatch.setattr("bytemark_sync.runs.writer.write", dying)
    with pytest.raises(SystemExit):
        queue.work(most=1)
    worked(queue, run)
    assert (run.status, run.users, run.orders, run.orders_without_passes) == (RunStatus.SUCCEEDED, 1, 5, 5)
    assert set(OrderOutcome.objects.values_list("attempts", flat=True)) == {1}
    assert OrderAttempt.objects.count() == 5
