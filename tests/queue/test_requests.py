"""Asking for a run, planning it, and stopping it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from bytemark_sync import tasks
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import Order, OrderOutcome, OrderToken, RunStatus, SyncBatch, SyncRun, Trigger
from bytemark_sync.queue import planning
from bytemark_sync.queue.requests import RunRequest, request_run, request_stop
from bytemark_sync.sandbox import Sandbox, World
from bytemark_sync.storage.database_retry import retrying
from bytemark_sync.storage.pending import Deferred
from tests.support.queue import Queue, items

pytestmark = pytest.mark.django_db(transaction=True)
Serve = Callable[..., Sandbox]


@pytest.fixture
def users(settings: Any) -> list[int]:
    """Ten users with two pending orders each, and no API behind them."""
    settings.BYTEMARK_CUSTOMER_API_URL = "http://127.0.0.1:9"
    settings.SYNC_BATCH_USERS = 3
    for user_id in range(1, 11):
        OrderToken.objects.create(user_id=user_id, token=f"made-up-{user_id}")
        for part in "ab":
            Order.objects.create(order_uuid=f"{part}-{user_id}", user_id=user_id, amount="0", oauth_token="t")
    return list(range(1, 11))


def planned(run: SyncRun | None) -> list[int]:
    assert run is not None
    tasks.plan_run(run.pk)
    batches = SyncBatch.objects.filter(run=run).order_by("number").values_list("user_ids", flat=True)
    return [user_id for batch in batches for user_id in batch]


def ask(**wanted: Any) -> SyncRun:
    run = request_run(trigger=wanted.pop("trigger", Trigger.COMMAND), **wanted).run
    assert run is not None
    return run


def outcome(user_id: int, reason: Reason, *, days: int = 0, waits: bool = False) -> None:
    now = timezone.now()
    for order in Order.objects.filter(user_id=user_id):
        OrderOutcome.objects.create(
            order=order,
            user_id=user_id,
            reason=reason,
            first_at=now - timedelta(days=days),
            next_at=now + timedelta(days=1) if waits else None,
        )


# --- Asking ---------------------------------------------------------------------------------------------------------


def test_a_run_is_queued_once_the_callers_transaction_is_committed(queue: Queue) -> None:
    with transaction.atomic():
        run = ask(requested_by="ann")
        assert queue.tasks() == []
    assert (run.status, run.requested_by, run.scope) == (RunStatus.QUEUED, "ann", {})
    assert queue.tasks() == [("plan_run", (run.pk,))]


def test_a_request_that_is_rolled_back_leaves_nothing(queue: Queue) -> None:
    with transaction.atomic():
        ask()
        transaction.set_rollback(True)
    assert (queue.tasks(), SyncRun.objects.count()) == ([], 0)


def test_users_of_a_live_resync_are_not_asked_for_again() -> None:
    first = request_run(trigger=Trigger.ADMIN, users=[1, 2])
    second = request_run(trigger=Trigger.ADMIN, users=[2, 3])
    third = request_run(trigger=Trigger.ADMIN, users=[3, 1])
    assert first.users_under_way == ()
    assert second.run is not None
    assert (second.run.scope, second.users_under_way) == ({"users": [3]}, (2,))
    assert (third.run, third.users_under_way) == (None, (1, 3))
    SyncRun.objects.update(status=RunStatus.SUCCEEDED)
    assert request_run(trigger=Trigger.ADMIN, users=[1]).run is not None


def test_one_order_of_a_user_under_way_does_not_hold_the_user_up(users: list[int]) -> None:
    """`--user 3 --order a-3` works that order alone, and so does a resync of one order's uuid."""
    ask(users=[3], orders=["a-3"])
    by_uuid = ask(trigger=Trigger.ADMIN, orders=["b-4"])
    assert planned(by_uuid) == [4]
    wanted = request_run(trigger=Trigger.ADMIN, users=[3, 4])
    assert wanted.run is not None
    assert (wanted.run.scope, wanted.users_under_way) == ({"users": [3, 4]}, ())


def test_a_user_whom_a_limit_may_leave_out_is_not_under_way(users: list[int]) -> None:
    ask(users=[3, 4], limit=1)
    assert request_run(trigger=Trigger.ADMIN, users=[4]).run is not None


