"""Batches: claimed once, worked in any order, handed back, tried again; the run closed once and truthfully."""

from __future__ import annotations

import re
import threading
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection, connections
from django.utils import timezone
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler

from bytemark_sync import tasks
from bytemark_sync.models import (
    BatchStatus,
    ClusterBeat,
    OrderOutcome,
    OrderToken,
    RunStatus,
    SyncBatch,
    SyncRun,
    Trigger,
)
from bytemark_sync.queue import batches, closing, schedules
from bytemark_sync.queue.requests import request_run, request_stop
from bytemark_sync.sandbox import Sandbox, World
from bytemark_sync.storage.database_retry import retrying
from tests.support.queue import Queue, ask, items
from tests.support.servers import wait_for
from tests.support.slack import FakeSlack

pytestmark = pytest.mark.django_db(transaction=True)
Serve = Callable[..., Sandbox]


def planned(**wanted: Any) -> SyncRun:
    run = ask(**wanted)
    tasks.plan_run(run.pk)
    OrmQ.objects.filter(pk=OrmQ.objects.order_by("pk").values("pk")[:1].get()["pk"]).delete()  # its planning
    run.refresh_from_db()
    return run


@pytest.mark.slow
@pytest.mark.parametrize("trouble", [0.0, 0.4])
@pytest.mark.parametrize("twice", [False, True])
def test_a_run_stores_everything_once_in_whatever_order_its_batches_come(
    serve: Serve, queue: Queue, trouble: float, twice: bool
) -> None:
    world = World.sample(users=20, seed=2, trouble=trouble)
    serve(world)
    before = len(items())
    run = ask()
    queue.work(shuffle=True, twice=twice)
    run.refresh_from_db()
    assert items() == world.expected_items()
    assert dict(OrderOutcome.objects.values_list("order_id", "reason")) == world.expected_reasons()
    failed = len(world.expected_failed_users())
    assert run.status == (RunStatus.PARTIAL if failed else RunStatus.SUCCEEDED)
    assert (run.users, run.users_planned, run.users_failed) == (20, 20, failed)
    assert run.orders == len(world.pending())
    assert run.orders_synced == len(world.pending()) - len(world.expected_reasons())
    assert run.items_created == len(world.expected_items()) - before
    assert run.finished_at is not None
    assert set(SyncBatch.objects.values_list("status", flat=True)) == {BatchStatus.DONE}


def test_the_apis_behaviour_is_added_up_over_the_batches(serve: Serve, queue: Queue) -> None:
    box = serve(World.sample(users=9, seed=3))
    run = ask()
    queue.work()
    run.refresh_from_db()
    asked = box.stats().requests
    assert run.api_requests == asked == sum(run.answers.values()) == sum(run.latency["buckets"].values())
    assert run.latency["max"] > 0


def test_task_arguments_are_ids_alone(serve: Serve, queue: Queue) -> None:
    serve(World.sample(users=9, seed=3))
    planned(users=[1001, 1002, 1003])
    for row in OrmQ.objects.all():
        assert all(isinstance(argument, int) for argument in row.args())
        assert row.kwargs() == {}


@pytest.mark.slow
def test_a_few_batches_are_handed_out_at_a_time(serve: Serve, queue: Queue, settings: Any) -> None:
    settings.SYNC_BATCH_USERS = 1
    serve(World.sample(users=30, seed=3))
    run = planned()
    assert len(queue.tasks()) == batches.MIN_BATCHES_HANDED_OUT
    later = request_run(trigger=Trigger.ADMIN, users=[1001])  # a person waits for a few of them, not for all
    assert later.run is not None
    assert queue.tasks()[batches.MIN_BATCHES_HANDED_OUT] == ("plan_run", (later.run.pk,))
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users) == (RunStatus.SUCCEEDED, 30)


def test_more_are_handed_out_where_more_workers_live(serve: Serve, queue: Queue, settings: Any) -> None:
    settings.SYNC_BATCH_USERS = 1
    serve(World.sample(users=30, seed=3))
    ClusterBeat.objects.create(name="one:1", workers=4)
    ClusterBeat.objects.create(name="two:1", workers=6)
    planned()
    assert len(queue.tasks()) == 20


@pytest.mark.slow
def test_a_batch_hands_back_what_it_did_not_reach_in_its_time(serve: Serve, queue: Queue, settings: Any) -> None:
    settings.SYNC_BATCH_USERS = 40
    settings.BYTEMARK_WORKERS = 1
    settings.Q_CLUSTER = django_settings.Q_CLUSTER | {
        "timeout": 3
    }  # half of it on a busy machine is enough for one user
    world = World.sample(users=40, listed=(3, 5), seed=3)
    serve(world, latency=0.07)
    run = ask()
    queue.work(most=2)
    (batch,) = SyncBatch.objects.all()
    assert (batch.status, batch.tries) == (BatchStatus.QUEUED, 0)
    assert 0 < len(batch.user_ids) < 40
    assert queue.tasks() == [("sync_batch", (batch.pk,))]
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users) == (RunStatus.SUCCEEDED, 40)
    assert items() == world.expected_items()


