"""docs/contract.md#managepy-bytemark_probe."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.management import CommandError, call_command

from bytemark_sync.sandbox import Sandbox, World
from bytemark_sync.sandbox.accounts import login_token
from bytemark_sync.sandbox.records import PortalToken
from tests.support.harness import Finished, finish, manage, start_manage
from tests.support.probing import world_of
from tests.support.renewal import CLIENT, EXPIRED, Renewing, add_rider, expired_world
from tests.support.scenario import MakeScenario, Scenario
from tests.support.servers import PASSWORD, Databases, wait_for


def probe(at: Scenario, *args: object, **env: str) -> Finished:
    done = manage("bytemark_probe", *args, database_url=at.url, env=at.env(env), timeout=60)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def counts(at: Scenario) -> dict[str, int]:
    """Rows of every table, in both places."""
    if at.portal.is_sqlite:
        names = [name for (name,) in at.portal.all("SELECT name FROM sqlite_master WHERE type = 'table'")]
    else:
        query = (
            "SELECT CONCAT(table_schema, '.', table_name) FROM information_schema.tables WHERE table_schema IN (%s, %s)"
        )
        names = [name for (name,) in at.portal.all(query, at.portal.name, at.portal.portal_database)]
    return {name: at.portal.value(f"SELECT COUNT(*) FROM {name}") for name in names}


def as_reader(at: Scenario, server: Databases) -> str:
    """The URL of a user who may do nothing but SELECT."""
    name = f"r{os.getpid()}_{at.portal.name}"[-30:]
    server.execute(f"CREATE USER '{name}'@'%' IDENTIFIED BY '{PASSWORD}'")
    for database in (at.portal.name, at.portal.portal_database):
        server.execute(f"GRANT SELECT ON `{database}`.* TO '{name}'@'%'")
    parts = urlsplit(at.url)
    return parts._replace(netloc=f"{name}:{PASSWORD}@127.0.0.1:{parts.port}").geturl()


def test_a_good_api_is_said_as_lines_and_as_json_and_nothing_is_written(scenario: MakeScenario) -> None:
    world = world_of(130, 25, 12, 3)
    at = scenario(world)
    before = counts(at)
    done = probe(at, "--json")
    assert done.status == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert set(done.json) == {"checks", "recommended", "requests"}
    assert {tuple(one) for one in done.json["checks"]} == {("name", "verdict", "seen", "advice")}
    assert {one["verdict"] for one in done.json["checks"]} == {"holds", "not seen"}
    assert done.json["recommended"]["BYTEMARK_PAGE_SIZE"] == 100
    assert done.json["requests"] == at.sandbox.stats().requests <= 60
    assert "BYTEMARK_PAGE_SIZE=100 (now 10)" in done.stderr
    plain = probe(at)
    assert plain.status == 0
    assert "list order         holds     Newest first" in plain.stdout
    assert counts(at) == before != {}
    said = done.stdout + done.stderr + plain.stdout + plain.stderr
    assert not any(token in said for rider in world.riders for token in rider.tokens)
    assert not any(order.uuid in said for rider in world.riders for order in rider.orders)


def test_a_difference_is_exit_status_1(scenario: MakeScenario) -> None:
    at = scenario(world_of(60, 25), faults="clamp:size=20")
    done = probe(at, "--json", "--user", 501)
    assert done.status == 1
    assert "1 check with a difference: page size" in done.stderr
    assert done.json["recommended"]["BYTEMARK_PAGE_SIZE"] == 20
    assert {seen.user_id for seen in at.sandbox.requests()} == {501, None}


def test_an_api_that_is_down_is_exit_status_1(scenario: MakeScenario) -> None:
    done = probe(scenario(world_of(3), faults="close"), "--json")
    assert done.status == 1
    assert done.json["checks"][0]["verdict"] == "differs"
    assert done.json["requests"] == 3


def test_nobody_to_ask_about_is_exit_status_2_without_a_request(scenario: MakeScenario) -> None:
    world = world_of(3)
    world.tokens.append(PortalToken(900, ""))
    at = scenario(world)
    for args in (("--user", 900), ("--user", 501, "--user", 17), ("--user", "x")):
        assert probe(at, *args).status == 2
    assert "900: no token" in probe(at, "--user", 900).stderr
    assert probe(at, BYTEMARK_CUSTOMER_API_URL="ftp://x").status == 2
    assert at.sandbox.stats().requests == 0
    empty = probe(scenario(World()))
    assert (empty.status, "No user has pending orders" in empty.stderr) == (2, True)


def test_a_user_who_may_only_read_is_enough(server_scenario: MakeScenario, server: Databases) -> None:
    at = server_scenario(world_of(25, 12))
    before = counts(at)
    at.url = as_reader(at, server)
    assert probe(at).status == 0
    assert counts(at) == before


def test_beside_a_sync_it_waits_its_turn_in_the_pace_of_all(scenario: MakeScenario) -> None:
    at = scenario(world_of(3))
    at.portal.execute(
        "INSERT INTO bytemark_sync_pace (id, version, state, written_at)"
        """ VALUES (1, 7, '{"rate": 4.0, "ceiling": 4.0, "generation": 2}', '2026-11-01 06:00:00')"""
    )
    learnt = at.portal.all("SELECT version, state, written_at FROM bytemark_sync_pace")
    assert probe(at).status == 0
    times = [seen.at for seen in at.sandbox.requests()]
    assert len(times) >= 8
    assert times[-1] - times[0] >= (len(times) - 1) / 4.0 - 0.75, "a lease reaches so far ahead"
    assert at.portal.all("SELECT version, state, written_at FROM bytemark_sync_pace") == learnt


def test_a_fixed_limit_holds_for_it_too(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(world_of(3))
    assert probe(at, BYTEMARK_REQUESTS_PER_SECOND="5").status == 0
    times = [seen.at for seen in at.sandbox.requests()]
    assert times[-1] - times[0] >= (len(times) - 1) / 5.0 - 0.75


def test_on_a_terminal_it_is_a_table(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(world_of(25, 12))
    leader, follower = pty.openpty()
    environment = {**at.env(), "TERM": "xterm", "COLUMNS": "100"}
    process = start_manage("bytemark_probe", database_url=at.url, env=environment, stdout=follower, stderr=follower)
    os.close(follower)
    shown = b""
    with contextlib.suppress(OSError):  # the other side is closed
        while part := os.read(leader, 65536):
            shown += part
    os.close(leader)
    assert process.wait(60) == 0, shown.decode()
    assert "┏━━" in shown.decode()


def test_a_recording_is_replayed_and_a_sync_works_against_it(sqlite_scenario: MakeScenario, tmp_path: Path) -> None:
    at = sqlite_scenario(world_of(60, 25, 3), envelope="bare", faults="clamp:size=20;no_pagination")
    file, world = tmp_path / "shape.json", tmp_path / "world.json"
    first = probe(at, "--json", "--record", file)
    assert first.status == 1
    assert f"Recorded: {file}" in first.stderr
    assert not any(order.uuid in file.read_text() for rider in at.world.riders for order in rider.orders)
    again = probe(at, "--record", file)
    assert (again.status, "exists already" in again.stderr) == (2, True)
    assert probe(at, "--record", tmp_path / "no" / "file").status == 2
    requests = at.sandbox.stats().requests
    options = ("--replay", file, "--save-world", world, "--port", 0)
    process = start_manage("bytemark_sandbox", *options, database_url=at.url)
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        made = World.load(world)
        other = sqlite_scenario(made)
        replayed = probe(other, "--json", BYTEMARK_CUSTOMER_API_URL=url)
        assert {one["name"]: one["verdict"] for one in replayed.json["checks"]} == {
            one["name"]: one["verdict"] for one in first.json["checks"]
        }
        done = other.sync("--json", env={"BYTEMARK_CUSTOMER_API_URL": url})
        assert done.status == 0, done.stderr
        assert done.json["orders_synced"] == len(made.orders) > 0
        other.assert_exact()
    finally:
        process.terminate()
        process.communicate(timeout=30)
    assert at.sandbox.stats().requests == requests


@pytest.mark.slow
def test_a_file_that_is_no_recording_is_exit_status_2(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]")
    for args in (("--replay", tmp_path / "x.json"), ("--replay", "none"), ("--replay", "a", "--world", "b")):
        done = manage("bytemark_sandbox", *args, database_url="sqlite:///none")
        assert (done.status, "Traceback" in done.stderr) == (2, False)


def test_an_api_without_an_answer_leaves_no_recording(sqlite_scenario: MakeScenario, tmp_path: Path) -> None:
    done = probe(sqlite_scenario(world_of(3), faults="close"), "--record", tmp_path / "shape.json")
    assert (done.status, "Nothing to record" in done.stderr) == (1, True)
    assert not list(tmp_path.glob("*shape*"))


def test_ctrl_c_ends_it_with_130(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(world_of(3), latency=2.0)
    process = start_manage("bytemark_probe", database_url=at.url, env=at.env())
    wait_for(lambda: at.sandbox.stats().requests > 0, 30, "no request came")
    process.send_signal(signal.SIGINT)
    done = finish(process, 30)
    assert (done.status, "Traceback" in done.stderr) == (130, False), done.stderr


def of_renewal(at: Scenario) -> dict[str, str]:
    return {"BYTEMARK_ACCOUNT_API_URL": at.sandbox.url, "BYTEMARK_CLIENT_ID": CLIENT}


def secrets_of(world: World) -> set[str]:
    accounts = {secret for rider in world.riders for secret in (rider.email, rider.password)}
    return {*accounts, *(token for rider in world.riders for token in rider.tokens), login_token(101, 1), CLIENT}


def test_with_an_account_api_a_made_up_user_is_refused_and_nobody_real_is_logged_in(
    sqlite_scenario: MakeScenario, tmp_path: Path
) -> None:
    world = expired_world(2)
    add_rider(world, 201, token="good", works=True)
    at = sqlite_scenario(world, client_ids=[CLIENT])
    before = counts(at)
    done = probe(at, "--json", "--record", tmp_path / "shape.json", **of_renewal(at))
    checks = {one["name"]: one for one in done.json["checks"]}
    assert (done.status, checks["wrong_login"]["verdict"]) == (0, "holds")
    assert (checks["login"]["verdict"], "--user ID --login" in checks["login"]["advice"]) == ("not seen", True)
    assert [one.user_id for one in at.sandbox.logins()] == [None]
    assert done.json["requests"] == at.sandbox.stats().requests + 1 <= 60
    assert counts(at) == before
    assert json.loads((tmp_path / "shape.json").read_text())["wrong_login_cause"] == "unknown_account"
    said = done.stdout + done.stderr + (tmp_path / "shape.json").read_text()
    assert not [secret for secret in secrets_of(world) if secret in said]
    wrong = probe(at, **of_renewal(at) | {"BYTEMARK_CLIENT_ID": "another"})
    assert (wrong.status, "Correct BYTEMARK_CLIENT_ID" in wrong.stdout) == (1, True)


def test_a_login_that_is_asked_for_renews_the_portals_token(server_scenario: MakeScenario, server: Databases) -> None:
    world = expired_world(2)
    at = server_scenario(world, client_ids=[CLIENT])
    args = ("--user", 101, "--login", "--json", "-v", 3)
    refused = probe(at, *args, **of_renewal(at))
    assert (refused.status, "--login: " in refused.stderr) == (2, True), "it may not write the token"
    assert at.sandbox.stats().logins.requests == 0
    tokens = f"`{at.portal.portal_database}`.`bytemark_tokens`"
    server.execute(f"GRANT UPDATE (token) ON {tokens} TO '{at.portal.name}'@'%'")
    done = probe(at, *args, **of_renewal(at))
    assert done.status == 0, done.stderr
    checks = {one["name"]: one["verdict"] for one in done.json["checks"]}
    assert (checks["login"], checks["token_accepted"], checks["wrong_login"]) == ("holds", "holds", "holds")
    assert dict(at.portal.all("SELECT user_id, token FROM bytemark_tokens")) == {101: login_token(101, 1), 102: EXPIRED}
    assert at.sandbox.stats().logins.granted == {"101": 1}
    assert done.json["requests"] == at.sandbox.stats().requests + 2 <= 60
    assert at.portal.runs() == []
    said = done.stdout + done.stderr
    assert not [secret for secret in secrets_of(world) if secret in said]


@pytest.mark.django_db(transaction=True)
def test_a_login_that_cannot_be_made_is_exit_status_2_without_a_request(
    sandbox: Callable[..., Sandbox], settings: Any
) -> None:
    world = expired_world(1)
    add_rider(world, 201, account=False)
    at = Renewing(world, sandbox(world), settings)
    for users, said in (
        ([], "name the one rider"),
        ([101, 201], "name the one rider"),
        ([201], "keeps no e-mail and password"),
        ([77], "keeps no e-mail and password"),
    ):
        with pytest.raises(CommandError, match=said) as raised:
            call_command("bytemark_probe", user=users, login=True)
        assert raised.value.returncode == 2
    settings.BYTEMARK_ACCOUNT_API_URL = ""
    with pytest.raises(CommandError, match="set BYTEMARK_ACCOUNT_API_URL and BYTEMARK_CLIENT_ID") as raised:
        call_command("bytemark_probe", user=[101], login=True)
    assert raised.value.returncode == 2
    assert at.sandbox.stats().requests == at.sandbox.stats().logins.requests == 0
