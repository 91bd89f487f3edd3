"""What died in silence is found: queued again at most twice, handed out again, or closed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from bytemark_sync import tasks
from bytemark_sync.models import BatchStatus, ClusterBeat, NamedLock, RunStatus, SyncBatch, SyncRun, Trigger
from bytemark_sync.queue import heartbeat, locks
from bytemark_sync.queue.requests import request_run
from bytemark_sync.runs import lifecycle
from bytemark_sync.sandbox import Sandbox, World
from tests.support.queue import Queue, items

pytestmark = pytest.mark.django_db(transaction=True)
Serve = Callable[..., Sandbox]


def ago(limits: float) -> Any:
    return timezone.now() - timedelta(seconds=django_settings.SYNC_HEARTBEAT_LIMIT * limits)


@pytest.fixture
def run(serve: Serve, queue: Queue) -> SyncRun:
    """Three planned batches of three users, all handed to a broker that then forgot them."""
    serve(World.sample(users=9, seed=3))
    asked = request_run(trigger=Trigger.SCHEDULE).run
    assert asked is not None
    tasks.plan_run(asked.pk)
    queue.lose()
    asked.refresh_from_db()
    return asked


def batch(number: int) -> SyncBatch:
    return SyncBatch.objects.get(number=number)


def change(number: int, **fields: Any) -> None:
    SyncBatch.objects.filter(number=number).update(**fields)


def test_a_live_run_is_left_alone(run: SyncRun, queue: Queue) -> None:
    change(1, status=BatchStatus.RUNNING, worker="w", heartbeat_at=ago(0.9))
    tasks.watch()
    assert (batch(1).worker, batch(1).tries, queue.tasks()) == ("w", 0, [])


def test_a_silent_batch_is_queued_again_twice_and_then_given_up(run: SyncRun, queue: Queue) -> None:
    for tries in (1, 2):
        change(1, status=BatchStatus.RUNNING, worker="dead", heartbeat_at=ago(1.1))
        queue.lose()
        tasks.watch()
        assert (batch(1).status, batch(1).tries, batch(1).worker) == (BatchStatus.QUEUED, tries, "")
        assert queue.tasks() == [("sync_batch", (batch(1).pk,))]
    change(1, status=BatchStatus.RUNNING, worker="dead", heartbeat_at=ago(1.1))
    tasks.watch()
    assert (batch(1).status, batch(1).tries) == (BatchStatus.GIVEN_UP, 2)
    change(2, status=BatchStatus.DONE, user_ids=[])
    change(3, status=BatchStatus.DONE, user_ids=[])
    SyncRun.objects.update(users=6, orders_synced=18)
    tasks.watch()
    run.refresh_from_db()
    assert run.status == RunStatus.PARTIAL
    assert "1 of 3 batches given up; 3 users" in run.error


def test_what_a_dead_worker_had_stored_is_not_done_again(serve: Serve, queue: Queue, settings: Any) -> None:
    world = World.sample(users=9, seed=3)
    box = serve(world)
    asked = request_run(trigger=Trigger.SCHEDULE).run
    assert asked is not None
    queue.work(most=2)
    requests = box.stats().requests
    change(2, status=BatchStatus.RUNNING, worker="dead", heartbeat_at=ago(1.1))
    tasks.watch()
    queue.work()
    asked.refresh_from_db()
    assert (asked.status, asked.users) == (RunStatus.SUCCEEDED, 9)
    assert items() == world.expected_items()
    assert box.stats().requests == asked.api_requests > requests


def test_a_batch_that_died_behind_its_last_user_asks_nobody(serve: Serve, queue: Queue) -> None:
    """Killed between storing the last user and calling the batch done."""
    box = serve(World.sample(users=9, seed=3), faults="status:status=404")
    asked = request_run(trigger=Trigger.SCHEDULE).run
    assert asked is not None
    queue.work()
    requests = box.stats().requests
    SyncRun.objects.update(status=RunStatus.RUNNING, finished_at=None)
    change(2, status=BatchStatus.RUNNING, worker="dead", heartbeat_at=ago(1.1))
    tasks.watch()
    queue.work()
    asked.refresh_from_db()
    assert (box.stats().requests, asked.users, asked.status) == (requests, 9, RunStatus.FAILED)


def test_batches_that_merely_wait_are_no_dead_batches(run: SyncRun, queue: Queue) -> None:
    """The queue may be long, as long as the run as a whole gets on."""
    SyncBatch.objects.update(queued_at=ago(5))
    SyncRun.objects.update(heartbeat_at=ago(0.5))
    tasks.watch()
    assert queue.tasks() == []


def test_waiting_batches_of_a_run_that_is_silent_as_a_whole_are_handed_out_again(run: SyncRun, queue: Queue) -> None:
    """A broker that lost its memory. It costs no try, however often."""
    for _ in range(4):
        queue.lose()
        SyncBatch.objects.update(queued_at=ago(1.1))
        SyncRun.objects.update(heartbeat_at=ago(1.1))
        tasks.watch()
        assert len(queue.tasks()) == 3
        tasks.watch()
        assert len(queue.tasks()) == 3
    assert set(SyncBatch.objects.values_list("tries", "status")) == {(0, BatchStatus.QUEUED)}


def test_a_waiting_batch_that_later_ones_overtook_is_handed_out_again(run: SyncRun, queue: Queue) -> None:
    """What a killed cluster had taken from Redis into its memory, while other clusters work the rest."""
    change(1, queued_at=ago(1.2))
    change(2, queued_at=ago(1.1), status=BatchStatus.RUNNING, worker="alive", heartbeat_at=timezone.now())
    tasks.watch()
    assert queue.tasks() == [("sync_batch", (batch(1).pk,))]


def test_planning_that_died_is_queued_again_and_closed_when_it_never_gets_on(run: SyncRun, queue: Queue) -> None:
    for tries in (1, 2):
        SyncRun.objects.update(planned_at=None, planner_at=ago(1.1), heartbeat_at=ago(1.1))
        queue.lose()
        tasks.watch()
        run.refresh_from_db()
        assert run.planning_tries == tries
        assert ("plan_run", (run.pk,)) in queue.tasks()
    SyncRun.objects.update(planner_at=ago(1.1), heartbeat_at=ago(1.1))
    tasks.watch()
    run.refresh_from_db()
    assert run.status == RunStatus.FAILED
    assert "Planning died" in run.error


@pytest.mark.parametrize("worker", ["", "dead"])
def test_a_run_whose_planning_died_for_good_leaves_no_batch_open(run: SyncRun, queue: Queue, worker: str) -> None:
    """What a worker that lives after all still has is not its own any more: the run's counts are told."""
    status = BatchStatus.RUNNING if worker else BatchStatus.QUEUED
    change(1, status=status, worker=worker, heartbeat_at=timezone.now())
    change(2, status=BatchStatus.DONE, user_ids=[])
    SyncRun.objects.update(planned_at=None, planner_at=ago(1.1), heartbeat_at=ago(1.1), planning_tries=2)
    tasks.watch()
    run.refresh_from_db()
    assert run.status == RunStatus.FAILED
    assert [batch(number).status for number in (1, 2, 3)] == [
        BatchStatus.GIVEN_UP,
        BatchStatus.DONE,
        BatchStatus.GIVEN_UP,
    ]
    assert all(batch(number).finished_at for number in (1, 3))
    tasks.watch()
    queue.work()
    assert SyncBatch.objects.exclude(status__in=(BatchStatus.DONE, BatchStatus.GIVEN_UP)).count() == 0