@pytest.mark.slow
def test_a_busy_batch_whose_run_is_asked_to_stop_stops(serve: Serve, queue: Queue, settings: Any) -> None:
    """Every half second something is stored, so no sign of life of its own is due."""
    settings.SYNC_BATCH_USERS = 1000
    world = World.sample(users=400, listed=(3, 5), seed=3)
    serve(world, latency=0.05)
    run = planned()

    def ask_to_stop() -> None:
        try:
            wait_for(lambda: SyncRun.objects.get(pk=run.pk).users > 0, 30, "a write", every=0.02)
            request_stop(run.pk)
        finally:
            connections.close_all()

    person = threading.Thread(target=ask_to_stop)
    person.start()
    queue.work()
    person.join()
    run.refresh_from_db()
    (batch,) = SyncBatch.objects.all()
    assert (run.status, batch.status) == (RunStatus.INTERRUPTED, BatchStatus.GIVEN_UP)
    assert 0 < run.users < 400
    assert (run.users + len(batch.user_ids), run.items_created) == (400, len(items()))


def test_a_batch_whose_run_is_closed_writes_nothing_more_and_is_given_up(serve: Serve, queue: Queue) -> None:
    world = World.sample(users=3, listed=(3, 5), seed=3)
    serve(world, latency=0.5)
    run = planned()
    (batch,) = SyncBatch.objects.all()

    def close() -> None:
        try:
            time.sleep(0.3)
            closing.end(run.pk, RunStatus.FAILED, error="made up")
        finally:
            connections.close_all()

    closer = threading.Thread(target=close)
    closer.start()
    assert tasks.sync_batch(batch.pk) == "its run was closed meanwhile"
    closer.join()
    run.refresh_from_db()
    batch.refresh_from_db()
    assert (run.status, run.users, run.items_created, items()) == (RunStatus.FAILED, 0, 0, [])
    assert (batch.status, len(batch.user_ids)) == (BatchStatus.GIVEN_UP, 3)


@pytest.mark.slow
def test_a_batch_that_never_gets_anywhere_is_given_up(serve: Serve, queue: Queue, settings: Any) -> None:
    settings.Q_CLUSTER = django_settings.Q_CLUSTER | {"timeout": 1}
    settings.BYTEMARK_READ_TIMEOUT = 1.0
    settings.BYTEMARK_REQUEST_DEADLINE = 1.0
    serve(World.sample(users=2, seed=3), faults="hang")
    run = ask()
    queue.work()
    (batch,) = SyncBatch.objects.all()
    assert (batch.status, batch.tries, len(batch.user_ids)) == (BatchStatus.GIVEN_UP, 2, 2)
    run.refresh_from_db()
    assert (run.status, run.users) == (RunStatus.FAILED, 0)
    assert run.error == "1 of 1 batch given up; 2 users not reached, whose orders stay pending."


def test_a_batch_that_breaks_off_is_tried_twice_more_and_the_task_counts_as_failed(
    serve: Serve, queue: Queue, settings: Any
) -> None:
    """A worker without the API's address, say."""
    world = World.sample(users=6, seed=3)
    box = serve(world)
    run = planned()
    first, _second = SyncBatch.objects.order_by("number")
    settings.BYTEMARK_CUSTOMER_API_URL = ""
    for tries in (1, 2):
        with pytest.raises(Exception, match="BYTEMARK_CUSTOMER_API_URL"):
            tasks.sync_batch(first.pk)
        first.refresh_from_db()
        assert (first.status, first.tries) == (BatchStatus.QUEUED, tries)
    with pytest.raises(Exception, match="BYTEMARK_CUSTOMER_API_URL"):
        tasks.sync_batch(first.pk)
    first.refresh_from_db()
    assert first.status == BatchStatus.GIVEN_UP
    settings.BYTEMARK_CUSTOMER_API_URL = box.url
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users) == (RunStatus.PARTIAL, 3)
    assert "1 of 2 batches given up; 3 users" in run.error


