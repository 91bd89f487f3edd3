"""docs/contract.md#managepy-sync_order_items."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.sandbox import World
from bytemark_sync.sandbox.sample import TROUBLES
from tests.support.children import spawn
from tests.support.command_lines import results
from tests.support.harness import Finished, Portal, finish, manage, places
from tests.support.scenario import CONTRACT_KEYS, Env, MakeScenario, Scenario, add_user, listed, simple_world
from tests.support.servers import ROOT, clean_environment, wait_for


def test_a_good_run_reports_its_counts_as_json_as_a_run_and_as_a_summary(scenario: MakeScenario) -> None:
    world = simple_world(users=3, orders=2)
    at = scenario(world)
    done = at.sync("--json")
    assert done.status == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert set(done.json) == CONTRACT_KEYS
    expected = {
        "status": "succeeded",
        "users": 3,
        "users_failed": 0,
        "orders": 6,
        "orders_synced": 6,
        "orders_not_found": 0,
        "orders_without_passes": 0,
        "orders_invalid": 0,
        "items_created": 12,
        "api_requests": 3,
        "retries": 0,
        "rate_limited": 0,
        "tokens_renewed": 0,
        "orders_deferred": 0,
    }
    assert {name: done.json[name] for name in expected} == expected
    (run,) = at.portal.runs()
    assert done.json["run_id"] == run["id"]
    assert {name: run[name] for name in expected} == expected
    assert run["trigger"] == "command"
    assert run["started_at"] <= run["heartbeat_at"] <= run["finished_at"]
    assert json.loads(run["answers"]) == {"ok": 3}
    assert sum(json.loads(run["latency"])["buckets"].values()) == 3
    assert at.sandbox.stats().requests == 3
    at.settle()


def test_troubles_are_counted_and_fail_the_command_only_where_a_user_fails(scenario: MakeScenario) -> None:
    """The API's failures are a matter of `test_towards_bytemark`; here is what a faultless API gives."""
    world = World.sample(users=2 * len(TROUBLES), orders_per_user=2, listed=(3, 12), trouble=1.0, seed=5)
    at = scenario(world)
    done = at.sync("--json", "-v", "2")
    reasons = list(world.expected_reasons().values())
    failed = len(world.expected_failed_users())
    assert (done.status, done.json["status"], done.json["users_failed"]) == (1, "partial", failed)
    assert done.json["orders"] == len(world.pending())
    assert done.json["orders_not_found"] == reasons.count(Reason.NOT_FOUND) > 0
    assert done.json["orders_without_passes"] == reasons.count(Reason.NO_PASSES) > 0
    assert done.json["orders_invalid"] == reasons.count(Reason.MALFORMED) > 0
    assert done.json["orders_synced"] == len(world.pending()) - len(reasons)
    assert f"{failed} users failed" in done.stderr
    # The summary groups by reason with an example user each.
    for words in ("not listed by Bytemark", "listed without passes", "malformed", "token rejected", "no token"):
        assert re.search(rf"{words}.*for example user 1\d\d\d", done.stderr)
    at.assert_exact()
    at.settle()


def test_orders_that_are_not_listed_are_no_failure(sqlite_scenario: MakeScenario) -> None:
    world = World()
    add_user(world, 1, [listed("o1")], wanted=["o1", "gone"])
    at = sqlite_scenario(world)
    done = at.sync()
    assert done.status == 0
    assert "not listed by Bytemark" in done.stdout
    assert at.portal.reasons() == {2: "not_found"}


def test_a_dry_run_reports_what_it_would_store_and_writes_nothing_at_all(scenario: MakeScenario) -> None:
    world = World.sample(users=2 * len(TROUBLES), orders_per_user=2, listed=(3, 12), trouble=1.0, seed=6)
    at = scenario(world)
    at.sync("--limit", str(len(TROUBLES)))  # so that there are runs, outcomes and deferrals that it could touch
    at.portal.execute("UPDATE bytemark_sync_run SET status = 'running', pid = 999999")  # a dead run
    before = at.portal.dump()
    dry = at.sync("--dry-run", "--json", "--include-deferred")
    assert at.portal.dump() == before
    assert dry.json["run_id"] is None
    assert set(dry.json) == CONTRACT_KEYS
    assert "nothing was written" in dry.stderr
    wet = at.sync("--json", "--include-deferred")
    assert dry.status == wet.status == 1
    ignored = {"run_id": 0, "seconds": 0}
    assert wet.json | ignored == dry.json | ignored
    at.settle()


