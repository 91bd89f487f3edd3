"""docs/contract.md#outages, in the queue: batches, and a machine that alone is cut off."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import BatchStatus, ClusterBeat, OrderAttempt, OrderOutcome, RunStatus, SyncBatch, SyncRun
from bytemark_sync.queue import batches
from bytemark_sync.runs import outage_watch
from bytemark_sync.sandbox import Sandbox
from tests.support.queue import Queue, ask, items
from tests.support.scenario import simple_world

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
Serve = Callable[..., Sandbox]


@pytest.fixture(autouse=True)
def quick(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A batch has 6 users, and a process that is cut off is noticed within a second."""
    settings.SYNC_BATCH_USERS, settings.BYTEMARK_OUTAGE_PATIENCE = 6, 2.0
    monkeypatch.setattr(outage_watch, "HAND_BACK_SECONDS", 0.5)
    monkeypatch.setattr(outage_watch, "ALONE_SECONDS", 1.0)
    monkeypatch.setattr(batches, "REST_SECONDS", 0.0)
    yield
    batches._cut_off.clear()
    batches._answered.clear()


@pytest.fixture
def here(serve: Serve, settings: Any) -> Sandbox:
    box = serve(simple_world(users=18, orders=1))
    settings.SYNC_BATCH_USERS = 6
    return box


def assert_nobody_is_blamed() -> None:
    assert not OrderOutcome.objects.exists()
    assert not OrderAttempt.objects.exists()


def test_the_batch_that_gives_up_gives_up_the_run(here: Sandbox, queue: Queue) -> None:
    here.set_faults("outage:after_requests=8")
    run = ask()
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users, run.users_failed) == (RunStatus.PARTIAL, 8, 0)
    assert run.error.startswith("Bytemark has not answered since ")
    assert "2 of 3 batches given up; 10 users not reached" in run.error
    assert run.gave_up_at is not None
    assert [each.ended_at for each in run.outages.all()] == [None]
    assert here.stats().requests < 100
    assert not queue.tasks()
    assert_nobody_is_blamed()
    here.set_faults()
    again = ask()
    queue.work()
    again.refresh_from_db()
    assert (again.status, len(items())) == (RunStatus.SUCCEEDED, 36)


def test_where_nothing_was_answered_it_has_failed(here: Sandbox, queue: Queue) -> None:
    here.set_faults("outage")
    run = ask()
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users, run.users_failed) == (RunStatus.FAILED, 0, 0)
    assert_nobody_is_blamed()


def test_the_silence_counts_on_in_the_next_batch_which_begins_with_one_request(here: Sandbox, queue: Queue) -> None:
    here.set_faults("outage")
    run = ask()
    queue.work(most=1)  # planning
    SyncRun.objects.filter(pk=run.pk).update(silent_since=timezone.now() - timedelta(seconds=60))
    queue.work()
    run.refresh_from_db()
    assert (run.status, here.stats().requests) == (RunStatus.FAILED, 1)


@pytest.mark.parametrize("answers_others", [True, False], ids=["others are answered", "others have nothing to do"])
def test_a_process_that_alone_is_cut_off_hands_back_and_costs_no_try(
    here: Sandbox, queue: Queue, settings: Any, answers_others: bool
) -> None:
    settings.BYTEMARK_OUTAGE_PATIENCE = 600.0
    ClusterBeat.objects.create(name="here", workers=4)
    ClusterBeat.objects.create(name="there", workers=4)
    url = settings.BYTEMARK_CUSTOMER_API_URL
    run = ask()
    queue.work(most=1)
    settings.BYTEMARK_CUSTOMER_API_URL = "http://127.0.0.1:9"
    for _ in range(4):  # more than MAX_TRIES
        if answers_others:  # another process goes on with batches of its own
            SyncRun.objects.filter(pk=run.pk).update(answered_at=timezone.now(), silent_since=None)
        queue.work(most=1)
    run.refresh_from_db()
    assert run.status == RunStatus.RUNNING
    assert set(SyncBatch.objects.values_list("status", "tries")) == {(BatchStatus.QUEUED, 0)}
    assert 0 < run.api_requests < 60 + 3 * 5
    assert_nobody_is_blamed()
    settings.BYTEMARK_CUSTOMER_API_URL = url
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users_failed, len(items())) == (RunStatus.SUCCEEDED, 0, 36)
    assert run.silent_since is None


