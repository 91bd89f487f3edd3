"""docs/contract.md#outages, at the command: an outage is waited out, and costs no rider anything."""

from __future__ import annotations

import signal
from collections import Counter
from functools import partial

import pytest

from bytemark_sync.sandbox import FaultRule
from tests.support.harness import finish, manage
from tests.support.scenario import MakeScenario, Scenario, simple_world
from tests.support.servers import wait_for
from tests.support.side_by_side import side_by_side

SINCE = "Bytemark has not answered since 20"
QUICK = {"BYTEMARK_BACKOFF_BASE": "0.2", "BYTEMARK_CONNECT_TIMEOUT": "1", "BYTEMARK_READ_TIMEOUT": "0.5"}


def assert_nobody_is_blamed(at: Scenario) -> None:
    assert at.portal.value("SELECT COUNT(*) FROM bytemark_sync_outcome") == 0
    assert at.portal.value("SELECT COUNT(*) FROM bytemark_sync_attempt") == 0


def it_comes_in_the_middle_of_a_run(at: Scenario) -> None:
    at.sandbox.set_faults("outage:after_requests=30,seconds=6")
    done = at.sync("--json", env=QUICK)
    assert (done.status, done.json["users_failed"], done.json["orders_synced"]) == (0, 0, 160)
    assert 0 < done.json["retries"] <= 200
    assert SINCE in done.stderr
    assert_nobody_is_blamed(at)
    (run,) = at.portal.runs()
    assert (run["status"], run["silent_since"], run["error"]) == ("succeeded", None, "")
    assert run["answered_at"] is not None
    (outage,) = at.portal.rows("SELECT * FROM bytemark_sync_outage")
    assert outage["run_id"] == run["id"]
    assert run["started_at"] <= outage["began_at"] < outage["ended_at"] <= run["finished_at"]
    at.settle()
    assert at.portal.value("SELECT COUNT(*) FROM bytemark_sync_outage") == 1


def one_worker_sees_it_too(at: Scenario) -> None:
    at.sandbox.set_faults("outage:seconds=4")
    done = at.sync("--json", "--workers", "1", env=QUICK | {"BYTEMARK_BACKOFF_BASE": "0.02"})
    assert (done.status, done.json["users_failed"], done.json["orders_synced"]) == (0, 0, 8)


def it_comes_at_the_last_user(at: Scenario) -> None:
    at.sandbox.set_faults("outage:after_requests=4,seconds=3")
    done = at.sync("--json", "--workers", "1", env=QUICK | {"BYTEMARK_BACKOFF_BASE": "0.02"})
    assert (done.status, done.json["users_failed"], done.json["orders_synced"]) == (0, 0, 5)


def test_an_outage_that_ends_fails_nobody(sqlite_scenario: MakeScenario) -> None:
    side_by_side(
        partial(it_comes_in_the_middle_of_a_run, sqlite_scenario(simple_world(users=80))),
        partial(one_worker_sees_it_too, sqlite_scenario(simple_world(users=8, orders=1))),
        partial(it_comes_at_the_last_user, sqlite_scenario(simple_world(users=5, orders=1))),
    )


GONE = {
    "503": "outage",
    "closed": "outage:form=close",
    "hangs": "outage:form=hang",
    "HTML": "not_json",
    "refused": "http://127.0.0.1:9",
    "no such host": "https://bytemark.invalid",
}


def it_is_gone(at: Scenario, name: str, how: str) -> None:
    address = {"BYTEMARK_CUSTOMER_API_URL": how} if "://" in how else {}
    at.sandbox.set_faults("" if address else how)
    done = at.sync("--json", env=QUICK | {"BYTEMARK_OUTAGE_PATIENCE": "4"} | address)
    assert (done.status, done.json["status"]) == (1, "failed"), name
    assert done.json["error"].startswith(SINCE), name
    assert f"CommandError: the run could not go on: {SINCE}" in done.stderr, name
    assert (done.json["users"], done.json["users_failed"]) == (0, 0), name
    assert 0 < done.json["api_requests"] < 150, name
    assert 4 <= done.json["seconds"] < 60, name
    assert_nobody_is_blamed(at)
    at.assert_closed()
    at.settle()


def it_is_gone_after_a_while(at: Scenario) -> None:
    """The run is partial, and the next one takes the rest."""
    at.sandbox.set_faults("outage:after_requests=30")
    done = at.sync("--json", env=QUICK | {"BYTEMARK_OUTAGE_PATIENCE": "2"})
    assert (done.status, done.json["status"], done.json["users_failed"]) == (1, "partial", 0)
    assert 0 < done.json["users"] <= 30
    assert at.portal.runs()[0]["error"] == done.json["error"]
    assert at.portal.value("SELECT COUNT(*) FROM bytemark_sync_outage WHERE ended_at IS NULL") == 1
    assert_nobody_is_blamed(at)
    at.settle()