def test_a_limit_takes_so_many_users_and_the_next_run_the_others(scenario: MakeScenario) -> None:
    world = simple_world(users=5, orders=2)
    at = scenario(world)
    assert at.sync("--limit", "2", "--json").json["users"] == 2
    assert {item.order_id for item in at.portal.items()} == {1, 2, 3, 4}
    rest = at.sync("--limit", "99", "--json")
    assert (rest.json["users"], rest.json["orders_synced"]) == (3, 6)
    at.settle()


def test_workers_of_the_option_overrule_the_setting_and_bound_the_requests_side_by_side(
    sqlite_scenario: MakeScenario,
) -> None:
    at = sqlite_scenario(simple_world(users=8, orders=1), latency=0.1)
    at.sync("--workers", "3", env={"BYTEMARK_WORKERS": "1"})
    assert at.sandbox.stats().max_concurrent == 3
    at.settle()


def test_workers_of_the_setting_hold_where_no_option_is_given(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=8, orders=1), latency=0.1)
    at.sync(env={"BYTEMARK_WORKERS": "5"})
    assert at.sandbox.stats().max_concurrent == 5


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_verbosity_chooses_what_is_said(sqlite_scenario: MakeScenario, level: int) -> None:
    world = simple_world(users=2, orders=1)
    add_user(world, 300, [listed("stale")])
    world.riders[-1].tokens = ["another"]
    at = sqlite_scenario(world)
    done = at.sync("-v", level, "--no-color")
    assert done.status == 1
    assert ("Users" in done.stdout) == (level > 0)
    assert ("user 300 failed: token_rejected" in done.stderr) == (level > 0)  # one line a failure at WARNING
    assert ("INFO bytemark_sync.runs.in_process: run 1 partial" in done.stderr) == (level > 0)  # one line a run at INFO
    assert ("DEBUG bytemark_sync.runs.engine: user 101: 1 found" in done.stderr) == (
        level == 3
    )  # one line a user at DEBUG
    assert done.stderr.rstrip().splitlines()[-1] == "CommandError: 1 user failed; see the reasons above"
    assert "\x1b" not in done.stdout + done.stderr


JSON_LOGS = {"LOG_FORMAT": "json"}


def test_logs_are_json_lines_where_asked(sqlite_scenario: MakeScenario) -> None:
    world = simple_world(users=1)
    add_user(world, 300, [listed("stale")])
    world.riders[-1].tokens = ["another"]
    done = sqlite_scenario(world).sync("-v", 3, "--json", "--user", 101, "--user", 300, "--user", 9, env=JSON_LOGS)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert {line["level"] for line in lines} == {"DEBUG", "INFO", "WARNING", "ERROR"}
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    messages = [line["message"] for line in lines]
    assert messages[-1] == "CommandError: 1 user failed; see the reasons above"
    assert "user 9: nothing pending" in messages
    assert "  Users                             2   1 failed" in messages  # the summary, which --json sends there


# --- The terminal -----------------------------------------------------------------------------------------------------


def on_a_terminal(at: Scenario, *args: str) -> tuple[int, str]:
    """Exit status and what standard error showed on a terminal of its own."""
    master, slave = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        try:
            while piece := os.read(master, 65536):
                shown.append(piece)
        except OSError:  # the other side is closed
            pass

    process = at.start(*args, stderr=slave, env={"TERM": "xterm", "COLUMNS": "140"})
    os.close(slave)
    reader = threading.Thread(target=read)
    reader.start()
    stdout = process.communicate(timeout=60)[0]
    reader.join(10)
    os.close(master)
    assert "\x1b" not in stdout
    return process.returncode, b"".join(shown).decode()


def test_a_progress_bar_shows_on_a_terminal_alone(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=4), latency=0.05)
    status, shown = on_a_terminal(at, "--json")
    assert status == 0
    assert "Syncing" in shown
    assert "4/4" in shown
    assert "8 items" not in shown  # 2 passes an order, 2 orders a user
    assert "16 items" in shown
    assert "Syncing" not in at.sync().stderr
    assert "Syncing" not in on_a_terminal(at, "-v0")[1]


