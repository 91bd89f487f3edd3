"""The pace from end to end: what one run has learnt begins the next, and processes share a fixed limit."""

from __future__ import annotations

import pytest

from tests.support.harness import FreshDatabase, finish
from tests.support.scenario import Scenario, simple_world
from tests.support.servers import SandboxProcess


@pytest.fixture
def backend() -> str:
    return "sqlite"


def test_a_limit_that_one_run_has_learnt_begins_the_next(fresh_database: FreshDatabase, backend: str) -> None:
    """20 in each 3 s: a first run meets it, a second one asks no faster from its first second on."""
    world = simple_world(users=36, orders=1)
    with SandboxProcess(world) as api:
        api.set_limit("quota=20,window=3,retry_after=reset")
        scenario = Scenario(fresh_database(backend), world, api)
        scenario.portal.fill(world)
        first = scenario.sync("--json", "--limit", 24)
        assert (first.status, first.json["users_failed"]) == (0, 0)
        assert first.json["rate_limited"] > 0
        api.reset()
        api.set_limit("rate=1000")
        second = scenario.sync("--json")
        assert (second.status, second.json["orders_synced"], second.json["rate_limited"]) == (0, 12, 0)
        stats = api.stats()
        assert stats.last_at - stats.first_at >= 0.7  # without the learnt pace all 12 are asked for at once
        scenario.assert_exact()


def test_two_processes_keep_to_a_fixed_limit_together(fresh_database: FreshDatabase, backend: str) -> None:
    world = simple_world(users=40, orders=1)
    with SandboxProcess(world) as api:
        scenario = Scenario(fresh_database(backend), world, api)
        scenario.portal.fill(world)
        halves = [[rider.user_id for rider in world.riders][number::2] for number in range(2)]
        env = scenario.env({"BYTEMARK_REQUESTS_PER_SECOND": "20"})
        runs = [
            scenario.start(*(each for user in half for each in ("--user", user)), "--json", env=env) for half in halves
        ]
        assert [finish(run).status for run in runs] == [0, 0]
        stats = api.stats()
        assert stats.requests == 40
        assert stats.last_at - stats.first_at >= 1.6  # each by itself would be done after one
        scenario.assert_exact()