def test_the_same_filter_is_not_asked_for_twice_and_its_users_are_under_way(users: list[int]) -> None:
    for user_id in users[:5]:
        outcome(user_id, Reason.API_ERROR, days=2)
    wanted = {"reason": "api_error", "first_before": timezone.now().isoformat()}
    first = request_run(trigger=Trigger.ADMIN, filters=wanted)
    later = wanted | {"first_before": (timezone.now() + timedelta(minutes=3)).isoformat()}
    again = request_run(trigger=Trigger.ADMIN, filters=later)
    assert first.run is not None
    assert (again.run, again.same) == (None, first.run)
    assert request_run(trigger=Trigger.ADMIN, filters={"reason": "not_found"}).run is not None
    assert planned(first.run) == users[:5]
    by_name = request_run(trigger=Trigger.ADMIN, users=[3, 9])
    assert by_name.run is not None
    assert (by_name.run.scope, by_name.users_under_way) == ({"users": [9]}, (3,))
    SyncRun.objects.update(status=RunStatus.SUCCEEDED)
    assert request_run(trigger=Trigger.ADMIN, filters=wanted).run is not None


def test_everything_is_not_asked_for_twice_by_people(users: list[int]) -> None:
    first = request_run(trigger=Trigger.ADMIN, include_deferred=True)
    assert request_run(trigger=Trigger.ADMIN, include_deferred=True).same == first.run
    assert request_run(trigger=Trigger.COMMAND, include_deferred=True).run is not None


def test_two_clicks_at_the_same_moment_ask_once() -> None:
    barrier = threading.Barrier(3)
    answers: list[RunRequest] = []

    def click() -> None:
        try:
            barrier.wait()
            answers.append(retrying(lambda: request_run(trigger=Trigger.ADMIN, users=[1, 2])))
        finally:
            connections.close_all()

    clicks = [threading.Thread(target=click) for _ in range(3)]
    for each in clicks:
        each.start()
    for each in clicks:
        each.join()
    assert sorted(answer.users_under_way for answer in answers) == [(), (1, 2), (1, 2)]
    assert SyncRun.objects.count() == 1


@pytest.mark.parametrize(
    "filters",
    [
        {"colour": "red"},
        {"reason": "tired"},
        {"first_before": "yesterday"},
        {"first_after": ""},
        {"next_after": "soon"},
    ],
)
def test_a_filter_that_cannot_be_read_is_refused(filters: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"unknown|ISO"):
        ask(filters=filters)
    assert SyncRun.objects.count() == 0