def test_no_traceback_shows_on_a_terminal_without_tables(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=1))
    at.portal.execute("DROP TABLE bytemark_order_items")
    status, shown = on_a_terminal(at)
    assert status == 1
    assert "Traceback" not in shown
    assert "no such table" in shown


# --- Exit status ------------------------------------------------------------------------------------------------------


UNUSABLE_ARGUMENTS = [
    (["--user", "abc"], "--user"),
    (["--user", ""], "--user"),
    (["--user", "1.5"], "--user"),
    (["--user", "9" * 5000], "--user"),
    (["--order", ""], "--order"),
    (["--order", "  "], "--order"),
    (["--order", b"\xff\xfe".decode("utf-8", "surrogateescape")], "--order"),
    (["--limit", "0"], "--limit"),
    (["--limit", "-1"], "--limit"),
    (["--limit", "x"], "--limit"),
    (["--limit", "1e3"], "--limit"),
    (["--workers", "0"], "--workers"),
    (["--workers", "100000"], "--workers"),
    (["--workers", "many"], "--workers"),
    (["--nonsense"], "--nonsense"),
    (["stray"], "stray"),
    (["-v", "4"], "verbosity"),
    (["--enqueue", "--dry-run"], "--dry-run"),
]


def test_unusable_arguments_end_with_2_before_any_request(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=1))
    lines = [args for args, _ in UNUSABLE_ARGUMENTS]
    came = results("sync_order_items", lines, database_url=at.url, env=at.env())
    for (args, named), (status, shown) in zip(UNUSABLE_ARGUMENTS, came, strict=True):
        assert status == 2, args
        assert named in shown.splitlines()[-1], args
        assert "Traceback" not in shown, args
    assert at.sync("--order", b"\xff".decode("utf-8", "surrogateescape")).status == 2  # as a shell would pass it
    assert at.sandbox.stats().requests == 0
    assert at.portal.runs() == []


def python(script: str, *args: str, env: Env) -> Finished:
    """Run a script beside the product, as another program of the portal would."""
    process = spawn(
        [sys.executable, "-c", script, *args],
        env=clean_environment(env),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    done = finish(process)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_reader_that_goes_away_gets_no_traceback_and_the_run_is_whole(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=1))
    reading, writing = os.pipe()
    os.close(reading)
    process = at.start(stdout=writing)
    os.close(writing)
    stderr = process.communicate(timeout=60)[1]
    assert process.returncode == 1
    assert "Traceback" not in stderr
    assert "Exception ignored" not in stderr
    at.assert_exact()


def test_a_full_disk_behind_standard_output_is_told(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=1))
    with Path("/dev/full").open("w") as full:
        process = at.start("--json", stdout=full)
    stderr = process.communicate(timeout=60)[1]
    assert (process.returncode, "Traceback" in stderr) == (1, False)
    assert "No space left on device" in stderr
    at.assert_exact()


CALL_COMMAND = """
import json, os, sys, django
django.setup()
from django.core.management import CommandError, call_command
for args, options in json.loads(sys.argv[1]):
    try:
        call_command(sys.argv[2], *args, **options)
        print(json.dumps("fine"))
    except CommandError as error:
        print(json.dumps([error.returncode, str(error)]))
"""


def call_command(
    at: Scenario, calls: list[tuple[list[str], dict[str, object]]], command: str = "sync_order_items", **env: str
) -> list[object]:
    """What `call_command` did: fine, or the returncode and text of its CommandError."""
    done = python(CALL_COMMAND, json.dumps(calls), command, env={**places(at.url), **at.env(env)})
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(("[", '"'))]


