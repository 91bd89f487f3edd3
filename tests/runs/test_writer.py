"""The writer and the run's row: one statement while all is as expected, and a look at the row only when it is not."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from bytemark_sync.bytemark.stats import ApiSample
from bytemark_sync.models import BatchStatus, RunStatus, SyncBatch, SyncRun, Trigger
from bytemark_sync.runs.writer import BatchClaim, RunClosed, SyncWriter

pytestmark = pytest.mark.django_db
NumQueries = Any


@pytest.fixture
def run() -> SyncRun:
    return SyncRun.objects.create(trigger=Trigger.COMMAND, status=RunStatus.RUNNING)


def claimed(run: SyncRun) -> BatchClaim:
    batch = SyncBatch.objects.create(run=run, number=1, user_ids=[7], status=BatchStatus.RUNNING, worker="me")
    return BatchClaim(batch.pk, "me", [7])


@pytest.mark.parametrize("of_a_batch", [False, True])
def test_a_sign_of_life_is_one_statement_a_row(
    run: SyncRun, of_a_batch: bool, django_assert_num_queries: NumQueries
) -> None:
    stop = threading.Event()
    writer = SyncWriter(run, stop, claimed(run) if of_a_batch else None)
    for _ in range(2):
        with django_assert_num_queries(2 if of_a_batch else 1):
            writer.beat()
        with django_assert_num_queries(4 if of_a_batch else 3):  # within a savepoint of the test's transaction
            writer.flush([], ApiSample())
    assert not stop.is_set()


@pytest.mark.parametrize("of_a_batch", [False, True])
def test_a_stop_is_seen_by_the_next_write_and_what_was_fetched_is_still_counted(run: SyncRun, of_a_batch: bool) -> None:
    stop = threading.Event()
    writer = SyncWriter(run, stop, claimed(run) if of_a_batch else None)
    SyncRun.objects.update(stop_requested=True)
    for requests in (3, 5):
        writer.flush([], ApiSample(requests=requests))
        assert stop.is_set()
    run.refresh_from_db()
    assert (run.api_requests, run.status) == (8, RunStatus.RUNNING)


@pytest.mark.parametrize("of_a_batch", [False, True])
@pytest.mark.parametrize("asked_to_stop", [False, True])
def test_a_run_that_others_closed_is_written_no_more(run: SyncRun, of_a_batch: bool, asked_to_stop: bool) -> None:
    writer = SyncWriter(run, threading.Event(), claimed(run) if of_a_batch else None)
    SyncRun.objects.update(status=RunStatus.FAILED, stop_requested=asked_to_stop)
    before = SyncRun.objects.values().get()
    with pytest.raises(RunClosed):
        writer.flush([], ApiSample(requests=3))
    with pytest.raises(RunClosed):
        writer.beat()
    assert SyncRun.objects.values().get() == before


def test_a_run_whose_row_went_back_in_a_crash_is_written_on(run: SyncRun) -> None:
    writer = SyncWriter(run, threading.Event())
    for _ in range(2):
        writer.flush([], ApiSample(requests=1))
    SyncRun.objects.update(writes=1, api_requests=1)
    writer.flush([], ApiSample(requests=5))
    run.refresh_from_db()
    assert (run.writes, run.api_requests) == (3, 6)
