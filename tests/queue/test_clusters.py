"""Real clusters on real brokers and databases; servers and processes are killed and restarted in the middle.

`manage.py qcluster` runs in process groups of its own, as a service manager would start it. Whatever dies, within twice
the heartbeat limit everything is stored, once, and the run is closed truthfully.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.clusters import LIMIT, Cluster, ClusterScenario, MakeClusterScenario, Network
from tests.support.harness import BACKENDS, manage
from tests.support.servers import Databases, MariaDB, Redis, wait_for
from tests.support.side_by_side import side_by_side

pytestmark = pytest.mark.cluster


def one_of_two_is_killed(scenario: ClusterScenario) -> None:
    first, second = scenario.cluster(), scenario.cluster()
    scenario.enqueue()
    wait_for(lambda: first.worked() and second.worked(), 30, "both clusters work")
    scenario.wait_for_a_third()
    first.kill()
    scenario.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT)
    assert second.stop() == 0


def one_of_two_is_cut_off_from_bytemark(scenario: ClusterScenario) -> None:
    """It alone waits, and hands its users back. The other goes on at its pace, and nobody fails."""
    scenario.env["BYTEMARK_BACKOFF_BASE"] = "0.2"
    with Network(scenario.sandbox.url) as network:
        whole, cut_off = scenario.cluster(), scenario.cluster(network)
        scenario.enqueue()
        wait_for(lambda: whole.worked() and cut_off.worked(), 30, "both clusters work")
        scenario.wait_for_a_third()
        network.cut()
        wait_for(lambda: "Bytemark has not answered since" in cut_off.log.read_text(), 60, "it is noticed")
        scenario.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT)
    assert scenario.portal.value("SELECT COUNT(*) FROM bytemark_sync_pace") == 0
    assert scenario.portal.value("SELECT MAX(tries) FROM bytemark_sync_batch") == 0


@pytest.mark.server
def test_two_clusters_share_a_run_and_one_is_killed_or_cut_off(
    cluster_scenario: MakeClusterScenario, redis_server: Redis
) -> None:
    scenarios = [cluster_scenario(backend) for backend in BACKENDS]
    scenarios.append(cluster_scenario("mariadb", redis=redis_server))
    side_by_side(
        *(partial(one_of_two_is_killed, scenario) for scenario in scenarios),
        partial(one_of_two_is_cut_off_from_bytemark, cluster_scenario("sqlite")),
    )


def test_workers_side_by_side_do_not_deadlock_on_their_run(
    cluster_scenario: MakeClusterScenario, server_backend: str, server: Databases
) -> None:
    scenario = cluster_scenario(server_backend, latency=0.02)
    before = server.deadlocks()
    scenario.cluster(), scenario.cluster()
    scenario.enqueue()
    scenario.everything_is_stored_once_and_told_truthfully(within=30)
    assert server.deadlocks() - before <= 1


def redis_is_restarted_and_forgets_everything(redis: Redis, scenario: ClusterScenario) -> None:
    cluster = scenario.cluster()
    scenario.enqueue()
    scenario.wait_for_a_third()
    redis.kill()
    redis.start()
    # django-q2's own pause after a lost broker is 10 s, so that much more than the limit itself is to be allowed.
    scenario.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT + 10)
    assert cluster.stop() == 0


def the_database_is_restarted(server: MariaDB, scenario: ClusterScenario) -> None:
    cluster = scenario.cluster()
    scenario.enqueue()
    scenario.wait_for_a_third()
    server.kill()
    time.sleep(1)
    server.start()
    scenario.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT + 10)
    assert cluster.stop() == 0


@pytest.mark.server
def test_redis_or_the_database_is_restarted_in_the_middle(
    cluster_scenario: MakeClusterScenario, redis_server: Redis
) -> None:
    with MariaDB(durable=True) as server, MariaDB(durable=True) as other, Redis() as redis:
        urls = [each.create_two_places("restarted") for each in (server, other)]
        for url in urls:
            assert manage("migrate", "-v0", database_url=url).status == 0
        side_by_side(
            partial(redis_is_restarted_and_forgets_everything, redis, cluster_scenario(redis=redis)),
            partial(the_database_is_restarted, server, cluster_scenario(url=urls[0])),
            partial(the_database_is_restarted, other, cluster_scenario(url=urls[1], redis=redis_server)),
        )


def the_only_cluster_dies_and_a_new_one_goes_on(scenario: ClusterScenario) -> None:
    cluster = scenario.cluster()
    scenario.enqueue()
    scenario.wait_for_a_third()
    cluster.kill()
    assert scenario.is_closed() is False
    scenario.cluster()
    scenario.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT)


def a_cluster_shows_that_it_lives_and_stops_in_good_order(scenario: ClusterScenario) -> None:
    assert scenario.health()["cluster_alive"] is False
    cluster = scenario.cluster()
    wait_for(lambda: bool(scenario.health()["cluster_alive"]), 20, "the cluster's sign of life")
    scenario.enqueue()
    scenario.wait_for_a_third()
    assert cluster.stop() == 0
    (run,) = scenario.portal.runs()
    assert run["status"] == "running"  # the rest waits in the queue for the next cluster
    scenario.cluster()
    scenario.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT)


def test_the_only_cluster_dies_or_stops_and_a_new_one_goes_on(cluster_scenario: MakeClusterScenario) -> None:
    side_by_side(
        partial(the_only_cluster_dies_and_a_new_one_goes_on, cluster_scenario("sqlite")),
        partial(a_cluster_shows_that_it_lives_and_stops_in_good_order, cluster_scenario("sqlite", latency=0.15)),
    )


@pytest.mark.server
def test_a_request_while_redis_is_away_is_worked_when_it_is_back(cluster_scenario: MakeClusterScenario) -> None:
    with Redis() as redis:
        scenario = cluster_scenario("mariadb", redis=redis, latency=0.0)
        scenario.env["SYNC_HEARTBEAT_LIMIT"] = "4"
        redis.kill()
        scenario.enqueue()
        redis.start()
        scenario.cluster()
        scenario.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT)


def _children(pid: int) -> list[int]:
    """Processes whose parent is `pid`, oldest first."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return sorted(found)


