"""docs/contract.md#renewal over the batches of one run: what one of them has learnt holds for the others."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from bytemark_sync.models import LoginState, OrderOutcome, RiderLogin, RunStatus, SyncBatch
from bytemark_sync.sandbox import Sandbox
from tests.support.queue import Queue, ask
from tests.support.renewal import CLIENT, details, expired_world

pytestmark = pytest.mark.django_db(transaction=True)

Serve = Callable[..., Sandbox]


@pytest.fixture
def renewal(serve: Serve, settings: Any) -> Serve:
    """Batches of three riders whose tokens have all expired."""

    def start(users: int, **options: Any) -> Sandbox:
        box = serve(expired_world(users), **options)
        settings.BYTEMARK_ACCOUNT_API_URL, settings.BYTEMARK_CLIENT_ID = box.url, CLIENT
        return box

    return start


def test_tokens_are_renewed_in_every_batch_and_counted_in_the_run(renewal: Serve, queue: Queue) -> None:
    box = renewal(8)
    run = ask()
    queue.work(twice=True)
    run.refresh_from_db()
    assert (run.status, run.tokens_renewed, run.orders_synced) == (RunStatus.SUCCEEDED, 8, 8)
    assert set(box.stats().logins.granted.values()) == {1}


def test_a_client_that_is_refused_in_five_riders_stops_the_logins_of_all_batches(renewal: Serve, queue: Queue) -> None:
    box = renewal(12, client_ids=["another"])
    run = ask()
    queue.work()
    run.refresh_from_db()
    assert SyncBatch.objects.count() == 4
    assert box.stats().logins.requests == 5
    assert run.logins_stopped.startswith("Logins are stopped, for those of 5 riders in a row were refused")
    assert OrderOutcome.objects.count() == 12


def test_a_batch_that_is_worked_again_does_not_log_in_who_was_logged_in(renewal: Serve, queue: Queue) -> None:
    """As where its worker was killed after the login, and the answer is lost."""
    box = renewal(3)
    run = ask()
    long_ago = timezone.now() - timedelta(minutes=2)
    RiderLogin.objects.create(user_id=102, run_id=run.pk, state=LoginState.ASKED, asked_at=long_ago)
    queue.work()
    run.refresh_from_db()
    assert (run.status, run.tokens_renewed, run.users_failed) == (RunStatus.PARTIAL, 2, 1)
    assert box.stats().logins.users == {"101": 1, "103": 1}
    assert details()[102] == (
        "token_rejected",
        "The user's only token was rejected; the last: HTTP 401: the answer carries error 50020 (invalid session)."
        " Not renewed: a login of this run was asked for, and its answer was lost; the next run asks again.",
    )
