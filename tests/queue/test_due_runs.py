"""A due time becomes one run, whatever fails around it, and never two."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from django_q.models import Schedule
from django_q.scheduler import scheduler

from bytemark_sync import tasks
from bytemark_sync.models import ClusterBeat, RunStatus, SyncRun, Trigger
from bytemark_sync.queue import schedules
from bytemark_sync.sandbox import Sandbox, World
from bytemark_sync.storage.database_retry import retrying
from tests.support.job_state import monitor
from tests.support.queue import Queue, items

pytestmark = pytest.mark.django_db(transaction=True)
Serve = Callable[..., Sandbox]


def due(ago: timedelta, **fields: Any) -> datetime:
    """Move the sync's schedule so that it is due since then."""
    at = timezone.now() - ago
    Schedule.objects.filter(func=schedules.SYNC).update(next_run=at, **fields)
    return at


def runs() -> list[SyncRun]:
    return list(SyncRun.objects.filter(trigger=Trigger.SCHEDULE).order_by("pk"))


def another_schedule_is_malformed() -> None:
    """django-q2's scheduler rolls its whole pass back over it."""
    Schedule.objects.create(func="bytemark_sync.tasks.prune", args="(", next_run=timezone.now() - timedelta(days=30))


# --- Never lost -----------------------------------------------------------------------------------------------------


def test_a_due_run_whose_task_the_broker_lost_is_made_and_worked(serve: Serve, queue: Queue, settings: Any) -> None:
    world = World.sample(users=6, seed=3)
    serve(world)
    at = due(timedelta(minutes=1))
    scheduler()
    queue.lose()
    (run,) = runs()
    assert (run.due_at, run.status) == (at, RunStatus.QUEUED)
    SyncRun.objects.update(planner_at=timezone.now() - timedelta(seconds=settings.SYNC_HEARTBEAT_LIMIT + 1))
    tasks.watch()
    queue.work()
    (run,) = runs()
    assert run.status == RunStatus.SUCCEEDED
    assert items() == world.expected_items()


def test_a_schedule_that_comes_once_and_is_gone_leaves_its_run(queue: Queue) -> None:
    """django-q2 deletes it in the same transaction."""
    at = due(timedelta(minutes=1), schedule_type=Schedule.ONCE)
    scheduler()
    queue.lose()
    assert not Schedule.objects.filter(func=schedules.SYNC).exists()
    assert [run.due_at for run in runs()] == [at]


def test_the_watchdog_starts_what_no_scheduler_does_day_after_day(queue: Queue) -> None:
    another_schedule_is_malformed()
    first = due(timedelta(minutes=1))
    scheduler()
    assert runs() == []
    tasks.watch()
    tasks.watch()
    assert [run.due_at for run in runs()] == [first]
    assert ("plan_run", (runs()[0].pk,)) in queue.tasks()
    SyncRun.objects.update(status=RunStatus.SUCCEEDED, due_at=timezone.now() - timedelta(days=3))
    due(timedelta(days=3))
    tasks.watch()
    tasks.watch()
    old, new = runs()
    assert new.status == RunStatus.QUEUED
    assert old.due_at is not None
    assert new.due_at is not None
    assert old.due_at + timedelta(days=1) < new.due_at <= timezone.now()
    Schedule.objects.exclude(func=schedules.SYNC).delete()
    scheduler()
    queue.lose()
    tasks.watch()
    assert len(runs()) == 2


@pytest.mark.parametrize("kind", [Schedule.MINUTES, Schedule.HOURLY, Schedule.DAILY, Schedule.WEEKLY])
def test_a_schedule_of_any_type_that_is_overdue_for_weeks_gives_one_run_for_the_last_due_time(kind: str) -> None:
    another_schedule_is_malformed()
    due(timedelta(days=30), schedule_type=kind, minutes=10, cron=None)
    tasks.watch()
    tasks.watch()
    (run,) = runs()
    assert run.due_at is not None
    assert timedelta(0) <= timezone.now() - run.due_at < timedelta(days=7)


