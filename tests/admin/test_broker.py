"""Redis away: people are told that the broker is, that their run waits for it, and that the pace is not known."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
import redis as redis_client
from django.test import Client
from django.utils import timezone
from django_q.conf import Conf

from bytemark_sync import tasks
from bytemark_sync.bytemark.pace_state import Report
from bytemark_sync.models import ClusterBeat, RunStatus, SyncRun
from bytemark_sync.queue import broker
from bytemark_sync.storage.pace_store import pace_store
from tests.support.admin_data import Filled
from tests.support.job_state import monitor
from tests.support.servers import ROOT, Redis

pytestmark = [pytest.mark.server, pytest.mark.django_db(transaction=True)]
APP = "/admin/bytemark_sync/"
AWAY = "The broker (Redis) cannot be reached"


@pytest.fixture
def redis(monkeypatch: pytest.MonkeyPatch) -> Iterator[Redis]:
    """The broker of this process, asked anew each time."""
    monkeypatch.setattr(broker, "ASKED_FOR", -1.0)
    monkeypatch.setattr(broker, "_answer", None)
    with Redis() as server:
        monkeypatch.setattr(Conf, "ORM", None)
        monkeypatch.setattr(Conf, "REDIS", f"{server.url}?socket_connect_timeout=1")
        yield server


def text(client: Client, path: str) -> str:
    return client.get(path).content.decode()


def newest() -> SyncRun:
    run = SyncRun.objects.order_by("-pk").first()
    assert run
    return run


def test_a_resync_and_its_run_name_the_broker_that_is_away(
    logged_in: Callable[[str], Client], filled: Filled, redis: Redis
) -> None:
    client = logged_in("operator")
    SyncRun.objects.exclude(status=RunStatus.SUCCEEDED).delete()
    redis.kill()
    said = client.post(f"{APP}pendingorder/resync/?user=5001", follow=True).content.decode()
    run = newest()
    assert (run.status, run.scope) == (RunStatus.QUEUED, {"users": [5001]})
    assert f"{AWAY}: the run waits for it." in said
    assert f"{AWAY}. The run waits for it" in said  # the run's page, to which it leads
    for path in (f"{APP}syncrun/{run.pk}/change/", f"{APP}syncrun/{run.pk}/live/"):
        assert AWAY in text(client, path)
        assert "qcluster" not in text(client, path)

    redis.start()
    assert AWAY not in text(client, f"{APP}syncrun/{run.pk}/live/")
    tasks.watch()
    run.refresh_from_db()
    assert run.planner_at is not None
    assert "Waiting for a cluster" in text(client, f"{APP}syncrun/{run.pk}/live/")


def test_a_broker_that_takes_nothing_though_it_answers_is_named_too(
    logged_in: Callable[[str], Client], filled: Filled, redis: Redis
) -> None:
    """Full, or a replica: it answers a ping."""
    run = SyncRun.objects.create(trigger="admin", created_at=timezone.now() - timedelta(minutes=2))
    page = text(logged_in("viewer"), f"{APP}syncrun/{run.pk}/live/")
    assert "The broker has not taken a task for this run yet" in page


def test_healthz_names_the_broker_and_not_the_cluster(settings: Any, filled: Filled, redis: Redis) -> None:
    client = monitor(settings)
    ClusterBeat.objects.update_or_create(name="here:1", defaults={"heartbeat_at": timezone.now()})
    SyncRun.objects.filter(status=RunStatus.QUEUED).delete()
    well = client.get("/healthz").json()
    assert (well["broker"], [problem for problem in well["problems"] if "broker" in problem]) == ("ok", [])
    redis.kill()
    answer = client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json()["broker"] == "unreachable"
    assert f"{AWAY}: runs wait for it." in answer.json()["problems"]
    assert not any("luster" in problem for problem in answer.json()["problems"])
    brief = Client().get("/healthz").json()
    assert ("broker" in brief["problems"], "cluster" in brief["problems"]) == (True, False)


def test_the_pace_in_redis_is_shown_and_where_redis_is_away_the_pages_say_so_and_stay_up(
    logged_in: Callable[[str], Client], redis: Redis, settings: Any
) -> None:
    settings.REDIS_URL, settings.METRICS_TOKEN = redis.url, "sekret"
    pace_store().exchange(
        Report("web-1:42:a1b2c3", refused=1, counted=30, counted_seconds=1.0, had=30.0, wanted=9), None
    )
    client, limit = logged_in("viewer"), f"{APP}syncrun/limit/"
    headers = {"Authorization": "Bearer sekret"}
    assert "30 a second" in text(client, limit)
    assert "web-1:42" in text(client, limit)
    assert "30 requests a second" in text(client, "/admin/")
    metrics = client.get("/metrics", headers=headers).content.decode()
    assert "bytemark_sync_pace_known 1.0" in metrics
    assert "bytemark_sync_pace_requests_per_second 30.0" in metrics
    redis.kill()
    for known_away in (False, True):
        if not known_away:  # it has gone since the broker was asked last
            broker._answer = (time.monotonic() + 60, False)
        assert "Redis, which keeps the shared pace, cannot be reached." in text(client, limit)
        assert "Redis, which keeps the pace, cannot be reached" in text(client, "/admin/")
        metrics = client.get("/metrics", headers=headers).content.decode()
        assert "bytemark_sync_pace_known 0.0" in metrics
        assert "bytemark_sync_pace_requests_per_second" not in metrics
        assert "bytemark_sync_outage_seconds 0.0" in metrics
        broker._answer = None
    redis.start()
    assert "no limit" in text(client, limit)  # it has no persistence
    pace_store().exchange(
        Report("web-1:42:a1b2c3", refused=1, counted=30, counted_seconds=1.0, had=30.0, wanted=9), None
    )
    assert "no limit" not in text(client, limit)
    key = re.search(r"redis-cli -u \S+ DEL (\S+?)`", (ROOT / "docs/asking-bytemark.md").read_text())
    assert key
    with closing(redis_client.Redis.from_url(redis.url)) as connection:
        assert connection.delete(key[1]) == 1
    assert "no limit" in text(client, limit)
