"""Audits through the queue, worked inside the test's process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from django.db import connection

from bytemark_sync.domain.run_scope import AuditScope
from bytemark_sync.models import AuditFinding, OrderItem, RunKind, RunStatus, SyncRun, Trigger
from bytemark_sync.queue import batches
from bytemark_sync.queue.requests import request_audit, request_run, request_stop
from bytemark_sync.sandbox import Sandbox, World
from bytemark_sync.slack.reporter import NOT_NEEDED
from tests.support.queue import Queue

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def world(queue: Queue, serve: Callable[..., Sandbox]) -> World:
    """All stored by a run before."""
    made = World.sample(users=10, listed=(3, 12), seed=3)
    serve(made)
    request_run(trigger=Trigger.COMMAND)
    queue.work()
    assert OrderItem.objects.count() == len(made.expected_items())
    return made


def audited(queue: Queue, scope: AuditScope, *, twice: bool = False) -> SyncRun:
    run = request_audit(scope)
    queue.work(twice=twice)
    run.refresh_from_db()
    return run


def test_an_audit_of_some_orders_looks_at_these_alone(queue: Queue, world: World) -> None:
    orders = tuple(order.id for order in world.orders[1:20:4])
    OrderItem.objects.filter(order_id__in=[world.orders[0].id, world.orders[1].id]).update(product_uuid="other")
    run = audited(queue, AuditScope(order_ids=orders))
    assert (run.status, run.orders) == (RunStatus.SUCCEEDED, len(orders))
    assert set(AuditFinding.objects.values_list("order_id", "kind")) == {(orders[0], "product_differs")}


def test_an_audit_of_no_order_ends_at_once(queue: Queue, world: World) -> None:
    run = audited(queue, AuditScope(order_ids=()))
    assert (run.status, run.users, run.api_requests) == (RunStatus.SUCCEEDED, 0, 0)


def test_an_audit_of_everything_does_not_speak_for_the_sync(queue: Queue, world: World) -> None:
    run = audited(queue, AuditScope())
    assert (run.kind, run.trigger, run.scope, run.whole) == (RunKind.AUDIT, Trigger.COMMAND, {}, False)


def test_tasks_delivered_twice_find_and_repair_once(queue: Queue, world: World) -> None:
    lost = OrderItem.objects.order_by("pk").last()
    assert lost is not None
    OrderItem.objects.filter(order_id=lost.order_id).exclude(pk=lost.pk).update(product_uuid="other")
    kept = OrderItem.objects.filter(order_id=lost.order_id).exclude(pk=lost.pk).count()
    if not kept:
        OrderItem.objects.create(
            order_id=lost.order_id, order_uuid="x", oauth_token="made-up", product_uuid="p", pass_uuid="unknown"
        )
    lost.delete()
    run = audited(queue, AuditScope(repair=True), twice=True)
    assert run.items_created == 1
    assert AuditFinding.objects.filter(run=run, kind="pass_missing", repaired=True).count() == 1
    assert OrderItem.objects.filter(pass_uuid=lost.pass_uuid).count() == 1


def test_a_stopped_audit_is_interrupted(queue: Queue, world: World) -> None:
    run = request_audit(AuditScope())
    assert request_stop(run.pk)
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.api_requests) == (RunStatus.INTERRUPTED, 0)


def test_users_under_audit_may_be_resynced(queue: Queue, world: World) -> None:
    user = world.orders[0].user_id
    request_audit(AuditScope(users=(user,)))
    assert request_run(trigger=Trigger.ADMIN, users=[user]).run is not None


@pytest.mark.slow
def test_a_batch_that_is_queued_again_keeps_each_finding_once(queue: Queue, world: World) -> None:
    OrderItem.objects.update(product_uuid="other")
    run = audited(queue, AuditScope())
    found = AuditFinding.objects.filter(run=run).count()
    assert found == OrderItem.objects.count()
    first = run.batches.order_by("number").first()
    assert first is not None
    users = sorted({order.user_id for order in world.orders})[:3]
    SyncRun.objects.filter(pk=run.pk).update(status=RunStatus.RUNNING, finished_at=None)
    run.batches.filter(pk=first.pk).update(status="queued", user_ids=users)
    batches.work_batch(first.pk)
    assert AuditFinding.objects.filter(run=run).count() == found


def test_its_last_log_line_says_what_it_found(queue: Queue, world: World, caplog: pytest.LogCaptureFixture) -> None:
    lost = OrderItem.objects.order_by("pk").last()
    assert lost is not None
    lost.delete()
    with caplog.at_level(logging.INFO, "bytemark_sync"):
        run = audited(queue, AuditScope(repair=True))
    assert f"audit {run.pk} succeeded: {run.users} users, 0 failed; {run.orders} orders, 1 findings, 1 repaired" in (
        caplog.messages
    )


def test_findings_that_cannot_be_counted_cost_it_neither_end_nor_report(
    queue: Queue, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    run = request_audit(AuditScope(order_ids=()))
    with caplog.at_level(logging.INFO, "bytemark_sync"), table_away(AuditFinding._meta.db_table):
        queue.work()
    run.refresh_from_db()
    assert (run.status, run.error, run.slack) == (RunStatus.SUCCEEDED, "", NOT_NEEDED)
    (line,) = [told for told in caplog.messages if told.startswith(f"audit {run.pk} succeeded")]
    assert "no such table" in line


@contextmanager
def table_away(table: str) -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO {table}_away")
        try:
            yield
        finally:
            cursor.execute(f"ALTER TABLE {table}_away RENAME TO {table}")