def test_through_call_command_the_same_cases_raise(sqlite_scenario: MakeScenario) -> None:
    world = simple_world(users=2, orders=1)
    add_user(world, 300, [listed("stale")])
    world.riders[-1].tokens = ["another"]
    at = sqlite_scenario(world)
    quiet: dict[str, object] = {"verbosity": 0}
    calls: list[tuple[list[str], dict[str, object]]] = [
        ([], quiet | {"user": 101}),
        ([], quiet | {"user": [102], "limit": 5, "workers": 2}),
        ([], quiet),
        (["--user", "x"], quiet),
        ([], quiet | {"user": ["x"]}),
        ([], quiet | {"limit": 0}),
        ([], quiet | {"workers": 0}),
        ([], quiet | {"order": [""]}),
        (["--enqueue", "--dry-run"], quiet),
        ([], quiet | {"user": 101, "dry_run": True}),
    ]
    results = call_command(at, calls)
    assert results[:3] == ["fine", "fine", [1, "1 user failed; see the reasons above"]]
    assert [each[0] for each in results[3:9] if isinstance(each, list)] == [2] * 6
    assert results[9] == "fine"
    assert len(at.portal.runs()) == 3
    assert call_command(at, [([], quiet)], BYTEMARK_CUSTOMER_API_URL="http://example.com")[0][0] == 2  # type: ignore[index]


@pytest.mark.parametrize("command", ["sync_order_items", "audit_order_items"])
def test_through_call_command_the_tables_of_another_are_refused_alike(
    sqlite_scenario: MakeScenario, command: str
) -> None:
    """It runs no checks, which are what refuses them on the command line."""
    at = sqlite_scenario(simple_world(users=1))
    at.portal.execute("DELETE FROM django_migrations WHERE app = 'bytemark_sync'")  # made by nobody known
    before = at.portal.dump()
    calls: list[tuple[list[str], dict[str, object]]] = [([], {"verbosity": 0}), (["--enqueue"], {"verbosity": 0})]
    for result in call_command(at, calls, command=command):
        assert isinstance(result, list)
        assert (result[0], "did not make: auth_group, " in result[1]) == (2, True), result
    assert at.portal.dump() == before


def test_missing_tables_and_columns_end_with_1_in_words(scenario: MakeScenario) -> None:
    at = scenario(simple_world(users=1))
    at.portal.execute("ALTER TABLE bytemark_orders RENAME COLUMN oauth_token TO elsewhere")
    done = at.sync("--json")
    assert done.status == 1
    assert "check --database default" in done.stderr
    assert done.json["status"] == "failed"
    at.portal.execute("ALTER TABLE bytemark_orders RENAME COLUMN elsewhere TO oauth_token")
    at.portal.execute("ALTER TABLE bytemark_sync_outcome RENAME TO elsewhere")
    done = at.sync()
    assert done.status == 1
    assert "run manage.py migrate" in done.stderr
    at.portal.execute("ALTER TABLE elsewhere RENAME TO bytemark_sync_outcome")
    at.assert_closed()
    at.settle()


def test_the_summary_accounts_for_orders_that_another_run_stored_meanwhile(scenario: MakeScenario) -> None:
    world = simple_world(users=1, orders=2)
    add_user(world, 300, [], ["unknown"])
    at = scenario(world, latency=1.5)
    process = at.start()
    wait_for(lambda: at.sandbox.stats().requests == 2, 30, "both users' requests")
    at.portal.execute(
        "INSERT INTO bytemark_order_items (order_id, order_uuid, oauth_token, product_uuid, pass_uuid)"
        " VALUES (1, 'order-101-0', 'key-101', 'product-1', 'pass-101-0a')"
    )
    done = finish(process, 60)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert done.status == 0
    assert lines[2:6] == [
        "Orders looked for 3",
        "stored 1 2 items",
        "not listed by Bytemark 1",
        "passed over 1 stored by others, changed or gone meanwhile",
    ]


def test_the_summary_says_only_what_is_so_of_orders_that_change_meanwhile(scenario: MakeScenario) -> None:
    """Changed owner, changed amount, deleted, stored by another: nobody's failure is told of them, and no reason."""
    world = simple_world(users=2, orders=3)
    add_user(world, 300, [], ["unknown", "gone"])
    at = scenario(world, latency=1.5)
    process = at.start()
    wait_for(lambda: at.sandbox.stats().requests == 3, 30, "all users' requests")
    at.portal.execute("UPDATE bytemark_orders SET user_id = 102 WHERE order_uuid = 'order-101-0'")
    at.portal.execute("UPDATE bytemark_orders SET amount = '5' WHERE order_uuid = 'order-101-1'")
    at.portal.execute("UPDATE bytemark_orders SET amount = '5' WHERE order_uuid = 'gone'")
    done = finish(process, 60)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert done.status == 0
    assert lines[2:] == [
        "Orders looked for 8",
        "stored 4 8 items",
        "not listed by Bytemark 1",
        "passed over 3 stored by others, changed or gone meanwhile",
        "Requests 3",
        "Still pending, by reason:",
        lines[-1],
    ]
    assert lines[-1].startswith("not listed by Bytemark 1 1 user, for example user 300: ")
    assert list(at.portal.reasons().values()) == ["not_found"]


