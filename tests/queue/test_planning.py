"""Planning: every due user in one batch, whatever stops the planner."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from bytemark_sync import tasks
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import Order, RunStatus, SyncBatch, SyncRun, Trigger
from bytemark_sync.queue import planning
from bytemark_sync.sandbox import Sandbox
from bytemark_sync.storage.pending import Deferred
from tests.support.queue import Queue, ask, outcome, planned

pytestmark = pytest.mark.django_db(transaction=True)
Serve = Callable[..., Sandbox]


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


@pytest.mark.slow
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
