"""docs/contract.md#one-pace, in the queue: a batch that must wait longer than its own time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bytemark_sync.models import BatchStatus, OrderAttempt, OrderOutcome, RunStatus, SharedPace, SyncBatch, SyncRun
from bytemark_sync.queue import batches
from bytemark_sync.sandbox import Sandbox
from tests.support.queue import Queue, ask, items
from tests.support.scenario import simple_world

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
ROUNDS = batches.MAX_TRIES + 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_batch_that_must_wait_longer_than_its_own_time_hands_back_and_costs_no_try(
    serve: Callable[..., Sandbox], queue: Queue, settings: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Also where each of its turns is nothing but waiting. A run that waits is no dead run."""
    box = serve(simple_world(users=6, orders=1))
    settings.BYTEMARK_OUTAGE_PATIENCE, settings.SYNC_BATCH_USERS, settings.BYTEMARK_WORKERS = 600.0, 6, 1
    monkeypatch.setattr(batches, "time_limit", lambda: 0.6)
    box.set_faults(f"status:status={status},retry_after=300,times=1")
    run = ask()
    queue.work(most=1)
    for _ in range(ROUNDS):
        assert queue.work(most=1) == 1
        (batch,) = SyncBatch.objects.all()
        assert (batch.status, batch.tries, len(batch.user_ids)) == (BatchStatus.QUEUED, 0, 6)
    run.refresh_from_db()
    assert (run.status, run.users, run.users_failed) == (RunStatus.RUNNING, 0, 0)
    assert box.stats().requests == 1
    assert not OrderOutcome.objects.exists()
    assert not OrderAttempt.objects.exists()
    SharedPace.objects.all().delete()  # the five minutes are over
    monkeypatch.undo()
    queue.work()
    ended = SyncRun.objects.get(pk=run.pk)
    assert (ended.status, ended.users, ended.users_failed, len(items())) == (RunStatus.SUCCEEDED, 6, 0, 12)
    assert ended.rate_limited == (status == 429)
    again = ask()
    queue.work()
    assert SyncRun.objects.get(pk=again.pk).users == 0
