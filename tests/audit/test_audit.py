"""`manage.py audit_order_items`, from outside: the real command, a real database, a real server."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from bytemark_sync.sandbox import Sandbox, World
from tests.support.command_lines import results
from tests.support.harness import Finished, Portal, Rows, finish, manage, start_manage
from tests.support.servers import wait_for
from tests.support.slack import FakeSlack

KINDS = ("pass_missing", "pass_unknown", "product_differs", "order_not_listed", "stored_twice")


class Stored:
    """A portal whose orders are all stored, and the sandbox that lists them."""

    def __init__(self, portal: Portal, sandbox: Sandbox, world: World) -> None:
        self.portal = portal
        self.sandbox = sandbox
        self.world = world

    def manage(self, *args: object, env: dict[str, str | None] | None = None) -> Finished:
        settings = {"BYTEMARK_CUSTOMER_API_URL": self.sandbox.url} | (env or {})
        return manage(*args, database_url=self.portal.url, env=settings)

    def audit(self, *args: object, status: int = 1) -> dict[str, Any]:
        done = self.manage("audit_order_items", "--json", *args)
        assert done.status == status, done.stderr
        return done.json

    def findings(self, run_id: int) -> list[tuple[Any, ...]]:
        """(kind, order, pass, repaired) of a run."""
        columns = "kind, order_id, pass_uuid, repaired"
        rows = self.portal.all(f"SELECT {columns} FROM bytemark_sync_audit_finding WHERE run_id = %s", run_id)
        return sorted((kind, order, one, bool(repaired)) for kind, order, one, repaired in rows)

    def order_with_passes(self, count: int, skip: int = 0) -> tuple[int, list[str]]:
        """An order with at least `count` items: its key and its passes."""
        rows = self.portal.all(
            "SELECT order_id FROM bytemark_order_items GROUP BY order_id HAVING COUNT(*) >= %s ORDER BY order_id", count
        )
        order_id = rows[skip][0]
        passes = self.portal.all("SELECT pass_uuid FROM bytemark_order_items WHERE order_id = %s ORDER BY id", order_id)
        return order_id, [one for (one,) in passes]


@pytest.fixture(scope="module")
def synced() -> dict[str, Rows]:
    """Backend to the rows that a sync has left there, which is made once."""
    return {}


@pytest.fixture
def stored(portal: Portal, backend: str, sandbox: Callable[..., Sandbox], synced: dict[str, Rows]) -> Stored:
    world = World.sample(users=12, orders_per_user=3, listed=(5, 25), seed=5)
    scenario = Stored(portal, sandbox(world), world)
    if backend in synced:
        portal.put(synced[backend])
    else:
        portal.fill(world)
        done = scenario.manage("sync_order_items")
        assert done.status == 0, done.stderr
        synced[backend] = portal.rows_of_all("bytemark_")
        scenario.sandbox.reset()
    assert portal.items() == world.expected_items()
    return scenario


def spoil(stored: Stored) -> dict[str, Any]:
    """One trouble of each kind, each in an order of its own; the findings that must come of them."""
    portal = stored.portal
    missing, passes = stored.order_with_passes(2)
    portal.execute("DELETE FROM bytemark_order_items WHERE order_id = %s AND pass_uuid = %s", missing, passes[0])
    unknown, _ = stored.order_with_passes(1, skip=3)
    portal.execute(
        "INSERT INTO bytemark_order_items (order_id, order_uuid, oauth_token, product_uuid, pass_uuid)"
        " SELECT order_id, order_uuid, oauth_token, product_uuid, 'unknown-pass' FROM bytemark_order_items"
        " WHERE order_id = %s LIMIT 1",
        unknown,
    )
    differs, other = stored.order_with_passes(1, skip=6)
    portal.execute(
        "UPDATE bytemark_order_items SET product_uuid = 'another-product' WHERE order_id = %s AND pass_uuid = %s",
        differs,
        other[0],
    )
    unlisted, _ = stored.order_with_passes(1, skip=9)
    portal.execute("UPDATE bytemark_orders SET order_uuid = 'nobody-lists-it' WHERE id = %s", unlisted)
    twice, double = stored.order_with_passes(1, skip=12)
    portal.execute(
        "INSERT INTO bytemark_order_items (order_id, order_uuid, oauth_token, product_uuid, pass_uuid)"
        " SELECT order_id, order_uuid, oauth_token, product_uuid, UPPER(pass_uuid) FROM bytemark_order_items"
        " WHERE order_id = %s AND pass_uuid = %s",
        twice,
        double[0],
    )
    return {
        "pass_missing": (missing, passes[0]),
        "pass_unknown": (unknown, "unknown-pass"),
        "product_differs": (differs, other[0]),
        "order_not_listed": (unlisted, ""),
        "stored_twice": (twice, double[0]),
    }


def test_sound_items_give_no_finding(stored: Stored) -> None:
    before = stored.portal.items()
    report = stored.audit(status=0)
    assert report["findings"] == dict.fromkeys(KINDS, 0)
    assert (report["users"], report["orders"], report["status"]) == (12, 36, "succeeded")
    assert report["api_requests"] == stored.sandbox.stats().requests
    assert report["api_requests"] == stored.portal.runs()[0]["api_requests"]  # as many as the sync that stored them
    assert stored.portal.items() == before


def test_each_kind_is_found_and_the_portal_only_read(stored: Stored) -> None:
    spoiled = spoil(stored)
    before = [stored.portal.all(f"SELECT * FROM {table} ORDER BY id") for table in PORTAL_TABLES]
    report = stored.audit()
    assert report["findings"] == dict.fromkeys(KINDS, 1)
    assert (report["findings_total"], report["repaired"]) == (5, 0)
    expected = sorted((kind, order, one, False) for kind, (order, one) in spoiled.items())
    assert stored.findings(report["run_id"]) == expected
    assert [stored.portal.all(f"SELECT * FROM {table} ORDER BY id") for table in PORTAL_TABLES] == before


PORTAL_TABLES = ("bytemark_orders", "bytemark_tokens", "bytemark_order_items")


def test_repair_inserts_missing_passes_and_nothing_else(stored: Stored) -> None:
    spoiled = spoil(stored)
    before = stored.portal.all("SELECT * FROM bytemark_order_items ORDER BY id")
    missing, lost = spoiled["pass_missing"]
    counted = stored.portal.value("SELECT items FROM bytemark_sync_stored_order WHERE order_id = %s", missing)
    report = stored.audit("--repair")
    assert (report["repaired"], report["findings_total"]) == (1, 5)
    assert ("pass_missing", missing, lost, True) in stored.findings(report["run_id"])
    after = stored.portal.all("SELECT * FROM bytemark_order_items ORDER BY id")
    assert after[: len(before)] == before
    assert len(after) == len(before) + 1
    mended = [item for item in stored.portal.items() if item.pass_uuid == lost]
    assert mended == [item for item in stored.world.expected_items() if item.pass_uuid == lost]
    assert (
        stored.portal.value("SELECT items FROM bytemark_sync_stored_order WHERE order_id = %s", missing) == counted + 1
    )
    assert stored.audit()["findings"] == dict.fromkeys(KINDS, 1) | {"pass_missing": 0}


def test_two_repairs_side_by_side_insert_a_pass_once(stored: Stored) -> None:
    for order in stored.world.orders[::2]:
        if len([item for item in stored.world.expected_items() if item.order_id == order.id]) < 2:
            continue
        stored.portal.execute(
            "DELETE FROM bytemark_order_items WHERE id ="
            " (SELECT x FROM (SELECT MIN(id) AS x FROM bytemark_order_items WHERE order_id = %s) AS y)",
            order.id,
        )
    env = {"BYTEMARK_CUSTOMER_API_URL": stored.sandbox.url}
    both = [start_manage("audit_order_items", "--repair", database_url=stored.portal.url, env=env) for _ in range(3)]
    assert {finish(process).status for process in both} <= {0, 1}
    assert stored.portal.items() == stored.world.expected_items()


def test_scope_by_user_order_date_and_sample(stored: Stored) -> None:
    spoil(stored)
    first = stored.world.orders[0]
    by_user = stored.audit("--user", first.user_id, status=1)
    assert (by_user["users"], by_user["orders"]) == (1, 3)
    by_order = stored.audit("--order", f" {first.order_uuid.upper()} ", "--order", "nowhere", status=1)
    assert (by_order["users"], by_order["orders"]) == (1, 1)
    assert stored.audit("--since", "2999-01-01", status=0)["orders"] == 0
    assert stored.audit("--since", "2000-01-01")["orders"] == 36


def test_a_sample_has_the_size_asked_for(stored: Stored) -> None:
    for size, orders in ((7, 7), (1000, 36)):
        assert stored.audit("--sample", size, status=0)["orders"] == orders
    user = stored.world.orders[0].user_id
    assert stored.audit("--sample", 2, "--user", user, status=0)["orders"] == 2


def test_an_order_named_that_is_not_stored_is_said(stored: Stored) -> None:
    done = stored.manage("audit_order_items", "--order", "nowhere")
    assert done.status == 0
    assert "order nowhere: nothing stored" in done.stderr


def test_stale_tokens_fall_back_to_the_orders_and_the_users(stored: Stored) -> None:
    stored.portal.execute("UPDATE bytemark_order_items SET oauth_token = 'stale-one'")
    assert stored.audit(status=0)["users_failed"] == 0
    stored.portal.execute("UPDATE bytemark_orders SET oauth_token = 'stale-two'")
    assert stored.audit(status=0)["users_failed"] == 0
    stored.portal.execute("UPDATE bytemark_tokens SET token = 'stale-three'")
    report = stored.audit(status=1)
    assert (report["status"], report["users_failed"], report["findings_total"]) == ("failed", 12, 0)


def test_a_failing_user_costs_five_requests_and_leaves_no_finding(stored: Stored) -> None:
    user = stored.world.orders[0].user_id
    stored.sandbox.reset()
    stored.sandbox.set_faults(f"status:status=500,users={user}")
    report = stored.audit(status=1)
    assert (report["users_failed"], report["findings_total"], report["status"]) == (1, 0, "partial")
    assert stored.sandbox.stats().users[str(user)] == 5


def test_orders_that_are_paid_or_pending_are_not_audited(stored: Stored) -> None:
    paid, pending = stored.world.orders[0].id, stored.world.orders[1].id
    stored.portal.execute("UPDATE bytemark_orders SET amount = '2.50' WHERE id = %s", paid)
    stored.portal.execute("DELETE FROM bytemark_order_items WHERE order_id = %s", pending)
    assert stored.audit("--repair", status=0)["orders"] == 34
    assert stored.portal.value("SELECT COUNT(*) FROM bytemark_order_items WHERE order_id = %s", pending) == 0


UNUSABLE_ARGUMENTS = [
    (["--since", "yesterday"], "--since"),
    (["--sample", "0"], "--sample"),
    (["--sample", "many"], "--sample"),
    (["--user", "x"], "--user"),
    (["--order", " "], "--order"),
    (["--workers", "0"], "--workers"),
]


def test_unusable_arguments_end_with_two_before_any_request(stored: Stored) -> None:
    lines = [arguments for arguments, _ in UNUSABLE_ARGUMENTS]
    env = {"BYTEMARK_CUSTOMER_API_URL": stored.sandbox.url}
    came = results("audit_order_items", lines, database_url=stored.portal.url, env=env)
    for (arguments, named), (status, shown) in zip(UNUSABLE_ARGUMENTS, came, strict=True):
        assert status == 2, arguments
        assert named in shown.splitlines()[-1], arguments
        assert "Traceback" not in shown, arguments
    assert stored.manage("audit_order_items", *lines[0]).status == 2  # as a shell would start it
    assert stored.sandbox.stats().requests == 0
    assert len(stored.portal.runs()) == 1


def test_a_signal_ends_it_and_keeps_what_was_found(stored: Stored) -> None:
    spoil(stored)
    stored.sandbox.set_faults("latency:seconds=0.4")
    process = start_manage(
        "audit_order_items",
        "--workers",
        "1",
        database_url=stored.portal.url,
        env={"BYTEMARK_CUSTOMER_API_URL": stored.sandbox.url},
    )
    newest = "SELECT users FROM bytemark_sync_run WHERE status = 'running'"
    wait_for(lambda: any(users for (users,) in stored.portal.all(newest)), 30, "a user is audited")
    process.send_signal(signal.SIGTERM)
    done = finish(process)
    assert done.status == 143, done.stderr
    assert stored.portal.runs()[-1]["status"] == "interrupted"


@pytest.mark.cluster
def test_the_queue_audits_in_batches_and_keeps_findings_once(stored: Stored) -> None:
    spoiled = spoil(stored)
    env: dict[str, str | None] = {"SYNC_BATCH_USERS": "5"}
    done = stored.manage("audit_order_items", "--enqueue", "--json", "--repair", env=env)
    assert done.status == 0, done.stderr
    run_id = done.json["run_id"]
    cluster = start_manage(
        "qcluster",
        database_url=stored.portal.url,
        env=env | {"BYTEMARK_CUSTOMER_API_URL": stored.sandbox.url},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        ended = "SELECT COUNT(*) FROM bytemark_sync_run WHERE id = %s AND finished_at IS NOT NULL"
        wait_for(lambda: stored.portal.value(ended, run_id) == 1, 60, "the audit ends")
    finally:
        cluster.send_signal(signal.SIGTERM)
        cluster.wait(30)
    run = stored.portal.runs()[-1]
    assert (run["status"], run["kind"], run["users"], run["orders"]) == ("succeeded", "audit", 12, 36)
    assert run["trigger"] == "command"
    assert stored.portal.value("SELECT COUNT(*) FROM bytemark_sync_batch WHERE run_id = %s", run_id) == 3
    expected = sorted((kind, order, one, kind == "pass_missing") for kind, (order, one) in spoiled.items())
    assert stored.findings(run_id) == expected


def test_no_token_is_in_what_an_audit_says_or_keeps(stored: Stored) -> None:
    spoil(stored)
    done = stored.manage("audit_order_items", "-v", "3")
    queued = stored.manage("audit_order_items", "--enqueue")
    tokens = {token for rider in stored.world.riders for token in rider.tokens}
    kept = json.dumps(stored.portal.all("SELECT detail, pass_uuid FROM bytemark_sync_audit_finding"))
    kept += "".join(str(run["scope"]) for run in stored.portal.runs())
    said = done.stdout + done.stderr + queued.stdout + queued.stderr + kept
    assert not [token for token in tokens if token in said]
    assert "stored twice" in done.stdout


def test_a_dead_run_that_an_audit_closes_is_told_to_slack(stored: Stored, fake_slack: FakeSlack) -> None:
    stored.portal.execute(
        "UPDATE bytemark_sync_run SET status = 'running', finished_at = NULL, slack = '', heartbeat_at = %s",
        "2026-01-01 00:00:00",
    )
    env = {"SLACK_API_URL": fake_slack.url, "SLACK_BOT_TOKEN": "made-up", "SLACK_CHANNEL_ID": "C0MADEUP"}
    assert stored.manage("audit_order_items", env=dict(env)).status == 0
    dead = stored.portal.runs()[0]
    assert (dead["status"], dead["slack"]) == ("failed", "sent")
    assert [f"run {dead['id']} (command) failed" in post["text"] for post in fake_slack.posts] == [True]
