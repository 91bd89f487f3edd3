"""A machine that lends few threads, or none: a run goes on with what it gets, and with its own thread at the last."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from bytemark_sync.sandbox import FaultRule
from tests.support.children import spawn
from tests.support.harness import Finished, finish, places
from tests.support.scenario import MakeScenario, Scenario, add_user, listed, simple_world
from tests.support.servers import ROOT, clean_environment, wait_for

STACK = 1024 * 1024
"""KiB of address space that each thread takes here: the limit on all of it is then one on the number of threads."""
OTHERWISE = 900 * 1024
"""KiB for all else; a quarter is used."""


def start(at: Scenario, threads: int, *args: str) -> subprocess.Popen[str]:
    """The command, in a process that can start no more than so many threads beside its first."""
    limits = f'ulimit -s {STACK}; ulimit -v {threads * STACK + OTHERWISE}; exec "$@"'
    environment = clean_environment(places(at.url) | dict(at.env({"BYTEMARK_WORKERS": "8"})))
    command = ["sh", "-c", limits, "sh", sys.executable, "manage.py", "sync_order_items", *args]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return spawn(command, env=environment, cwd=ROOT, stdin=subprocess.DEVNULL, **pipes)


def sync(at: Scenario, threads: int) -> Finished:
    done = finish(start(at, threads, "--json"), 30)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.mark.parametrize(("threads", "others"), [(0, 40), (1, 40), (1, 0)])
def test_a_run_ends_with_whatever_threads_can_be_started(
    sqlite_scenario: MakeScenario, threads: int, others: int
) -> None:
    world = simple_world(users=others, orders=2, first=201)
    add_user(world, 101, [listed(f"order-{number}") for number in range(250)], ["order-0", "order-249"])
    at = sqlite_scenario(world, latency=0.002)
    done = sync(at, threads)
    assert done.status == 0, done.stderr
    assert done.json["users"] == others + 1
    assert done.json["api_requests"] == others + 25
    at.assert_exact()
    assert at.sandbox.stats().max_concurrent <= max(1, threads)
    assert done.stderr.count("can't start new thread") == (1 if others else 0)
    again = sync(at, threads)
    assert (again.status, again.json["users"]) == (0, 0)
    at.assert_exact()


def test_ctrl_c_ends_a_run_that_has_no_thread_but_its_own(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=3))
    at.sandbox.set_faults(FaultRule("hang", users=[102]))
    process = start(at, 0, "--json")
    wait_for(lambda: any(seen.user_id == 102 for seen in at.sandbox.requests()), 30, "the silence is met")
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    done = finish(process, 30)
    assert done.status == 130, done.stderr
    assert time.monotonic() - began < 10
    assert at.portal.runs()[-1]["status"] == "interrupted"
    at.assert_whole_orders()
    at.settle()