def test_a_run_whose_planning_the_broker_did_not_take_is_planned_as_soon_as_it_does(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django_q.conf import Conf

    due(timedelta(minutes=1))
    with monkeypatch.context() as away:
        away.setattr(Conf, "ORM", None)
        away.setattr(Conf, "REDIS", "redis://127.0.0.1:1/0?socket_connect_timeout=1")
        scheduler()
        assert runs() == []  # django-q2 tries again half a minute later
        tasks.watch()
        tasks.watch()
    (run,) = runs()
    assert queue.tasks() == []
    tasks.watch()
    tasks.watch()
    assert queue.tasks() == [("plan_run", (run.pk,))]


# --- Never two ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "order",
    [
        ("scheduler", "task", "watchdog"),
        ("scheduler", "watchdog", "task"),
        ("watchdog", "scheduler", "task"),
    ],
    ids="-".join,
)
@pytest.mark.parametrize("ended", [False, True])
def test_a_fortnight_off_gives_one_run_whoever_comes_first(order: tuple[str, ...], ended: bool) -> None:
    at = due(timedelta(days=14))
    doors = {"scheduler": scheduler, "watchdog": tasks.watch, "task": lambda: tasks.scheduled_run(at.isoformat())}
    for _ in range(2):
        for name in order:
            doors[name]()
            if ended:
                SyncRun.objects.update(status=RunStatus.SUCCEEDED)
    (run,) = runs()
    assert run.status == (RunStatus.SUCCEEDED if ended else RunStatus.QUEUED)
    assert Schedule.objects.get(func=schedules.SYNC).next_run > timezone.now()


def test_all_doors_at_once_start_one_run(queue: Queue) -> None:
    at = due(timedelta(minutes=1))
    doors: list[Callable[[], object]] = [scheduler, tasks.watch, lambda: tasks.scheduled_run(at.isoformat())] * 3
    barrier = threading.Barrier(len(doors))
    errors: list[BaseException] = []

    def open_door(door: Callable[[], object]) -> None:
        try:
            barrier.wait()
            retrying(door)
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=open_door, args=(door,)) for door in doors]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [run.due_at for run in runs()] == [at]
    assert [name for name, _ in queue.tasks()].count("plan_run") == 1


@pytest.mark.parametrize("change", [{"repeats": 0}, {"next_run": None}, {"cron": "0 4 * * *"}])
def test_a_schedule_that_rests_or_is_changed_before_it_is_due_starts_nothing(change: dict[str, Any]) -> None:
    later = timezone.now() + timedelta(hours=3)
    schedule = Schedule.objects.get(func=schedules.SYNC)
    for name, value in change.items():
        setattr(schedule, name, later if value is None else value)
    schedule.save()
    if "repeats" in change:
        due(timedelta(hours=1))
    tasks.watch()
    scheduler()
    assert runs() == []


def test_two_schedules_due_at_the_same_time_give_one_run(queue: Queue) -> None:
    at = due(timedelta(minutes=1))
    Schedule.objects.create(func=schedules.SYNC, schedule_type=Schedule.DAILY, next_run=at, intended_date_kwarg="due")
    scheduler()
    tasks.watch()
    queue.work()
    assert [run.due_at for run in runs()] == [at]


def test_a_run_that_a_clock_weeks_ahead_made_does_not_stand_for_those_due_now() -> None:
    SyncRun.objects.create(
        trigger=Trigger.SCHEDULE, status=RunStatus.SUCCEEDED, due_at=timezone.now() + timedelta(days=20)
    )
    at = due(timedelta(minutes=1))
    tasks.watch()
    assert at in [run.due_at for run in runs()]


# --- What /healthz says ---------------------------------------------------------------------------------------------


def problems(settings: Any) -> list[str]:
    ClusterBeat.objects.update_or_create(name="here:1", defaults={"heartbeat_at": timezone.now()})
    return list(monitor(settings).get("/healthz").json()["problems"])


def test_a_due_run_that_has_not_begun_within_15_minutes_is_said(settings: Any, queue: Queue) -> None:
    at = due(timedelta(minutes=14))
    scheduler()
    assert problems(settings) == []
    (run,) = runs()
    SyncRun.objects.update(due_at=at - timedelta(minutes=2))
    (problem,) = problems(settings)
    assert f"Run {run.pk} was due at" in problem
    assert "has not begun" in problem
    SyncRun.objects.update(status=RunStatus.RUNNING)
    assert problems(settings) == []
