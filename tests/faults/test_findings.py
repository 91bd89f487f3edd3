"""What the campaign has found, each as a small test of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from bytemark_sync.sandbox import World
from bytemark_sync.sandbox.sample import TROUBLES
from tests.faults.proxy import CommitCutter
from tests.support.harness import finish
from tests.support.scenario import MakeScenario, simple_world
from tests.support.servers import Databases, wait_for


@pytest.fixture
def cutter(server: Databases) -> Iterator[CommitCutter]:
    made = CommitCutter(server.port)
    yield made
    made.close()


@pytest.mark.parametrize("commits", [1, 2, 4])
def test_a_commit_whose_answer_is_lost_is_counted_once(
    server_scenario: MakeScenario, server: Databases, cutter: CommitCutter, commits: int
) -> None:
    world = World.sample(users=len(TROUBLES), orders_per_user=2, listed=(2, 5), trouble=1.0, seed=5)
    at = server_scenario(world)
    before = len(at.portal.items())
    cutter.arm(commits)
    done = at.sync("--json", url=at.url.replace(f":{server.port}/", f":{cutter.port}/"))
    assert cutter.cut >= 1
    at.assert_exact()
    (run,) = at.portal.runs()
    counts = {name: run[name] for name in done.json if name in run and name != "status"}
    assert counts == {name: done.json[name] for name in counts}
    assert run["items_created"] == len(at.portal.items()) - before
    assert run["orders"] == len(world.pending())
    assert set(at.portal.all("SELECT attempts FROM bytemark_sync_outcome")) == {(1,)}
    assert at.portal.value("SELECT COUNT(*) FROM bytemark_sync_attempt") == len(at.portal.reasons())


def test_a_run_whose_opening_is_answered_by_silence_is_opened_once(
    server_scenario: MakeScenario, server: Databases, cutter: CommitCutter
) -> None:
    at = server_scenario(simple_world(users=2))
    cutter.arm(1, every_write=True)
    done = at.sync("--json", url=at.url.replace(f":{server.port}/", f":{cutter.port}/"))
    assert (done.status, cutter.cut) == (0, 1)
    assert [run["status"] for run in at.portal.runs()] == ["succeeded"]


def test_an_interrupted_run_counts_the_orders_that_it_settled(sqlite_scenario: MakeScenario) -> None:
    """One order of the first page is stored and one has no pass; the second page never comes."""
    world = simple_world(users=1, orders=3)
    world.riders[0].orders[1].items = []
    at = sqlite_scenario(world, faults="hang:pages=2")
    process = at.start("--json", env={"BYTEMARK_PAGE_SIZE": "2"})
    wait_for(lambda: at.sandbox.stats().pages.get("2", 0) > 0, 20, "the second page is asked for")
    process.terminate()
    done = finish(process)
    assert done.status == 143
    counts = {name: done.json[name] for name in ("orders", "orders_synced", "orders_without_passes", "users")}
    assert counts == {"orders": 2, "orders_synced": 1, "orders_without_passes": 1, "users": 0}


def test_a_run_that_died_is_reported_by_the_next_command(sqlite_scenario: MakeScenario) -> None:
    """Without a cluster nobody else would tell."""
    at = sqlite_scenario(simple_world(users=20), latency=0.1)
    process = at.start("--workers", "1")
    while not at.portal.runs():
        time.sleep(0.02)
    process.kill()
    finish(process)
    at.age_heartbeats()
    assert at.sync().status == 0
    assert [(run["status"], run["slack"]) for run in at.portal.runs()] == [
        ("failed", "no token or channel set"),
        ("succeeded", "no token or channel set"),  # for it ends a bad series
    ]
