"""Clusters of two versions on one queue (docs/decisions/0017-two-versions-side-by-side.md).

This tree is the older version here. The newer one is made up of it.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.support.clusters import Cluster, ClusterScenario, MakeClusterScenario
from tests.support.harness import manage
from tests.support.next_version import ADDED, NEXT
from tests.support.servers import Redis, wait_for
from tests.support.side_by_side import side_by_side

pytestmark = pytest.mark.cluster


def migrate(scenario: ClusterScenario, newer: Path) -> None:
    done = manage("migrate", "-v0", database_url=scenario.url, tree=newer)
    assert done.status == 0, done.stderr


def end(cluster: Cluster, *, kill: bool) -> None:
    if kill:
        cluster.kill()
    else:
        assert cluster.stop() == 0


SLOW = "latency:seconds=3"
"""So that the run lasts until both clusters are at work, however busy the machine is."""


def in_the_middle(scenario: ClusterScenario, *clusters: Cluster) -> None:
    """Wait until all are at work. From then on Bytemark answers quickly."""
    wait_for(lambda: all(cluster.worked() for cluster in clusters), 90, "both clusters work")
    stored = scenario.stored()
    wait_for(lambda: scenario.stored() > stored, 60, "work goes on")
    assert not scenario.is_closed()
    scenario.sandbox.set_faults()


def an_upgrade_in_the_middle_of_a_run(scenario: ClusterScenario, newer: Path, *, kill: bool) -> None:
    """Migrate while the older cluster works, start the newer one, and end the older one."""
    scenario.sandbox.set_faults(SLOW)
    old = scenario.cluster()
    scenario.enqueue()
    wait_for(lambda: scenario.stored() > 0, 90, "the older cluster works")
    early = manage("qcluster", database_url=scenario.url, env=scenario.env, tree=newer)
    assert early.status == 1
    assert f"Run `manage.py migrate` first: version {NEXT} needs {ADDED}." in early.stderr
    migrate(scenario, newer)
    new = scenario.cluster(tree=newer)
    in_the_middle(scenario, old, new)
    end(old, kill=kill)
    exact(scenario)
    assert new.stop() == 0


def a_newer_version_is_taken_back_in_the_middle_of_a_run(scenario: ClusterScenario, newer: Path, *, kill: bool) -> None:
    """The older cluster stands alone at first, before tables and a run of the newer version."""
    scenario.sandbox.set_faults(SLOW)
    migrate(scenario, newer)
    old = scenario.cluster()
    scenario.enqueue(tree=newer)
    wait_for(lambda: "handed back for a newer one" in old.log.read_text(), 60, "an unknown task is handed back")
    new = scenario.cluster(tree=newer)
    in_the_middle(scenario, old, new)
    end(new, kill=kill)
    exact(scenario)
    assert old.stop() == 0


def exact(scenario: ClusterScenario) -> None:
    scenario.everything_is_stored_once_and_told_truthfully(within=90)
    assert scenario.portal.all("SELECT func, result FROM django_q_task WHERE success = 0") == []


@pytest.mark.server
def test_two_versions_share_a_run_and_either_may_end_first(
    cluster_scenario: MakeClusterScenario, redis_server: Redis, newer: Path
) -> None:
    up = partial(an_upgrade_in_the_middle_of_a_run, newer=newer)
    back = partial(a_newer_version_is_taken_back_in_the_middle_of_a_run, newer=newer)
    side_by_side(
        partial(up, cluster_scenario("mariadb"), kill=True),
        partial(back, cluster_scenario("mariadb", redis=redis_server), kill=False),
    )