def test_cut_off_in_the_middle_of_the_last_batch_while_nobody_else_asks_it_hands_back(
    here: Sandbox, queue: Queue, settings: Any
) -> None:
    """Whose outage it is nobody can know, so another machine may try: without it the run would be given up."""
    settings.SYNC_BATCH_USERS, settings.BYTEMARK_OUTAGE_PATIENCE = 500, 600.0
    ClusterBeat.objects.create(name="here", workers=4)
    ClusterBeat.objects.create(name="there", workers=4)
    run = ask()
    queue.work(most=1)
    here.set_faults("outage:after_requests=7")
    queue.work(most=1)
    run.refresh_from_db()
    (batch,) = SyncBatch.objects.all()
    assert (run.status, run.users, run.gave_up_at) == (RunStatus.RUNNING, 7, None)
    assert (batch.status, batch.tries, len(batch.user_ids)) == (BatchStatus.QUEUED, 0, 11)
    assert here.stats().requests < 60
    assert_nobody_is_blamed()
    batches._cut_off.clear()  # the other machine
    here.set_faults()
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users_failed, len(items()), run.silent_since) == (RunStatus.SUCCEEDED, 0, 36, None)


def test_an_outage_in_a_last_batch_of_one_user_is_told_by_a_user_of_the_batch_before(
    here: Sandbox, queue: Queue, settings: Any
) -> None:
    settings.SYNC_BATCH_USERS, settings.BYTEMARK_OUTAGE_PATIENCE = 17, 600.0
    run = ask()
    queue.work(most=2)
    here.set_faults("outage:seconds=1.5")
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users, run.users_failed, len(items())) == (RunStatus.SUCCEEDED, 18, 0, 36)
    assert_nobody_is_blamed()


def test_a_last_batch_whose_users_all_fail_by_themselves_is_no_outage(
    here: Sandbox, queue: Queue, settings: Any
) -> None:
    settings.SYNC_BATCH_USERS = 15
    here.set_faults("status:users=116|117|118")
    run = ask()
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.users, run.users_failed, run.error) == (RunStatus.PARTIAL, 18, 3, "")
    assert sorted(OrderOutcome.objects.values_list("user_id", "reason")) == [
        (user_id, Reason.API_ERROR) for user_id in (116, 117, 118)
    ]
    assert [here.stats().users[str(user_id)] for user_id in (116, 117, 118)] == [5, 5, 5]


def test_a_batch_whose_time_ends_in_an_outage_costs_no_try_and_has_a_heartbeat(
    here: Sandbox, queue: Queue, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.BYTEMARK_OUTAGE_PATIENCE, settings.SYNC_HEARTBEAT_LIMIT = 600.0, 1.0
    monkeypatch.setattr(batches, "time_limit", lambda: 3.0)
    here.set_faults("outage")
    run = ask()
    queue.work(most=1)
    silences: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.1):
            beats = SyncBatch.objects.filter(status=BatchStatus.RUNNING).values_list("heartbeat_at", flat=True)
            silences.extend((timezone.now() - beat).total_seconds() for beat in beats)
        connections.close_all()

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    queue.work(most=1)
    done.set()
    watcher.join()
    run.refresh_from_db()
    assert time.monotonic() - began < 30
    assert max(silences) < 2.5  # a beat each quarter of a second; without any it were 3
    assert (run.status, run.users_failed) == (RunStatus.RUNNING, 0)
    assert set(SyncBatch.objects.values_list("status", "tries")) == {(BatchStatus.QUEUED, 0)}
    assert run.silent_since is not None
    here.set_faults()
    queue.work()
    ended = SyncRun.objects.get(pk=run.pk)
    assert (ended.status, len(items())) == (RunStatus.SUCCEEDED, 36)
    assert ended.silent_since is None
    assert [each.ended_at is not None for each in ended.outages.all()] == [True]