def test_an_exception_in_a_batch_ends_the_run_with_its_class_and_place(
    serve: Serve, queue: Queue, fake_slack: FakeSlack
) -> None:
    """A token of bytes, which no portal is known to have; the text of the exception would repeat a value."""
    world = World.sample(users=3, seed=3)
    serve(world)
    run = planned()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE bytemark_tokens SET token = x'73656372657421'")
    (batch,) = SyncBatch.objects.all()
    for _ in range(3):
        with pytest.raises(
            batches.BrokeOff, match=r"^internal error: TypeError in \w+, fingerprints.py line \d+$"
        ) as caught:
            tasks.sync_batch(batch.pk)
        assert "secret" not in "".join(traceback.format_exception(caught.value))
    run.refresh_from_db()
    assert run.status == RunStatus.FAILED
    assert re.search(r"1 of 1 batch given up; 3 users .*TypeError in \w+, fingerprints.py line \d+", run.error)
    (post,) = fake_slack.posts
    assert "TypeError" in post["text"]


@pytest.mark.parametrize("planned_before", [0, 3])
def test_an_exception_while_planning_ends_the_run_behind_what_was_planned(
    serve: Serve, queue: Queue, fake_slack: FakeSlack, monkeypatch: pytest.MonkeyPatch, planned_before: int
) -> None:
    world = World.sample(users=6, seed=3)
    serve(world)
    monkeypatch.setattr("bytemark_sync.storage.keyset.ORDERS_PER_GROUP", 1)
    users = sorted({order.user_id for order in world.pending()})
    with connection.cursor() as cursor:
        cursor.execute("UPDATE bytemark_tokens SET token = x'73' WHERE user_id >= %s", [users[planned_before]])
    run = ask()
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users) == (RunStatus.FAILED, planned_before)
    pending = {order.id for order in world.pending()}
    worked = {order.id for order in world.pending() if order.user_id in users[:planned_before]}
    assert {item.order_id for item in items()} & pending == worked
    assert re.search(r"^internal error: TypeError in \w+, fingerprints.py line \d+$", run.error)
    (post,) = fake_slack.posts
    assert run.error in post["text"]
    assert queue.tasks() == []


def test_a_batch_leaves_the_orders_that_the_database_refuses_and_stores_their_neighbours(
    serve: Serve, queue: Queue
) -> None:
    """Two orders of one user, who is counted once, however the write was cut to find them."""
    world = World.sample(users=6, orders_per_user=3, seed=3)
    serve(world)
    refused = [order for order in world.pending() if order.user_id == world.pending()[0].user_id][:2]
    uuids = ", ".join(f"'{order.order_uuid}'" for order in refused)
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER refuses BEFORE INSERT ON bytemark_order_items"
            f" WHEN NEW.order_uuid IN ({uuids}) BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    try:
        run = ask()
        queue.work(twice=True)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER refuses")
    run.refresh_from_db()
    assert (run.status, run.users, run.users_failed, run.orders_invalid) == (RunStatus.SUCCEEDED, 6, 0, 2)
    assert run.orders_synced == run.orders - 2 == len(world.pending()) - 2
    assert set(OrderOutcome.objects.values_list("order_id", flat=True)) == {order.id for order in refused}


@pytest.mark.slow
def test_a_worker_whose_batch_was_queued_again_meanwhile_writes_nothing_more(serve: Serve, queue: Queue) -> None:
    world = World.sample(users=3, listed=(3, 5), seed=3)
    serve(world, latency=0.5)
    run = planned()
    (batch,) = SyncBatch.objects.all()

    def take_away() -> None:
        try:
            time.sleep(0.3)
            SyncBatch.objects.filter(pk=batch.pk).update(status=BatchStatus.RUNNING, worker="another")
        finally:
            connections.close_all()

    thief = threading.Thread(target=take_away)
    thief.start()
    assert tasks.sync_batch(batch.pk) == "taken over by another worker after a silence"
    thief.join()
    run.refresh_from_db()
    batch.refresh_from_db()
    assert (run.status, run.users, run.items_created, items()) == (RunStatus.RUNNING, 0, 0, [])
    assert (batch.worker, batch.status) == ("another", BatchStatus.RUNNING)


@pytest.mark.parametrize("status", [BatchStatus.RUNNING, BatchStatus.DONE, BatchStatus.GIVEN_UP])
def test_a_batch_that_does_not_wait_is_left_alone(serve: Serve, status: str) -> None:
    box = serve(World.sample(users=3, seed=3))
    planned()
    SyncBatch.objects.update(status=status)
    assert tasks.sync_batch(SyncBatch.objects.get().pk) == "nothing to do: the batch is not waiting any more"
    assert box.stats().requests == 0


def test_tasks_of_a_state_that_a_restore_took_back_find_nothing_to_do(serve: Serve, queue: Queue) -> None:
    """A broker that was not restored with the database still has them (docs/backup.md)."""
    box = serve(World.sample(users=3, seed=3))
    assert tasks.sync_batch(12345) == "nothing to do: the batch is not waiting any more"
    tasks.plan_run(12345)
    assert not tasks.close_run_if_done(12345)
    assert (box.stats().requests, queue.tasks(), SyncRun.objects.count()) == (0, [], 0)