def _is_complete(cluster: Cluster, without: list[int]) -> bool:
    """Whether its guard has all of its children, none of them one of `without`."""
    children = [child for guard in _children(cluster.process.pid) for child in _children(guard)]
    return len(children) == 6 and not set(children) & set(without)


@pytest.mark.parametrize("victim", ["idle workers", "guard"])
def test_a_cluster_works_on_after_any_of_its_processes_is_killed(
    cluster_scenario: MakeClusterScenario, victim: str
) -> None:
    """An idle worker dies with the lock of the queue in its hands; a guard leaves its workers and pusher behind."""
    scenario = cluster_scenario("sqlite", latency=0.0)
    scenario.env["SYNC_HEARTBEAT_LIMIT"] = "4"
    cluster = scenario.cluster()
    wait_for(lambda: "pushing tasks" in cluster.log.read_text(), 30, "the cluster is complete")
    (guard,) = _children(cluster.process.pid)
    children = _children(guard)
    gone = children if victim == "guard" else children[:4]
    for pid in [guard] if victim == "guard" else gone:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in gone), 30, "whoever has no guard is gone")
    wait_for(lambda: _is_complete(cluster, without=gone), 30, "there are new workers")
    scenario.enqueue()
    scenario.everything_is_stored_once_and_told_truthfully(within=60)
    assert not any(Path(f"/proc/{pid}").exists() for pid in gone)
    assert cluster.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_for_the_whole_group_stops_the_cluster(
    tmp_path: Path, sqlite_database_url: str, number: signal.Signals
) -> None:
    with Cluster(tmp_path, sqlite_database_url, {}) as cluster:
        os.killpg(cluster.process.pid, number)
        assert cluster.process.wait(30) == 0
