"""Is the job well: `/healthz`, `manage.py sync_status` and the message about a silence."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from django_q.models import Schedule

from bytemark_sync import tasks
from bytemark_sync.admin.pending_figures import count_pending_figures
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import (
    ClusterBeat,
    NamedLock,
    Order,
    OrderItem,
    OrderOutcome,
    OrderToken,
    RunKind,
    RunStatus,
    SyncRun,
    Trigger,
)
from bytemark_sync.monitoring import health
from bytemark_sync.queue import schedules
from tests.support.harness import manage
from tests.support.job_state import all_well, cluster_seen, installed, monitor, run_ended
from tests.support.slack import FakeSlack

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(settings: Any) -> Client:
    """A monitor that has the token."""
    return monitor(settings)


def test_all_is_well(client: Client) -> None:
    run = all_well()
    order = Order.objects.create(order_uuid="a", user_id=1, amount="0")
    done = Order.objects.create(order_uuid="b", user_id=1, amount="0")
    OrderItem.objects.create(order=done, order_uuid="b", oauth_token="t", product_uuid="p", pass_uuid="q")
    OrderToken.objects.create(user_id=1, token="made-up-rider-token")
    since = timezone.now() - timedelta(days=3)
    OrderOutcome.objects.create(order=order, user_id=1, reason=Reason.NOT_FOUND, first_at=since)

    answer = client.get("/healthz")

    body = answer.json()
    assert answer.status_code == 200
    assert body["healthy"] is True
    assert body["problems"] == []
    assert body["database"] == "ok"
    assert (body["last_run"], body["last_run_status"]) == (run.pk, "succeeded")
    assert 7190 < body["last_run_age_seconds"] < 7290
    assert (body["pending_orders"], body["oldest_pending_order"]) == (1, order.pk)
    assert body["oldest_pending_since"][:16] == since.isoformat()[:16]
    assert body["cluster_alive"] is True
    assert "made-up-rider-token" not in answer.content.decode()


@pytest.mark.parametrize("change", ["paid", "deleted", "stored", "nobody's", "no token row"])
def test_an_order_that_is_pending_no_longer_dates_nothing(client: Client, change: str) -> None:
    all_well()
    since = timezone.now() - timedelta(days=3)
    for user in (1, 2):
        OrderToken.objects.create(user_id=user, token="t")
        order = Order.objects.create(pk=user, order_uuid=f"o{user}", user_id=user, amount="0")
        at = since - timedelta(days=30 if user == 1 else 0)
        OrderOutcome.objects.create(order=order, user_id=user, reason=Reason.NOT_FOUND, first_at=at)
    changed = Order.objects.filter(pk=1)
    if change == "paid":
        changed.update(amount="2.50")
    elif change == "nobody's":
        changed.update(user_id=None)
    elif change == "deleted":
        changed.delete()
    elif change == "stored":
        OrderItem.objects.create(order_id=1, order_uuid="x", oauth_token="t", product_uuid="p", pass_uuid="q")
    else:
        OrderToken.objects.filter(user_id=1).delete()
    assert client.get("/healthz").json()["oldest_pending_since"][:16] == since.isoformat()[:16]
    figures = list(count_pending_figures())[-1]
    assert (figures.orders, figures.oldest) == (1, OrderOutcome.objects.get(pk=2).first_at)


@pytest.mark.parametrize("query_limit", [3])
def test_it_costs_at_most_three_queries(client: Client, query_limit: int, django_assert_max_num_queries: Any) -> None:
    all_well()
    with django_assert_max_num_queries(query_limit):
        assert client.get("/healthz").status_code == 200


def test_pending_orders_are_counted_once_in_a_while(
    client: Client, monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    all_well()
    monkeypatch.setattr(health, "PENDING_FOR", 60.0)
    health.count_pending(fresh=True)
    with django_assert_max_num_queries(2):
        client.get("/healthz")


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: run_ended(timedelta(hours=2)), "No cluster is alive"),
        (lambda: (run_ended(timedelta(hours=2)), cluster_seen(timedelta(minutes=5))), "No cluster is alive"),
        (lambda: (cluster_seen(timedelta(0)), run_ended(timedelta(hours=37))), "No run has worked for 36 hours"),
        (
            lambda: (cluster_seen(timedelta(0)), installed(timedelta(hours=37))),
            "No run has worked for 36 hours",
        ),
        (
            lambda: (cluster_seen(timedelta(0)), installed(timedelta(9)), run_ended(timedelta(0), RunStatus.FAILED)),
            "No run has worked",
        ),
        (
            lambda: (
                cluster_seen(timedelta(0)),
                installed(timedelta(9)),
                run_ended(timedelta(0), scope={"users": [1]}),
            ),
            "No run has worked",
        ),
        (
            lambda: (all_well(), Schedule.objects.filter(func=schedules.SYNC).delete()),
            "The schedule of the daily run is missing",
        ),
        (lambda: (all_well(), Schedule.objects.update(repeats=0)), "The schedule of the daily run is missing"),
        (
            lambda: (all_well(), Schedule.objects.update(next_run=timezone.now() - timedelta(hours=1))),
            "The daily run is overdue",
        ),
        (lambda: NamedLock.objects.all().delete(), "`migrate` has not created the schedules yet."),
        # Written by a clock that was days ahead.
        (lambda: (run_ended(timedelta(hours=2)), cluster_seen(-timedelta(days=1))), "No cluster is alive"),
        (
            lambda: (cluster_seen(timedelta(0)), installed(timedelta(9)), run_ended(-timedelta(days=30))),
            "No run has worked",
        ),
    ],
    ids=range(12),
)
def test_what_is_wrong_is_said_with_503(client: Client, make: Any, problem: str) -> None:
    make()
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["healthy"] is False
    assert any(problem in said for said in answer.json()["problems"])


def test_a_fresh_installation_is_well_before_its_first_run(client: Client) -> None:
    cluster_seen(timedelta(0))
    assert client.get("/healthz").status_code == 200


@pytest.mark.slow
def test_a_database_that_is_away_is_an_answer_too() -> None:
    done = manage("sync_status", "--json", database_url="mysql://nobody:hidden-word@127.0.0.1:1/portal")
    assert done.status == 1
    assert (done.json["healthy"], done.json["database"]) == (False, "unreachable")
    assert "Can't connect" in done.stderr  # a person is told why, and not the password
    assert "hidden-word" not in done.stdout + done.stderr


def test_a_partial_run_has_worked(client: Client) -> None:
    installed(timedelta(days=9))
    cluster_seen(timedelta(0))
    run_ended(timedelta(hours=1), RunStatus.PARTIAL)
    assert client.get("/healthz").status_code == 200


def test_no_number_of_resyncs_hides_the_last_whole_run(client: Client) -> None:
    run = all_well()
    for user_id in range(150):
        run_ended(timedelta(minutes=30), trigger=Trigger.ADMIN, scope={"users": [user_id]})
    answer = client.get("/healthz")
    assert answer.status_code == 200, answer.json()
    assert answer.json()["last_run"] == run.pk


def test_a_weekly_schedule_is_well_in_the_middle_of_the_week(client: Client, fake_slack: FakeSlack) -> None:
    coming = timezone.now() + timedelta(days=3)
    Schedule.objects.filter(func=schedules.SYNC).update(schedule_type=Schedule.WEEKLY, cron=None, next_run=coming)
    cluster_seen(timedelta(0))
    installed(timedelta(days=30))
    run = run_ended(timedelta(days=4))
    answer = client.get("/healthz")
    assert answer.status_code == 200, answer.json()
    assert tasks.check_silence() == "no silence"
    SyncRun.objects.filter(pk=run.pk).update(finished_at=timezone.now() - timedelta(days=11))
    assert (
        "No run has worked for 252 hours: neither as a whole nor in part." in client.get("/healthz").json()["problems"]
    )
    assert tasks.check_silence() == "sent"


# --- To strangers ---------------------------------------------------------------------------------------------------

WELL = {"healthy": True, "problems": [], "database": "ok", "broker": "ok", "cluster_alive": True}


@pytest.mark.parametrize("given", [None, "Bearer ", "Bearer wrong", "sekret", "Basic sekret", "Bearer s\u00e9kret"])
@pytest.mark.parametrize("token", ["", "sekret"])
def test_strangers_learn_no_count_no_id_and_no_time(settings: Any, token: str, given: str | None) -> None:
    settings.METRICS_TOKEN = token
    stranger = Client(headers={} if given is None else {"Authorization": given})
    all_well()
    OrderToken.objects.create(user_id=1, token="t")
    Order.objects.create(order_uuid="a", user_id=1, amount="0")
    answer = stranger.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, WELL)

    ClusterBeat.objects.all().delete()
    SyncRun.objects.update(finished_at=timezone.now() - timedelta(days=9))
    NamedLock.objects.update(created_at=timezone.now() - timedelta(days=9))
    SyncRun.objects.create(trigger=Trigger.SCHEDULE, due_at=timezone.now() - timedelta(hours=1))
    Schedule.objects.all().delete()
    answer = stranger.get("/healthz")
    unwell = ["cluster", "schedule", "due run", "last run"]
    assert answer.status_code == 503
    assert answer.json() == WELL | {"healthy": False, "problems": unwell, "cluster_alive": False}
    assert not re.search(r"\d", answer.content.decode())


# --- The command ----------------------------------------------------------------------------------------------------


def test_the_command_says_the_same_to_a_person_and_a_monitor() -> None:
    run = all_well()
    person, monitor = StringIO(), StringIO()
    call_command("sync_status", stdout=person)
    call_command("sync_status", "--json", stdout=monitor)
    assert "All is well." in person.getvalue()
    assert re.search(r"Limit +none known, nothing was refused so far\n", person.getvalue())
    assert f"run {run.pk}, succeeded, 2" in person.getvalue()
    assert json.loads(monitor.getvalue())["healthy"] is True


def test_the_command_exits_1_where_something_is_wrong_and_names_runs_under_way() -> None:
    run = SyncRun.objects.create(trigger=Trigger.COMMAND, status=RunStatus.RUNNING, users=10, users_planned=40)
    audit = SyncRun.objects.create(kind=RunKind.AUDIT, trigger=Trigger.COMMAND, status=RunStatus.QUEUED)
    out = StringIO()
    with pytest.raises(CommandError, match="No cluster is alive") as caught:
        call_command("sync_status", stdout=out)
    assert caught.value.returncode == 1
    assert f"run {run.pk} (command), running, 10 of 40 users" in out.getvalue()
    assert f" audit {audit.pk}, queued" in out.getvalue()