def a_dry_run_and_an_audit_wait_and_give_up_alike(at: Scenario) -> None:
    env = QUICK | {"BYTEMARK_OUTAGE_PATIENCE": "2"}
    assert at.sync().status == 0
    at.sandbox.set_faults("outage")
    audit = manage("audit_order_items", "--json", database_url=at.url, env=at.env(env))
    assert (audit.status, audit.json["status"], audit.json["users_failed"]) == (1, "failed", 0)
    assert audit.json["error"].startswith(SINCE)
    assert at.portal.value("SELECT COUNT(*) FROM bytemark_sync_audit_finding") == 0
    at.portal.execute("DELETE FROM bytemark_order_items")
    dry = at.sync("--dry-run", "--json", env=env)
    assert (dry.status, dry.json["status"], dry.json["users_failed"]) == (1, "failed", 0)
    assert dry.json["error"].startswith(SINCE)


def test_a_bytemark_that_is_gone_ends_the_run_after_the_patience_and_leaves_users_as_they_were(
    sqlite_scenario: MakeScenario,
) -> None:
    kinds = [(sqlite_scenario(simple_world(users=100, orders=1)), name, how) for name, how in GONE.items()]
    side_by_side(
        *(partial(it_is_gone, at, name, how) for at, name, how in kinds),
        partial(it_is_gone_after_a_while, sqlite_scenario(simple_world(users=100))),
        partial(a_dry_run_and_an_audit_wait_and_give_up_alike, sqlite_scenario(simple_world(users=20))),
    )


def test_users_who_always_fail_cost_five_requests_each_and_hold_nobody_up(sqlite_scenario: MakeScenario) -> None:
    """Also where nobody else is left: a user who was answered before is asked for again."""
    at = sqlite_scenario(simple_world(users=200, orders=1))
    failing = [150, 180, 298, 299, 300]
    at.sandbox.set_faults(FaultRule("status", status=500, users=failing))
    done = at.sync("--json", env=QUICK | {"BYTEMARK_OUTAGE_PATIENCE": "300"})
    assert (done.status, done.json["status"], done.json["users_failed"]) == (1, "partial", 5)
    asked = Counter(seen.user_id for seen in at.sandbox.requests())
    assert [asked[user] for user in failing] == [5] * 5
    assert asked.total() < 200 + 25 + 20
    assert done.json["seconds"] < 60
    assert set(at.portal.reasons().values()) == {"api_error"}
    at.settle()


def test_users_who_always_fail_do_not_hide_the_others_behind_them(sqlite_scenario: MakeScenario) -> None:
    """As many as are under way at once, and the first of all: nobody was answered yet, and so others are asked too."""
    failing = [101, 102, 103, 104]
    at = sqlite_scenario(simple_world(users=8, orders=1), faults="status:users=101|102|103|104")
    env = QUICK | {"BYTEMARK_BACKOFF_BASE": "0.02", "BYTEMARK_OUTAGE_PATIENCE": "20"}
    done = at.sync("--json", "--workers", "1", env=env)
    assert (done.status, done.json["status"], done.json["users_failed"], done.json["users"]) == (1, "partial", 4, 8)
    assert (done.json["orders_synced"], at.portal.runs()[0]["error"]) == (4, "")
    asked = Counter(seen.user_id for seen in at.sandbox.requests())
    assert all(5 <= asked[user] <= 12 for user in failing)
    at.settle()


@pytest.mark.parametrize("users", [1, 2])
def test_one_or_two_users_alone_are_no_outage(sqlite_scenario: MakeScenario, users: int) -> None:
    at = sqlite_scenario(simple_world(users=users, orders=1), faults="status")
    done = at.sync("--json", env=QUICK)
    assert (done.status, done.json["users_failed"], done.json["api_requests"]) == (1, users, 5 * users)


def it_is_stopped(at: Scenario, stopped_by: str) -> None:
    process = at.start("--json", env=QUICK)
    wait_for(lambda: at.portal.value("SELECT COUNT(silent_since) FROM bytemark_sync_run"), 30, "it is on the run")
    if stopped_by == "signal":
        process.send_signal(signal.SIGTERM)
    else:
        at.portal.execute("UPDATE bytemark_sync_run SET stop_requested = 1")
    done = finish(process)
    assert (done.status, done.json["status"]) == (143 if stopped_by == "signal" else 1, "interrupted")
    assert_nobody_is_blamed(at)
    at.settle()


def test_a_stop_ends_an_outage(sqlite_scenario: MakeScenario) -> None:
    by = ("signal", "admin")
    made = [sqlite_scenario(simple_world(users=100), faults="outage:after_requests=20") for _ in by]
    side_by_side(*(partial(it_is_stopped, at, stopped_by) for at, stopped_by in zip(made, by, strict=True)))
