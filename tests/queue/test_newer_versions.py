"""What an older version does with tasks, runs and rows that only a newer one can work: it leaves them to that one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from django_q.models import OrmQ
from django_q.signing import SignedPackage
from django_q.tasks import async_task

from bytemark_sync import tasks
from bytemark_sync.bytemark.pace_state import PaceState
from bytemark_sync.bytemark.shape import Shape
from bytemark_sync.bytemark.stats import Histogram
from bytemark_sync.domain.pending_filter import PendingFilter
from bytemark_sync.domain.run_scope import AuditScope, Scope
from bytemark_sync.models import BatchStatus, RunStatus, SyncBatch, SyncRun, Trigger
from bytemark_sync.queue import handing_back
from bytemark_sync.queue.requests import request_run
from bytemark_sync.sandbox import Sandbox
from tests.support.queue import Queue, ask, items
from tests.support.scenario import simple_world
from tests.support.servers import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def worked(func: Callable[..., Any] | None, name: str, *args: Any, age: timedelta = timedelta(0)) -> dict[str, Any]:
    """A task that waited for `age`, as django-q2 tells of it when a worker could not work it."""
    async_task(name, *args, q_options={"task_name": "made up"})
    row = OrmQ.objects.get()
    task: dict[str, Any] = SignedPackage.loads(row.payload)
    row.delete()
    task |= {"started": timezone.now() - age, "ack_id": row.pk, "cluster": "x", "success": False, "result": "error"}
    handing_back.hand_back(func, task)
    return task


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handing_back, "PAUSE_SECONDS", 0.0)


@pytest.mark.parametrize(
    ("func", "name", "args"),
    [
        (None, "bytemark_sync.tasks.of_a_newer_version", (7,)),
        (tasks.sync_batch, "bytemark_sync.tasks.sync_batch", (7, 8)),
    ],
)
def test_a_task_of_an_unknown_name_or_with_unknown_arguments_goes_back_into_the_broker(
    func: Callable[..., Any] | None, name: str, args: tuple[int, ...]
) -> None:
    task = worked(func, name, *args)
    assert (task["success"], task["save"]) == (True, False)
    wait_for(OrmQ.objects.exists, 10, "it is in the broker again")
    (row,) = OrmQ.objects.all()
    assert (row.func(), row.args(), row.kwargs(), row.name()) == (name, args, {}, "made up")
    again = SignedPackage.loads(row.payload)
    assert again["started"] == task["started"]  # so that it fails in the end
    assert not {"ack_id", "cluster", "result", "success"} & set(again)


@pytest.mark.parametrize(
    ("func", "name", "age"),
    [
        (tasks.sync_batch, "bytemark_sync.tasks.sync_batch", timedelta(0)),  # known, and it failed
        (None, "somebody.elses.task", timedelta(0)),
        (None, "bytemark_sync.tasks.of_a_newer_version", timedelta(days=2)),
    ],
)
def test_other_tasks_fail_as_before(func: Callable[..., Any] | None, name: str, age: timedelta) -> None:
    assert worked(func, name, 7, age=age)["success"] is False
    assert not OrmQ.objects.exists()


NEWER: list[dict[str, Any]] = [
    {"kind": "refund"},
    {"scope": {"city": "Houston"}},
    {"scope": {"filters": {"fare": "adult"}}},
    {"scope": {"filters": {"reason": ["not_found", "of_a_newer_version"]}}},
    {"kind": "audit", "scope": {"city": "Houston"}},
]


@pytest.mark.parametrize("newer", NEWER)
def test_a_newer_versions_run_is_neither_planned_nor_worked_nor_closed(
    newer: dict[str, Any], queue: Queue, serve: Callable[..., Sandbox], settings: Any
) -> None:
    """And the older version's own work goes on beside it."""
    world = simple_world(users=4, orders=1)
    box = serve(world)
    long_ago = timezone.now() - timedelta(seconds=2 * settings.SYNC_HEARTBEAT_LIMIT)
    queued = SyncRun.objects.create(trigger=Trigger.ADMIN, heartbeat_at=long_ago, planner_at=long_ago)
    running = SyncRun.objects.create(
        trigger=Trigger.ADMIN, status=RunStatus.RUNNING, planned_at=long_ago, heartbeat_at=long_ago
    )
    waiting = SyncBatch.objects.create(run=running, number=1, user_ids=[101], queued_at=timezone.now())
    SyncRun.objects.update(**newer)  # past `save`, which would read the scope
    tasks.plan_run(queued.pk)
    assert "newer version" in tasks.sync_batch(waiting.pk)
    tasks.watch()
    assert request_run(trigger=Trigger.ADMIN, filters=PendingFilter(reasons=("no_token",))).run
    queued.refresh_from_db()
    running.refresh_from_db()
    waiting.refresh_from_db()
    assert (queued.status, queued.planner_at, queued.error) == (RunStatus.QUEUED, None, "")
    assert (running.status, running.error) == (RunStatus.RUNNING, "")
    # Whoever knows the run finds the batch as one that is yet to be queued.
    assert (waiting.status, waiting.queued_at, waiting.tries) == (BatchStatus.QUEUED, None, 0)
    assert box.requests() == []

    ask()
    queue.work()
    assert items() == world.expected_items()


def test_json_of_a_newer_version_with_more_members_is_read() -> None:
    more = {"of_a_newer_version": 1}
    assert PaceState.from_json({"rate": 5.0, **more}).rate == 5.0
    assert Histogram.from_json({"max": 2.0, "buckets": {}, **more}).maximum == 2.0
    assert Shape.from_json({"answers": 3, "is_full": False, "members": {}, **more}).answers == 3
    assert Scope.knows({"users": [1], "limit": 3, "filters": {"reason": "never_tried", "user": 5}})
    assert AuditScope.knows({"users": [1], "since": "2026-01-01", "repair": True})
