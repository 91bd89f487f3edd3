"""A run that another process closes: it writes nothing more, and command, row and Slack say the same."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.children import spawn
from tests.support.harness import Finished, finish, places
from tests.support.scenario import MakeScenario, Scenario, simple_world
from tests.support.servers import ROOT, clean_environment, wait_for
from tests.support.side_by_side import side_by_side
from tests.support.slack import FakeSlack

LIMIT = 2.0
"""SYNC_HEARTBEAT_LIMIT of these tests, in seconds."""


def env_of(slack: FakeSlack) -> dict[str, str | None]:
    return {
        "SYNC_HEARTBEAT_LIMIT": str(LIMIT),
        "SLACK_API_URL": slack.url,
        "SLACK_BOT_TOKEN": "made-up-slack-token",
        "SLACK_CHANNEL_ID": "C0MADEUP",
    }


def assert_all_say_the_same(at: Scenario, done: Finished, slack: FakeSlack) -> dict[str, Any]:
    """The first run's row, once the command has ended and all have spoken."""
    run = at.portal.runs()[0]
    said = done.json
    assert said["run_id"] == run["id"]
    assert {name: said[name] for name in said if name in run} == {name: run[name] for name in said if name in run}
    assert said["error"] == run["error"]
    assert done.status == 1
    (post,) = slack.posts
    assert f"run {run['id']} (command) failed" in post["text"]
    assert f"{run['orders_synced']} of {run['orders']} orders stored" in post["text"]
    assert f"{run['items_created']} items" in post["text"]
    stored = "SELECT COUNT(*), SUM(items) FROM bytemark_sync_stored_order WHERE run_id = %s"
    assert at.portal.all(stored, run["id"]) == [(run["orders_synced"], run["items_created"])]
    at.assert_whole_orders()
    return run


def it_was_suspended_for_longer_than_the_limit(at: Scenario, slack: FakeSlack) -> None:
    env = env_of(slack)
    process = at.start("--json", "--workers", "2", env=env)
    wait_for(lambda: len(at.portal.items()) > 0, 30, "a write", every=0.02)
    process.send_signal(signal.SIGSTOP)
    time.sleep(LIMIT + 0.5)
    other = at.sync("--json", "--user", 101, env=env)
    assert other.status == 0, other.stderr
    process.send_signal(signal.SIGCONT)
    run = assert_all_say_the_same(at, finish(process, 30), slack)
    assert run["status"] == "failed"
    assert "no sign of life" in run["error"]
    assert 0 < run["users"] < 100
    at.settle()


def it_waited_for_a_lock_for_longer_than_the_limit(at: Scenario, slack: FakeSlack) -> None:
    env = env_of(slack)
    other = at.portal.connect()
    process = at.start("--json", "--workers", "2", env=env)
    wait_for(lambda: len(at.portal.items()) > 0, 30, "a write", every=0.02)
    other.cursor().execute(at.portal.sql("LOCK TABLES bytemark_order_items READ"))
    time.sleep(LIMIT + 0.5)
    assert at.sync("--json", "--user", 9, env=env).status == 0
    other.cursor().execute("UNLOCK TABLES")
    other.close()
    run = assert_all_say_the_same(at, finish(process, 30), slack)
    assert run["status"] == "failed"
    assert 0 < run["users"] < 100
    at.settle()


def test_a_run_that_gave_no_sign_of_life_for_longer_than_the_limit(
    sqlite_scenario: MakeScenario, server_scenario: MakeScenario
) -> None:
    def at(scenario: MakeScenario) -> Scenario:
        return scenario(simple_world(users=100), latency=0.05)

    with FakeSlack.serving() as first, FakeSlack.serving() as second, FakeSlack.serving() as third:
        side_by_side(
            partial(it_was_suspended_for_longer_than_the_limit, at(sqlite_scenario), first),
            partial(it_was_suspended_for_longer_than_the_limit, at(server_scenario), second),
            partial(it_waited_for_a_lock_for_longer_than_the_limit, at(server_scenario), third),
        )


NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]
LAST_PID = 'echo "$0" > /proc/sys/kernel/ns_last_pid || exit; "$@" & wait $!'


def in_a_namespace(*command: str) -> list[str]:
    """`command` in a PID namespace of its own, with a pid that nobody has here."""
    free = (pid for pid in itertools.count((os.getpid() + 15_000) % 30_000 + 500) if not Path(f"/proc/{pid}").exists())
    return [*NAMESPACE, LAST_PID, str(next(free) - 1), *command]


def namespaces_can_be_made() -> bool:
    try:
        return subprocess.run(in_a_namespace("true"), capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


def it_lives_in_another_pid_namespace(at: Scenario) -> None:
    """As in a container of a pod: there, the pid is another's or nobody's."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = clean_environment({**places(at.url), **at.env()})
    command = in_a_namespace(sys.executable, "manage.py", "sync_order_items", "--json", "--workers", "2")
    process = spawn(command, env=environment, cwd=ROOT, **pipes)
    wait_for(lambda: len(at.portal.items()) > 0, 30, "a write", every=0.02)
    for _ in range(3):
        assert at.sync("--json", "--user", 9).status == 0
    at.age_heartbeats()  # it misses beats; whether the process lives is not to be told from here
    assert at.sync("--json", "--user", 9).status == 0
    assert at.portal.runs()[0]["status"] == "running"
    done = finish(process, 60)
    assert (done.status, done.json["status"], done.json["users"]) == (0, "succeeded", 60), done.stderr
    at.assert_exact()


@pytest.mark.skipif(not namespaces_can_be_made(), reason="this machine lets nobody make a PID namespace")
def test_a_run_of_another_pid_namespace_of_the_same_host_name_lives_as_long_as_its_heart_beats(
    sqlite_scenario: MakeScenario, server_scenario: MakeScenario
) -> None:
    made = [scenario(simple_world(users=60), latency=0.3) for scenario in (sqlite_scenario, server_scenario)]
    side_by_side(*(partial(it_lives_in_another_pid_namespace, at) for at in made))


def test_a_run_whose_row_is_lost_stores_to_its_end(sqlite_scenario: MakeScenario) -> None:
    """A server that is not durable may lose its last second in a crash, and with it the row of a young run."""
    at = sqlite_scenario(simple_world(users=40), latency=0.05)
    process = at.start("--json", "--workers", "2")
    wait_for(lambda: len(at.portal.items()) > 0, 30, "a write", every=0.02)
    at.portal.execute("DELETE FROM bytemark_sync_run")
    done = finish(process, 60)
    assert (done.status, done.json["status"], done.json["orders_synced"]) == (0, "succeeded", 80), done.stderr
    at.settle()
