"""Asking for a run, and stopping it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections, transaction
from django.utils import timezone

from bytemark_sync import tasks
from bytemark_sync.domain.pending_filter import PendingFilter
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import RunStatus, SyncBatch, SyncRun, Trigger
from bytemark_sync.queue.requests import RunRequest, request_run, request_stop
from bytemark_sync.sandbox import Sandbox, World
from bytemark_sync.storage.database_retry import retrying
from tests.support.queue import Queue, ask, items, outcome, planned

pytestmark = pytest.mark.django_db(transaction=True)
Serve = Callable[..., Sandbox]


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
    first = request_run(trigger=Trigger.ADMIN, filters=PendingFilter.from_json(wanted))
    later = wanted | {"first_before": (timezone.now() + timedelta(minutes=3)).isoformat()}
    again = request_run(trigger=Trigger.ADMIN, filters=PendingFilter.from_json(later))
    assert first.run is not None
    assert (again.run, again.same) == (None, first.run)
    assert request_run(trigger=Trigger.ADMIN, filters=PendingFilter(reasons=("not_found",))).run is not None
    assert planned(first.run) == users[:5]
    by_name = request_run(trigger=Trigger.ADMIN, users=[3, 9])
    assert by_name.run is not None
    assert (by_name.run.scope, by_name.users_under_way) == ({"users": [9]}, (3,))
    SyncRun.objects.update(status=RunStatus.SUCCEEDED)
    assert request_run(trigger=Trigger.ADMIN, filters=PendingFilter.from_json(wanted)).run is not None


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