def test_planning_that_died_is_queued_again_while_batches_are_worked(run: SyncRun, queue: Queue) -> None:
    """Batches keep the run's heartbeat young: planning must not wait until the last of them has ended."""
    change(1, status=BatchStatus.RUNNING, worker="alive", heartbeat_at=timezone.now())
    for _ in range(5):
        SyncRun.objects.update(planned_at=None, planner_at=ago(1.1), heartbeat_at=timezone.now())
        queue.lose()
        tasks.watch()
        assert ("plan_run", (run.pk,)) in queue.tasks()
        queue.lose()
        tasks.watch()
        assert queue.tasks() == []  # once a limit
    run.refresh_from_db()
    assert (run.status, run.planning_tries) == (RunStatus.RUNNING, 0)  # it may merely wait behind the batches


def test_a_run_that_still_waits_for_its_planner_is_asked_for_again_without_end(queue: Queue) -> None:
    asked = request_run(trigger=Trigger.SCHEDULE).run
    assert asked is not None
    for _ in range(5):
        queue.lose()
        SyncRun.objects.update(planner_at=ago(1.1), heartbeat_at=ago(1.1))
        tasks.watch()
        assert queue.tasks() == [("plan_run", (asked.pk,))]
    asked.refresh_from_db()
    assert (asked.status, asked.planning_tries) == (RunStatus.QUEUED, 0)


def test_the_watchdog_closes_a_run_whose_last_worker_died_before_it_could(run: SyncRun) -> None:
    SyncBatch.objects.update(status=BatchStatus.DONE, user_ids=[])
    SyncRun.objects.update(users=9, orders_synced=27)
    tasks.watch()
    run.refresh_from_db()
    assert run.status == RunStatus.SUCCEEDED


