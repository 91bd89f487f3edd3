"""Real clusters while something fails at the very time at which the daily run is due."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from tests.support.clusters import LIMIT, ClusterScenario, MakeClusterScenario
from tests.support.harness import Portal, copy_database, manage
from tests.support.servers import MariaDB, Redis, wait_for
from tests.support.side_by_side import side_by_side

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


def a_lock_is_waited_for_in_vain(scenario: ClusterScenario) -> None:
    """Longer than the 10 s after which the server ends a wait."""
    scenario.cluster()
    connection = scenario.portal.connect()
    cursor = connection.cursor()
    cursor.execute("BEGIN")
    cursor.execute("SELECT * FROM bytemark_sync_latch FOR UPDATE")  # with the gaps: nobody can add one either
    at = due_in(scenario, 1)
    time.sleep(15)
    assert scheduled(scenario) == []
    cursor.execute("COMMIT")
    connection.close()
    one_run_is_made_and_worked(scenario, at, within=LIMIT + 10)


def the_database_is_restarted(server: MariaDB, *scenarios: ClusterScenario) -> None:
    for scenario in scenarios:
        scenario.cluster()
    at = [due_in(scenario, 1) for scenario in scenarios]
    server.kill()
    time.sleep(4)
    server.start()
    side_by_side(
        *(
            partial(one_run_is_made_and_worked, scenario, due, within=LIMIT + 10)
            for scenario, due in zip(scenarios, at, strict=True)
        )
    )


def redis_is_away_and_comes_back_empty(redis: Redis, scenario: ClusterScenario) -> None:
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


def test_one_run_is_made_whatever_fails_when_it_is_due(
    cluster_scenario: MakeClusterScenario, redis_server: Redis
) -> None:
    """All failures side by side: each waits half a minute for django-q2's scheduler."""
    with MariaDB(durable=True) as server, Redis() as redis:
        urls = [server.create_database(name) for name in ("database_broker", "redis_broker")]
        assert manage("migrate", "-v0", database_url=urls[0]).status == 0
        copy_database(Portal(urls[0]), Portal(urls[1]))
        side_by_side(
            partial(a_lock_is_waited_for_in_vain, cluster_scenario("mariadb", latency=0.0)),
            partial(
                the_database_is_restarted,
                server,
                cluster_scenario(url=urls[0], latency=0.0),
                cluster_scenario(url=urls[1], redis=redis_server, latency=0.0),
            ),
            partial(redis_is_away_and_comes_back_empty, redis, cluster_scenario("mariadb", redis=redis, latency=0.0)),
        )