@pytest.mark.parametrize("command", ["sync_order_items", "audit_order_items"])
def test_enqueue_with_the_broker_away_names_the_broker_and_keeps_the_run(
    sqlite_scenario: MakeScenario, command: str
) -> None:
    at = sqlite_scenario(simple_world(users=1))
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        env = {**at.env(), "REDIS_URL": f"redis://127.0.0.1:{taken.getsockname()[1]}"}
        done = manage(command, "--enqueue", "--json", database_url=at.url, env=env)
    assert done.status == 0, done.stderr
    assert "The broker (Redis) cannot be reached: the " in done.stderr
    assert (done.json["status"], at.portal.runs()[0]["status"]) == ("queued", "queued")
    there = manage(command, "--enqueue", "--json", database_url=at.url, env=at.env())
    assert (there.status, "broker" in there.stderr) == (0, False)


def test_enqueue_plans_nothing_itself_and_says_the_runs_id(scenario: MakeScenario) -> None:
    at = scenario(simple_world(users=2))
    done = at.sync("--enqueue", "--json", "--user", 101, "--order", "\U0001f600", "--limit", 5)
    (run,) = at.portal.runs()
    assert (done.status, set(done.json)) == (0, CONTRACT_KEYS)
    assert {name: value for name, value in done.json.items() if value} == {"run_id": run["id"], "status": "queued"}
    assert "order \U0001f600: nothing pending" in done.stderr
    assert "user 101" not in done.stderr
    assert (run["status"], run["trigger"]) == ("queued", "command")
    assert json.loads(run["scope"]) == {"users": [101], "orders": ["\U0001f600"], "limit": 5}
    assert at.sandbox.stats().requests == len(at.portal.items()) == 0
    assert f"Run {run['id'] + 1} is queued" in at.sync("--enqueue").stdout


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.3])
def test_ctrl_c_during_start_up_shows_no_traceback(sqlite_scenario: MakeScenario, delay: float) -> None:
    at = sqlite_scenario(simple_world(users=60), latency=0.2)
    process = at.start("--workers", "2", cold=True)
    wait_for(lambda: catches_ctrl_c(process.pid), 30, "the interpreter has started", every=0.001)
    wait_for(lambda: not catches_ctrl_c(process.pid), 30, "manage.py has begun", every=0.001)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    done = finish(process, 20)
    assert done.status in (130, -signal.SIGINT)
    assert "Traceback" not in done.stderr
    at.assert_closed()


