"""Real clusters while something fails at the very time at which the daily run is due."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.clusters import LIMIT, ClusterScenario, MakeClusterScenario
from tests.support.harness import manage
from tests.support.servers import MariaDB, Redis, wait_for

pytestmark = [pytest.mark.server, pytest.mark.cluster]

SCHEDULER_PASSES = 35
"""Seconds within which django-q2's scheduler has surely looked."""


def due_in(scenario: ClusterScenario, seconds: float) -> datetime:
    at = (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)
    scenario.portal.execute(
        "UPDATE django_q_schedule SET next_run = %s WHERE func = %s",
        at.replace(tzinfo=None),
        "bytemark_sync.tasks.scheduled_run",
    )
    return at


def scheduled(scenario: ClusterScenario) -> list[dict[str, Any]]:
    try:
        return [run for run in scenario.portal.runs() if run["trigger"] == "schedule"]
    except Exception:  # the database is away
        return []


def moved_on(scenario: ClusterScenario) -> bool:
    """Whether django-q2's scheduler is done with the due time."""
    query = "SELECT next_run FROM django_q_schedule WHERE func = %s"
    (next_run,) = scenario.portal.all(query, "bytemark_sync.tasks.scheduled_run")[0]
    return bool(next_run > datetime.now(UTC).replace(tzinfo=None))


def one_run_is_made_and_worked(scenario: ClusterScenario, at: datetime, within: float) -> None:
    wait_for(lambda: bool(scheduled(scenario)), within, "the due run is made", every=0.2)
    scenario.everything_is_stored_once_and_told_truthfully(within=60)
    wait_for(lambda: moved_on(scenario), SCHEDULER_PASSES, "the schedule is moved on", every=0.5)
    time.sleep(3)  # the task that came with it, and the watchdog, find nothing to do
    (run,) = scheduled(scenario)
    assert run["due_at"] == at.replace(tzinfo=None)


@pytest.mark.parametrize("held", [15])
def test_a_lock_is_waited_for_in_vain_when_the_run_is_due(cluster_scenario: MakeClusterScenario, held: int) -> None:
    """Longer than the 10 s after which the server ends a wait."""
    scenario = cluster_scenario("mariadb", latency=0.0)
    scenario.cluster()
    connection = scenario.portal.connect()
    cursor = connection.cursor()
    cursor.execute("BEGIN")
    cursor.execute("SELECT * FROM bytemark_sync_latch FOR UPDATE")  # with the gaps: nobody can add one either
    at = due_in(scenario, 1)
    time.sleep(held)
    assert scheduled(scenario) == []
    cursor.execute("COMMIT")
    connection.close()
    one_run_is_made_and_worked(scenario, at, within=LIMIT + 10)


@pytest.mark.parametrize("broker", ["database", "redis"])
def test_the_database_is_restarted_when_the_run_is_due(
    cluster_scenario: MakeClusterScenario, request: pytest.FixtureRequest, broker: str
) -> None:
    redis = request.getfixturevalue("redis_server") if broker == "redis" else None
    with MariaDB(durable=True) as server:
        url = server.create_database("restarted")
        assert manage("migrate", "-v0", database_url=url).status == 0
        scenario = cluster_scenario(url=url, redis=redis, latency=0.0)
        scenario.cluster()
        at = due_in(scenario, 1)
        server.kill()
        time.sleep(4)
        server.start()
        one_run_is_made_and_worked(scenario, at, within=LIMIT + 10)


def test_redis_is_away_when_the_run_is_due_and_comes_back_empty(cluster_scenario: MakeClusterScenario) -> None:
    with Redis() as redis:
        scenario = cluster_scenario("mariadb", redis=redis, latency=0.0)
        cluster = scenario.cluster()
        wait_for(lambda: bool(scenario.health()["cluster_alive"]), 20, "the cluster's sign of life")
        redis.kill()
        at = due_in(scenario, 1)
        wait_for(lambda: bool(scheduled(scenario)), LIMIT + 10, "the due run is made", every=0.2)
        scenario.portal.execute("UPDATE bytemark_sync_cluster SET heartbeat_at = '2020-01-01'")
        wait_for(lambda: bool(scenario.health()["cluster_alive"]), 30, "the cluster's sign of life")
        assert scenario.health()["problems"] == ["The broker (Redis) cannot be reached: runs wait for it."]
        redis.start()
        one_run_is_made_and_worked(scenario, at, within=LIMIT)
        assert cluster.stop() == 0
