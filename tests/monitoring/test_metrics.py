"""`/metrics`: for whom, and what it says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from bytemark_sync.bytemark.account_errors import LoginCause
from bytemark_sync.bytemark.pace_state import Report
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import (
    LimitedMinute,
    LoginState,
    Order,
    OrderOutcome,
    OrderToken,
    RiderLogin,
    RunKind,
    RunOutage,
    SyncRun,
    Trigger,
)
from bytemark_sync.storage import retention
from bytemark_sync.storage.pace_store import DatabasePace
from tests.support.job_state import all_well, run_ended

pytestmark = pytest.mark.django_db


def scrape(client: Client, token: str) -> Any:
    return client.get("/metrics", headers={"Authorization": f"Bearer {token}"})


def scraped(client: Client) -> dict[tuple[str, ...], float]:
    """Value by name and labels."""
    answer = scrape(client, "sekret")
    assert answer.status_code == 200
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }


def test_metrics_do_not_exist_without_their_setting(client: Client, settings: Any) -> None:
    settings.METRICS_TOKEN = ""
    assert scrape(client, "").status_code == 404


@pytest.mark.parametrize("token", ["", "wrong", "sekret2", "s\u00e9kret"])
def test_metrics_are_for_whoever_has_the_token(client: Client, settings: Any, token: str) -> None:
    settings.METRICS_TOKEN = "sekret"
    assert scrape(client, token).status_code == 401


def test_metrics_are_prometheus_text(client: Client, settings: Any) -> None:
    settings.METRICS_TOKEN = "sekret"
    all_well()
    run_ended(timedelta(0), users=12, orders_synced=34, answers={"ok": 50}, latency={"max": 2.0, "buckets": {"100": 9}})
    run_ended(timedelta(0), kind=RunKind.AUDIT, trigger=Trigger.COMMAND, users=99)
    OrderToken.objects.create(user_id=1, token="t")
    for amount in ("0", "2.50"):  # the second was paid since, and is pending no longer
        order = Order.objects.create(order_uuid=f"o{amount}", user_id=1, amount=amount)
        OrderOutcome.objects.create(order=order, user_id=1, reason=Reason.NOT_FOUND)
    OrderOutcome.objects.create(order_id=order.pk + 1, user_id=1, reason=Reason.NO_PASSES)  # its order is gone
    samples = scraped(client)
    assert samples[("bytemark_sync_healthy",)] == 1
    assert samples[("bytemark_sync_cluster_alive",)] == 1
    assert samples[("bytemark_sync_pending_orders",)] == 1
    assert samples[("bytemark_sync_left_orders", "not_found")] == 1
    assert ("bytemark_sync_left_orders", "no_passes") not in samples
    assert samples[("bytemark_sync_runs", "schedule", "succeeded")] == 2
    assert samples[("bytemark_sync_runs", "audit", "succeeded")] == 1
    assert samples[("bytemark_sync_last_run", "users")] == 12
    assert samples[("bytemark_sync_last_run", "orders_synced")] == 34
    assert samples[("bytemark_sync_last_run_requests", "ok")] == 50
    assert samples[("bytemark_sync_last_run_latency_seconds", "1")] == 2.0
    assert samples[("bytemark_sync_last_run_seconds",)] == 300
    assert samples[("bytemark_sync_rate_limited_total",)] == 0
    assert samples[("bytemark_sync_outage_seconds",)] == 0
    assert samples[("bytemark_sync_pace_known",)] == 1
    assert samples[("bytemark_sync_pace_holders",)] == 0
    for absent in ("pace_requests_per_second", "pace_fixed_requests_per_second", "last_outage_start_timestamp_seconds"):
        assert (f"bytemark_sync_{absent}",) not in samples


def test_the_pace_the_refusals_and_the_outages_are_told(client: Client, settings: Any) -> None:
    settings.METRICS_TOKEN, settings.BYTEMARK_REQUESTS_PER_SECOND = "sekret", 100.0
    now = timezone.now()
    run = run_ended(timedelta(days=91))
    for ago, refused in ((timedelta(days=91), 7), (timedelta(0), 3)):
        LimitedMinute.objects.create(run=run, source="a", minute=now - ago, requests=9, refused=refused)
    RunOutage.objects.create(run=run, began_at=now - timedelta(hours=3), ended_at=now - timedelta(hours=2))
    samples = scraped(client)
    assert samples[("bytemark_sync_rate_limited_total",)] == 10
    assert samples[("bytemark_sync_pace_requests_per_second",)] == 100
    assert samples[("bytemark_sync_pace_fixed_requests_per_second",)] == 100
    assert samples[("bytemark_sync_last_outage_start_timestamp_seconds",)] == pytest.approx(now.timestamp() - 3 * 3600)
    assert samples[("bytemark_sync_last_outage_end_timestamp_seconds",)] == pytest.approx(now.timestamp() - 2 * 3600)

    store = DatabasePace()
    store.exchange(Report("a", refused=1, counted=20, counted_seconds=1.0, had=20.0, wanted=5, pause=60.0), None)
    store.exchange(Report("b", generation=1, wanted=5), None)
    silent = SyncRun.objects.create(trigger="admin", status="running", silent_since=now - timedelta(seconds=90))
    RunOutage.objects.create(run=silent, began_at=now - timedelta(seconds=90))
    retention.prune(now)
    samples = scraped(client)
    assert samples[("bytemark_sync_rate_limited_total",)] == 10  # a counter never falls
    assert 0 < samples[("bytemark_sync_pace_requests_per_second",)] < 20
    assert samples[("bytemark_sync_pace_holders",)] == 2
    assert 50 < samples[("bytemark_sync_pace_pause_seconds",)] <= 60
    assert 90 <= samples[("bytemark_sync_outage_seconds",)] < 150
    assert samples[("bytemark_sync_last_outage_start_timestamp_seconds",)] == pytest.approx(now.timestamp() - 90)
    assert ("bytemark_sync_last_outage_end_timestamp_seconds",) not in samples
    kinds = {
        family.name: family.type for family in text_string_to_metric_families(scrape(client, "sekret").content.decode())
    }
    assert kinds["bytemark_sync_rate_limited"] == "counter"
    assert kinds["bytemark_sync_pace_requests_per_second"] == "gauge"


def test_tokens_renewed_and_logins_refused_are_told(client: Client, settings: Any) -> None:
    settings.METRICS_TOKEN = "sekret"
    samples = scraped(client)
    causes = [("bytemark_sync_refused_logins", cause.value) for cause in LoginCause]
    assert [samples[each] for each in causes] == [0] * len(LoginCause)
    assert samples[("bytemark_sync_tokens_renewed_total",)] == samples[("bytemark_sync_logins_stopped",)] == 0

    now = timezone.now()
    states = [(LoginState.RENEWED, "", 2), (LoginState.ASKED, "", 1), (LoginState.UNANSWERED, "", 0)]
    states += [(LoginState.REFUSED, LoginCause.CLIENT_REFUSED, 0)] * 2
    states += [(LoginState.REFUSED, LoginCause.WRONG_PASSWORD, 3), (LoginState.REFUSED, "of-a-later-version", 0)]
    for user_id, (state, cause, renewals) in enumerate(states):
        RiderLogin.objects.create(pk=user_id, state=state, cause=cause, renewals=renewals, asked_at=now)
    run = run_ended(timedelta(days=91), tokens_renewed=6, logins_stopped="for a reason")
    samples = scraped(client)
    assert samples[("bytemark_sync_tokens_renewed_total",)] == 6
    assert samples[("bytemark_sync_refused_logins", "client_refused")] == 2
    assert samples[("bytemark_sync_refused_logins", "wrong_password")] == 1
    assert sum(value for (name, *_), value in samples.items() if name == "bytemark_sync_refused_logins") == 3
    assert samples[("bytemark_sync_logins_stopped",)] == 1
    run_ended(timedelta(0), scope={"users": [1]})  # a resync says nothing of the others
    assert scraped(client)[("bytemark_sync_logins_stopped",)] == 1
    run_ended(timedelta(0))
    assert scraped(client)[("bytemark_sync_logins_stopped",)] == 0
    SyncRun.objects.create(trigger="admin", status="running", scope={"users": [1]}, logins_stopped="for a reason")
    retention.prune(now)
    samples = scraped(client)
    assert not SyncRun.objects.filter(pk=run.pk)
    assert samples[("bytemark_sync_logins_stopped",)] == 1
    assert samples[("bytemark_sync_tokens_renewed_total",)] == 6  # a counter never falls