def catches_ctrl_c(pid: int) -> bool:
    """The interpreter does from its start on, manage.py not until it has loaded the command."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (signal.SIGINT - 1) & 1)


def test_a_file_that_is_no_database_is_told(sqlite_scenario: MakeScenario, tmp_path: Path) -> None:
    at = sqlite_scenario(simple_world(users=1))
    junk = tmp_path / "junk.sqlite3"
    junk.write_bytes(os.urandom(5000))
    done = at.sync("--json", url=f"sqlite:///{junk}")
    assert (done.status, "not a database" in done.stderr) == (1, True)
    done = at.sync("--json", url=f"sqlite:///{tmp_path}/none/x.sqlite3")
    assert (done.status, "unable to open database file" in done.stderr) == (1, True)


def test_a_refused_password_is_told_at_once_and_not_repeated(server_scenario: MakeScenario) -> None:
    at = server_scenario(simple_world(users=1))
    done = at.sync(url=at.url.replace("portal-password", "s3cret-wrong"))
    assert done.status == 1
    assert "Access denied" in done.stderr
    assert "s3cret-wrong" not in done.stdout + done.stderr
    assert done.seconds < 20


# --- Signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stores_what_is_fetched_and_marks_the_run_interrupted(
    scenario: MakeScenario, number: signal.Signals, status: int
) -> None:
    world = simple_world(users=60, orders=2)
    at = scenario(world, latency=0.1)
    process = at.start("--json", "--workers", "3")
    wait_for(lambda: at.sandbox.stats().requests >= 12, 30, "requests are made", every=0.02)
    process.send_signal(number)
    done = finish(process, 20)
    assert done.status == status, done.stderr
    assert "Traceback" not in done.stderr
    assert done.json["status"] == "interrupted"
    (run,) = at.portal.runs()
    assert run["status"] == "interrupted"
    at.assert_whole_orders()
    # Every request that was answered before is stored: nothing of what was fetched is lost.
    answered = {seen.user_id for seen in at.sandbox.requests()}
    stored = {order.user_id for order in world.orders if order.id in {item.order_id for item in at.portal.items()}}
    assert len(answered) - 3 <= len(stored) < 60
    assert done.json["items_created"] == run["items_created"] == len(at.portal.items())
    at.settle()


def test_a_signal_ends_the_wait_for_a_server_that_hangs(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=6), faults="hang:users=103|104|105")
    process = at.start(
        "--json", "--workers", "2", env={"BYTEMARK_READ_TIMEOUT": "60", "BYTEMARK_REQUEST_DEADLINE": "90"}
    )
    wait_for(lambda: at.sandbox.stats().requests >= 4, 30, "the server hangs", every=0.02)
    process.send_signal(signal.SIGTERM)
    done = finish(process, 30)
    assert done.status == 143
    assert {item.order_id for item in at.portal.items()} == {1, 2, 3, 4}
    at.settle()


def test_a_signal_ends_a_pause_of_the_whole_process(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=6), faults="status:status=429,retry_after=600")
    process = at.start("--json", env={"BYTEMARK_OUTAGE_PATIENCE": "600"})
    wait_for(lambda: at.sandbox.stats().requests >= 1, 30, "the limit is met", every=0.02)
    process.send_signal(signal.SIGTERM)
    assert finish(process, 30).status == 143
    at.portal.execute("DELETE FROM bytemark_sync_pace")  # the next run would wait for the rest of the pause
    at.settle()


def test_a_run_that_is_asked_to_stop_in_the_database_stops(scenario: MakeScenario) -> None:
    """The admin's stop button sets the mark; the run sees it with its next sign of life."""
    at = scenario(simple_world(users=60), latency=0.3)
    process = at.start("--json", "--workers", "2", env={"SYNC_HEARTBEAT_LIMIT": "2"})
    wait_for(lambda: at.sandbox.stats().requests >= 3, 30, "requests are made", every=0.02)
    at.portal.execute("UPDATE bytemark_sync_run SET stop_requested = 1")
    done = finish(process, 20)
    assert (done.status, done.json["status"]) == (1, "interrupted")
    at.assert_whole_orders()
    at.settle()


def test_a_busy_run_that_is_asked_to_stop_stops_within_five_seconds(scenario: MakeScenario) -> None:
    """Busy: every half second something is stored, so no sign of life of its own is due."""
    at = scenario(simple_world(users=1500, orders=1), latency=0.2)
    process = at.start("--json")
    wait_for(lambda: at.sandbox.stats().requests >= 100, 30, "requests are made", every=0.02)
    asked = datetime.now(UTC)
    at.portal.execute("UPDATE bytemark_sync_run SET stop_requested = 1")
    done = finish(process, 60)
    assert (done.status, done.json["status"]) == (1, "interrupted"), done.stderr
    (run,) = at.portal.runs()
    ended = datetime.fromisoformat(str(run["finished_at"])).replace(tzinfo=UTC)
    assert (ended - asked).total_seconds() < 5
    assert run["users"] < 1500
    assert (run["users"], run["items_created"]) == (done.json["users"], len(at.portal.items()))
    at.assert_whole_orders()


def test_two_runs_beside_each_other_are_both_closed_and_a_dead_one_too(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=1))
    portal = Portal(at.url)
    at.sync()
    portal.execute("UPDATE bytemark_sync_run SET status = 'running', pid = 4194300, finished_at = NULL")
    at.age_heartbeats()
    at.sync()
    first, second = portal.runs()
    assert (first["status"], second["status"]) == ("failed", "succeeded")
    assert "died" in first["error"]