def test_a_stopped_run_whose_workers_died_is_closed_as_interrupted(run: SyncRun) -> None:
    change(1, status=BatchStatus.RUNNING, worker="dead", heartbeat_at=ago(1.1))
    SyncRun.objects.update(stop_requested=True)
    tasks.watch()
    run.refresh_from_db()
    assert run.status == RunStatus.INTERRUPTED


def test_a_command_that_died_in_silence_is_closed_and_told(settings: Any) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    common = {"trigger": Trigger.COMMAND, "status": RunStatus.RUNNING, "planned_at": timezone.now()}
    host, space = socket.gethostname(), lifecycle.pid_space()
    here = SyncRun.objects.create(host=host, pid=gone.pid, pid_space=space, heartbeat_at=ago(0.1), **common)
    elsewhere = SyncRun.objects.create(host="elsewhere", pid=1, pid_space="b", heartbeat_at=ago(1.1), **common)
    suspended = SyncRun.objects.create(host=host, pid=os.getpid(), pid_space=space, heartbeat_at=ago(1.1), **common)
    before = SyncRun.objects.create(host=host, pid=gone.pid, pid_space=space, heartbeat_at=ago(-1), **common)
    SyncRun.objects.create(host=host, pid=os.getpid(), pid_space=space, heartbeat_at=ago(0.9), **common)
    SyncRun.objects.create(host="elsewhere", pid=gone.pid, pid_space="b", heartbeat_at=ago(0.9), **common)
    # A heart that beats lives, whatever the pid says; and a pid of another namespace, or boot, says nothing.
    SyncRun.objects.create(host=host, pid=gone.pid, pid_space=space, **common)
    SyncRun.objects.create(host=host, pid=gone.pid, pid_space="another namespace", heartbeat_at=ago(0.9), **common)
    SyncRun.objects.create(host=host, pid=gone.pid, heartbeat_at=ago(0.9), **common)
    tasks.watch()
    ended = SyncRun.objects.exclude(status=RunStatus.RUNNING)
    assert set(ended) == {here, elsewhere, suspended, before}
    assert all(run.error and run.slack for run in ended)


# --- The heartbeat --------------------------------------------------------------------------------------------------


def test_a_cluster_renews_its_row_and_clears_away_those_long_gone() -> None:
    ClusterBeat.objects.create(name="gone:1", heartbeat_at=timezone.now() - timedelta(days=2))
    heartbeat.beat("here:1")
    first = ClusterBeat.objects.get()
    assert (first.name, first.workers) == ("here:1", django_settings.Q_CLUSTER["workers"])
    heartbeat.beat("here:1")
    assert ClusterBeat.objects.get().heartbeat_at == first.heartbeat_at
    ClusterBeat.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=heartbeat.BEAT + 1))
    heartbeat.beat("here:1")
    assert ClusterBeat.objects.get().heartbeat_at > first.heartbeat_at


@pytest.mark.parametrize(("limit", "every"), [(900.0, 30.0), (80.0, 10.0), (8.0, 1.0), (1.0, 0.5)])
def test_the_watchdog_looks_often_enough_for_the_limit(settings: Any, limit: float, every: float) -> None:
    settings.SYNC_HEARTBEAT_LIMIT = limit
    assert heartbeat.watch_every() == every


def test_turns_are_taken_by_one() -> None:
    assert [locks.take_turn("t", 60) for _ in range(3)] == [True, False, False]
    NamedLock.objects.filter(name="t").update(at=timezone.now() - timedelta(seconds=61))
    assert [locks.take_turn("t", 60) for _ in range(3)] == [True, False, False]


@pytest.mark.parametrize("every", [30.0, 24 * 3600.0])
def test_a_clock_that_was_a_day_ahead_blocks_nobodys_turn(every: float) -> None:
    NamedLock.objects.create(name="t", at=timezone.now() + timedelta(days=1))
    assert [locks.take_turn("t", every) for _ in range(3)] == [True, False, False]


def test_clocks_that_differ_by_seconds_do_not_give_a_turn_twice() -> None:
    NamedLock.objects.create(name="t", at=timezone.now() + timedelta(seconds=20))
    assert locks.take_turn("t", 5) is False


def test_a_cluster_renews_a_sign_of_life_that_a_wrong_clock_wrote() -> None:
    ClusterBeat.objects.create(name="here:1", heartbeat_at=timezone.now() + timedelta(days=1))
    heartbeat.beat("here:1")
    assert ClusterBeat.objects.get().heartbeat_at <= timezone.now()