def test_a_run_where_nothing_worked_has_failed(serve: Serve, queue: Queue) -> None:
    serve(World.sample(users=6, seed=3), faults="status:status=404")
    run = ask()
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users, run.users_failed) == (RunStatus.FAILED, 6, 6)


def test_a_run_with_one_failed_user_is_partial(serve: Serve, queue: Queue) -> None:
    world = World.sample(users=6, seed=3)
    user_id = world.pending()[0].user_id
    serve(world, faults=f"status:users={user_id}")
    run = ask()
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users, run.users_failed) == (RunStatus.PARTIAL, 6, 1)


def test_a_run_is_closed_by_one_of_many_that_try(serve: Serve) -> None:
    serve(World.sample(users=6, seed=3))
    run = planned()
    SyncBatch.objects.update(status=BatchStatus.DONE)
    barrier = threading.Barrier(4)
    closed: list[bool] = []

    def close() -> None:
        try:
            barrier.wait()
            closed.append(retrying(lambda: tasks.close_run_if_done(run.pk)))
        finally:
            connections.close_all()

    closers = [threading.Thread(target=close) for _ in range(4)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join()
    assert sorted(closed) == [False, False, False, True]


@pytest.mark.parametrize("open_status", [BatchStatus.QUEUED, BatchStatus.RUNNING])
def test_a_run_with_an_open_batch_or_unplanned_stays_open(serve: Serve, open_status: str) -> None:
    serve(World.sample(users=6, seed=3))
    run = planned()
    first, second = SyncBatch.objects.order_by("number")
    SyncBatch.objects.filter(pk=first.pk).update(status=BatchStatus.DONE)
    SyncBatch.objects.filter(pk=second.pk).update(status=open_status)
    assert tasks.close_run_if_done(run.pk) is False
    SyncBatch.objects.update(status=BatchStatus.DONE)
    SyncRun.objects.update(planned_at=None)
    assert tasks.close_run_if_done(run.pk) is False


def test_users_who_were_done_meanwhile_cost_nothing(serve: Serve, queue: Queue) -> None:
    world = World.sample(users=6, seed=3)
    box = serve(world)
    planned()
    OrderToken.objects.all().delete()  # nobody is pending any more
    queue.work()
    assert (box.stats().requests, SyncRun.objects.get().status) == (0, RunStatus.SUCCEEDED)


@pytest.mark.slow
def test_a_task_that_runs_out_of_time_hands_its_batch_back(serve: Serve, settings: Any) -> None:
    """As django-q2 does it: an alarm raises a SystemExit in the main thread, and the process dies 3 s later."""
    from django_q.exceptions import TimeoutException
    from django_q.timeout import TimeoutHandler

    world = World.sample(users=3, seed=3)
    serve(world, faults="hang")
    settings.BYTEMARK_READ_TIMEOUT = settings.BYTEMARK_REQUEST_DEADLINE = 200
    planned()
    (batch,) = SyncBatch.objects.all()
    began = time.monotonic()
    with pytest.raises(TimeoutException), TimeoutHandler(1):
        tasks.sync_batch(batch.pk)
    assert time.monotonic() - began < 20  # it waits for no request that hangs
    batch.refresh_from_db()
    assert (batch.status, batch.tries) == (BatchStatus.QUEUED, 1)


def test_a_partial_run_of_the_queue_is_told_once_to_slack(serve: Serve, queue: Queue, fake_slack: FakeSlack) -> None:
    world = World.sample(users=6, seed=3)
    user_id = world.pending()[0].user_id
    serve(world, faults=f"status:users={user_id}")
    run = ask()
    queue.work(twice=True)
    run.refresh_from_db()
    (post,) = fake_slack.posts
    assert f"API error: 1 user, 3 orders (user {user_id})" in post["text"]
    assert not any(order.oauth_token in post["text"] for order in world.orders if order.oauth_token)
    assert run.slack == "sent"


def test_a_due_schedule_leads_to_a_run(serve: Serve, queue: Queue) -> None:
    world = World.sample(users=6, seed=3)
    serve(world)
    due = timezone.now() - timedelta(minutes=1)
    Schedule.objects.filter(func=schedules.SYNC).update(next_run=due)
    scheduler()
    queue.work()
    (run,) = SyncRun.objects.all()
    assert (run.trigger, run.status) == (Trigger.SCHEDULE, RunStatus.SUCCEEDED)
    assert run.requested_by == f"schedule, due {due:%Y-%m-%d %H:%M} UTC"
    assert items() == world.expected_items()