def test_a_broker_that_is_away_loses_no_run(settings: Any, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown with real servers in test_clusters; here: the request itself does not fail, and the watchdog queues it."""
    from django_q.conf import Conf

    with monkeypatch.context() as broken:
        broken.setattr(Conf, "ORM", None)
        broken.setattr(Conf, "REDIS", "redis://127.0.0.1:1/0?socket_connect_timeout=1")
        run = ask()
    assert queue.tasks() == []
    silent = timezone.now() - timedelta(seconds=settings.SYNC_HEARTBEAT_LIMIT + 1)
    SyncRun.objects.update(heartbeat_at=silent, planner_at=silent)
    tasks.watch()
    assert queue.tasks() == [("plan_run", (run.pk,))]


# --- Planning -------------------------------------------------------------------------------------------------------


def test_planning_cuts_every_due_user_into_batches_once(users: list[int], queue: Queue) -> None:
    run = ask()
    queue.lose()
    assert planned(run) == users
    run.refresh_from_db()
    assert (run.status, run.users_planned) == (RunStatus.RUNNING, 10)
    assert run.planned_at is not None
    batches = list(SyncBatch.objects.order_by("number"))
    assert [(batch.number, len(batch.user_ids)) for batch in batches] == [(1, 3), (2, 3), (3, 3), (4, 1)]
    assert queue.tasks() == [("sync_batch", (batch.pk,)) for batch in batches]
    tasks.plan_run(run.pk)
    assert SyncBatch.objects.count() == 4


@pytest.mark.parametrize("done", [1, 2, 3])
def test_planning_goes_on_where_it_stopped(users: list[int], done: int) -> None:
    run = ask(trigger=Trigger.SCHEDULE)
    SyncRun.objects.update(status=RunStatus.RUNNING, planned_user_id=users[3 * done - 1], users_planned=3 * done)
    for number in range(done):
        SyncBatch.objects.create(run=run, number=number + 1, user_ids=users[3 * number : 3 * number + 3])
    assert planned(run) == users
    run.refresh_from_db()
    assert run.users_planned == 10


def test_a_planner_that_falls_behind_another_stops(users: list[int]) -> None:
    run = ask()
    tasks.plan_run(run.pk)
    SyncRun.objects.update(planned_at=None)
    assert planning._save(run.pk, users[2], 9, planning._Step(users[3:6], users[5]), Deferred()) is False
    assert SyncBatch.objects.count() == 4


@pytest.mark.parametrize("limit", [1, 3, 4, 50])
def test_a_limit_is_kept_over_all_batches(users: list[int], limit: int) -> None:
    assert planned(ask(limit=limit)) == users[:limit]


def test_deferred_orders_are_passed_over_and_counted_once(users: list[int]) -> None:
    for user_id in (2, 3, 9):
        outcome(user_id, Reason.NOT_FOUND, waits=True)
    run = ask()
    assert planned(run) == [1, 4, 5, 6, 7, 8, 10]
    run.refresh_from_db()
    assert run.orders_deferred == 6
    assert planned(ask(include_deferred=True)) == users
    assert planned(ask(users=[3])) == [3]
    assert planned(ask(orders=["A-9 "])) == [9]


@pytest.mark.parametrize(
    ("filters", "matched"),
    [
        ({"reason": "not_found"}, [2, 3]),
        ({"reason": ["not_found", "api_error"]}, [2, 3, 4]),
        ({"reason": "never_tried"}, [1, 5, 6, 7, 8, 9, 10]),
        ({"reason": ["never_tried", "api_error"]}, [1, 4, 5, 6, 7, 8, 9, 10]),
        ({"reason": "no_token"}, []),
        ({"user": 3}, [3]),
        ({"user": 99}, []),
        ({"user": 3, "reason": "api_error"}, []),
        ({"first_before": "AGO 5"}, [3, 4]),
        ({"first_after": "AGO 5"}, [2]),
        ({"first_after": "AGO 5", "reason": "never_tried"}, []),
        ({"first_before": "AGO 5", "reason": "not_found"}, [3]),
        ({"next_after": "AGO 5"}, [2]),
        ({"next_after": "AGO 5", "reason": "api_error"}, []),
        ({"next_after": "AGO 5", "reason": "never_tried"}, []),
    ],
)
def test_filters_are_evaluated_while_planning(users: list[int], filters: dict[str, Any], matched: list[int]) -> None:
    outcome(2, Reason.NOT_FOUND, days=1, waits=True)
    outcome(3, Reason.NOT_FOUND, days=10)
    outcome(4, Reason.API_ERROR, days=20)
    ago = (timezone.now() - timedelta(days=5)).isoformat()
    run = ask(filters={key: ago if value == "AGO 5" else value for key, value in filters.items()})
    assert planned(run) == matched


def test_deferred_is_whose_orders_all_wait(users: list[int]) -> None:
    for user_id in (2, 3):
        outcome(user_id, Reason.NOT_FOUND, waits=True)
    Order.objects.create(order_uuid="new", user_id=2, amount="0")  # due, and the user's other orders with it
    Order.objects.create(order_uuid="paid", user_id=3, amount="275")
    run = ask(filters={"next_after": timezone.now().isoformat()})
    assert planned(run) == [3]


def test_a_run_with_nothing_to_do_has_succeeded(settings: Any, queue: Queue) -> None:
    settings.BYTEMARK_CUSTOMER_API_URL = "http://127.0.0.1:9"
    run = ask()
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users, run.slack) == (RunStatus.SUCCEEDED, 0, "not needed")


def test_a_machine_without_the_apis_address_ends_the_run_with_the_reason(users: list[int], settings: Any) -> None:
    settings.BYTEMARK_CUSTOMER_API_URL = ""
    run = ask()
    tasks.plan_run(run.pk)
    run.refresh_from_db()
    assert run.status == RunStatus.FAILED
    assert "BYTEMARK_CUSTOMER_API_URL" in run.error


# --- Stopping -------------------------------------------------------------------------------------------------------


def test_a_run_that_waits_is_stopped_at_once(users: list[int], queue: Queue) -> None:
    run = ask()
    assert request_stop(run.pk, requested_by="ann") is True
    assert request_stop(run.pk) is False
    run.refresh_from_db()
    assert run.status == RunStatus.INTERRUPTED
    queue.work()
    assert SyncBatch.objects.count() == 0


def test_a_stopped_run_keeps_what_was_stored_and_the_next_takes_the_rest(serve: Serve, queue: Queue) -> None:
    world = World.sample(users=9, seed=4)
    serve(world)
    run = ask()
    queue.work(most=2)  # planning and one batch of three
    assert request_stop(run.pk) is True
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users, run.users_planned) == (RunStatus.INTERRUPTED, 3, 9)
    assert 0 < len(items()) < len(world.expected_items())
    again = ask()
    queue.work()
    again.refresh_from_db()
    assert (again.status, again.users) == (RunStatus.SUCCEEDED, 6)
    assert items() == world.expected_items()


def test_an_ended_run_cannot_be_stopped() -> None:
    run = SyncRun.objects.create(trigger=Trigger.COMMAND, status=RunStatus.SUCCEEDED)
    assert request_stop(run.pk) is False
