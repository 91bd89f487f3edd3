"""`/metrics`: for whom, and what it says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import (
    Order,
    OrderOutcome,
    OrderToken,
    RunKind,
    Trigger,
)
from tests.support.job_state import all_well, run_ended

pytestmark = pytest.mark.django_db


def scrape(client: Client, token: str) -> Any:
    return client.get("/metrics", headers={"Authorization": f"Bearer {token}"})


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
    answer = scrape(client, "sekret")
    assert answer.status_code == 200
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.content.decode())
        for sample in family.samples
    }
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
