"""docs/contract.md#renewal between processes: nobody is logged in twice by one run, whoever races and whatever dies."""

from __future__ import annotations

import pytest

from bytemark_sync.sandbox import FaultRule, Lifetime, World
from bytemark_sync.sandbox.accounts import login_token
from bytemark_sync.sandbox.request_counts import fingerprint
from tests.support.harness import finish
from tests.support.renewal import CLIENT, add_rider, expired_world, may_renew
from tests.support.scenario import MakeScenario, Scenario, listed
from tests.support.servers import wait_for


@pytest.fixture
def renewing(scenario: MakeScenario, backend: str, request: pytest.FixtureRequest) -> MakeScenario:
    """A scenario whose database user may write tokens."""

    def make(world: World, **options: object) -> Scenario:
        at = scenario(world, **options)
        if backend != "sqlite":
            may_renew(request.getfixturevalue(backend), at.portal)
        return at

    return make


def renewal(at: Scenario) -> dict[str, str | None]:
    return {"BYTEMARK_ACCOUNT_API_URL": at.sandbox.url, "BYTEMARK_CLIENT_ID": CLIENT}


def assert_rows_work(at: Scenario) -> None:
    states = at.sandbox.tokens()
    rows = at.portal.all("SELECT user_id, token FROM bytemark_tokens")
    assert {user: states[fingerprint(token)].works for user, token in rows} == dict.fromkeys(dict(rows), True)


def test_runs_that_race_log_each_rider_in_once(renewing: MakeScenario) -> None:
    at = renewing(expired_world(12), latency=0.05)
    racing = [at.start("--json", "--workers", 4, env=renewal(at)) for _ in range(2)]
    done = [finish(process, 90) for process in racing]
    assert [each.status for each in done] == [0, 0], [each.stderr for each in done]
    assert at.portal.items() == at.world.expected_items(renewal=True)
    assert at.portal.reasons() == {}
    assert at.sandbox.stats().logins.granted == {str(user): 1 for user in range(101, 113)}
    assert sum(each.json["tokens_renewed"] for each in done) == 12
    assert sum(run["tokens_renewed"] for run in at.portal.runs()) == 12
    assert_rows_work(at)


def test_tokens_that_expire_while_runs_race(renewing: MakeScenario) -> None:
    """A login ends the older token, in the middle of the other run's list too."""
    world = World()
    for user in range(101, 107):
        add_rider(world, user, [listed(f"o{user}-{n}") for n in range(45)], token=f"short-{user}", works=True)
    at = renewing(world, latency=0.02, lifetimes=[Lifetime(requests=3, of="world")])
    racing = [at.start("--json", "--workers", 4, env=renewal(at)) for _ in range(2)]
    done = [finish(process, 90) for process in racing]
    assert [each.status for each in done] == [0, 0], [each.stderr for each in done]
    assert {(row.order_id, row.pass_uuid) for row in at.portal.items()} == {
        (order.id, f"pass-{order.order_uuid}") for order in at.world.orders
    }
    assert len(at.portal.items()) == len(at.world.orders)
    assert at.sandbox.stats().logins.granted == {str(user): 1 for user in range(101, 107)}
    assert_rows_work(at)


def test_killed_between_login_and_write_the_next_run_logs_in_again(renewing: MakeScenario) -> None:
    at = renewing(expired_world(1), faults=[FaultRule("latency", on="login", seconds=60, times=1)])
    process = at.start(env=renewal(at))
    wait_for(lambda: at.sandbox.stats().logins.concurrent > 0, 60, "a login is under way", every=0.02)
    process.kill()
    finish(process)
    assert at.portal.all("SELECT state, run_id FROM bytemark_sync_login") == [("asked", 1)]
    at.age_heartbeats()
    done = at.sync("--json", env=renewal(at))
    assert (done.status, done.json["tokens_renewed"]) == (0, 1), done.stderr
    assert [run["status"] for run in at.portal.runs()] == ["failed", "succeeded"]
    assert at.portal.all("SELECT state, run_id FROM bytemark_sync_login") == [("renewed", 2)]
    assert_rows_work(at)
    token = at.portal.value("SELECT token FROM bytemark_tokens")
    assert token in (login_token(101, 1), login_token(101, 2))


def test_stopped_before_a_login_is_sent_it_is_as_if_it_had_not_been_claimed(renewing: MakeScenario) -> None:
    at = renewing(expired_world(2), faults=[FaultRule("status", on="login", status=429, retry_after="60")])
    process = at.start(env=renewal(at) | {"BYTEMARK_OUTAGE_PATIENCE": "600"})
    lowered = "SELECT COUNT(*) FROM bytemark_sync_pace WHERE state LIKE %s AND state NOT LIKE %s"
    wait_for(
        lambda: at.portal.value(lowered, "%generation%", '%"generation": 0%') > 0, 60, "everybody waits", every=0.02
    )
    process.terminate()
    assert finish(process).status == 143
    assert at.portal.all("SELECT * FROM bytemark_sync_login") == []
    assert at.portal.reasons() == {}
    at.sandbox.set_faults()
    at.portal.execute("DELETE FROM bytemark_sync_pace")
    done = at.sync("--json", env=renewal(at))
    assert (done.status, done.json["tokens_renewed"]) == (0, 2), done.stderr


def test_without_the_right_to_write_nobody_is_logged_in(server_scenario: MakeScenario) -> None:
    at = server_scenario(expired_world(2))
    done = at.sync("--json", env=renewal(at))
    assert done.status == 1
    assert at.sandbox.stats().logins.requests == 0
    assert "No token is renewed, for it could not be kept: the database failed (114" in done.stderr
    assert "manage.py check --database default names the GRANT" in done.stderr
    assert [run["status"] for run in at.portal.runs()] == ["failed"]
