"""A connection that would cut values is refused, with the option's name and the way out."""

from __future__ import annotations

import pytest

from bytemark_sync.sandbox import World
from tests.support.harness import manage, with_option
from tests.support.scenario import MakeScenario, add_user, listed

LAX = ["sql_mode=ANSI", "init_command=SET%20SESSION%20sql_mode%3D%27%27"]


@pytest.mark.parametrize("option", LAX)
def test_nothing_is_cut_and_the_option_is_named(server_scenario: MakeScenario, option: str) -> None:
    world = World()
    add_user(world, 7, [listed("o1", "x" * 58)])
    at = server_scenario(world)
    at.portal.execute("ALTER TABLE bytemark_order_items MODIFY pass_uuid VARCHAR(36) NOT NULL")
    lax = with_option(at.url, option)
    name = option.partition("=")[0]
    for command in (("sync_order_items",), ("sync_order_items", "--enqueue"), ("audit_order_items",)):
        done = manage(*command, database_url=lax, env=at.env())
        assert done.status == 2, done.stderr
        assert f"DATABASE_URL: its option {name}" in done.stderr
        assert "STRICT_TRANS_TABLES" in done.stderr
        assert "Traceback" not in done.stderr
    assert (at.portal.items(), at.portal.runs(), at.sandbox.stats().requests) == ([], [], 0)

    checked = manage("check", "--database", "default", database_url=lax, env=at.env())
    assert (checked.status, "bytemark_sync.E007" in checked.stderr) == (1, True)

    # The queue, whose processes have a DATABASE_URL of their own.
    queued = at.sync("--enqueue", "--json").json["run_id"]
    task = f"from bytemark_sync.tasks import plan_run; plan_run({queued})"
    assert manage("shell", "-c", task, database_url=lax, env=at.env()).status == 0
    (run,) = at.portal.runs()
    assert (run["status"], f"its option {name}" in run["error"]) == ("failed", True)
    assert at.portal.items() == []

    at.sync()
    assert at.portal.reasons() == {1: "malformed"}
