"""docs/contract.md#storing: one row a pass, all of an order or none, once however many race, a reason for the rest."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from bytemark_sync.sandbox import ListedItem, World
from tests.support.harness import finish
from tests.support.scenario import MakeScenario, Scenario, add_user, listed, simple_world
from tests.support.servers import wait_for


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_that_race_for_the_same_orders_store_each_once(scenario: MakeScenario, processes: int) -> None:
    world = World.sample(users=60, orders_per_user=3, listed=(4, 8), trouble=0.3, seed=processes)
    at = scenario(world, latency=0.01)
    racing = [at.start("--json", "--workers", 8) for _ in range(processes)]
    done = [finish(process, 90) for process in racing]
    assert {each.status for each in done} <= {0, 1}
    assert "Traceback" not in "".join(each.stderr for each in done)
    at.assert_exact()
    at.assert_whole_orders()
    stored = len(at.portal.items()) - sum(len(i.passes) for order in world.orders for i in order.stored)
    assert sum(each.json["items_created"] for each in done) == stored
    assert sum(run["items_created"] for run in at.portal.runs()) == stored
    at.settle()


def test_items_that_another_writer_inserts_meanwhile_are_left_alone(scenario: MakeScenario) -> None:
    """The Node job may still run beside: it takes no locks, but what it has committed is never stored again."""
    at = scenario(simple_world(users=6, orders=2), latency=0.4)
    process = at.start("--json", "--workers", "6")
    wait_for(lambda: at.sandbox.stats().requests >= 6, 30, "the users are fetched", every=0.01)
    at.portal.execute(
        "INSERT INTO bytemark_order_items (order_id, order_uuid, oauth_token, product_uuid, pass_uuid) "
        "VALUES (3, 'other', 'other', 'other', 'other')"
    )
    at.portal.execute("UPDATE bytemark_orders SET amount = '5.00' WHERE id = 4")
    at.portal.execute("DELETE FROM bytemark_orders WHERE id = 5")
    done = finish(process)
    assert (done.status, done.json["orders"], done.json["orders_synced"]) == (0, 12, 9)
    assert sorted({item.order_id for item in at.portal.items()}) == [1, 2, 3, 6, 7, 8, 9, 10, 11, 12]
    assert [item.order_uuid for item in at.portal.items() if item.order_id == 3] == ["other"]
    assert at.portal.reasons() == {}
    assert at.sync("--json").json["orders"] == 0


def test_an_order_without_a_pass_stays_pending_until_it_has_one(scenario: MakeScenario) -> None:
    world = World()
    add_user(world, 7, [listed("o1")])
    world.riders[0].orders[0].items = [ListedItem("product-1", [])]
    at = scenario(world)
    done = at.sync("--json")
    assert (done.status, done.json["orders_without_passes"]) == (0, 1)
    at.assert_exact()
    world.riders[0].orders[0].items = [ListedItem("product-1", ["p1"])]
    at.sandbox.set_world(world)
    at.settle()
    assert len(at.portal.items()) == 1
    assert at.portal.reasons() == {}  # the reason goes when the order is stored


def test_one_malformed_order_is_its_own_problem(scenario: MakeScenario) -> None:
    world = World()
    add_user(world, 7, [listed("o1"), listed("bad"), listed("o2")])
    world.riders[0].orders[1].form = "pass_number"
    at = scenario(world, faults="malformed_order:form=uuid_number")
    done = at.sync("--json")
    assert (done.status, done.json["orders_synced"], done.json["orders_invalid"]) == (0, 2, 1)
    at.settle()


def test_reasons_are_kept_with_attempts_times_and_words(scenario: MakeScenario) -> None:
    world = World()
    add_user(world, 7, [listed("o1")], wanted=["gone"])
    add_user(world, 8, [listed("o2")])
    at = scenario(world, faults="status:status=500,users=8")
    started = datetime.now()
    at.sync()
    at.sync("--include-deferred")
    outcomes = {row["order_id"]: row for row in at.portal.rows("SELECT * FROM bytemark_sync_outcome")}
    first, second = at.portal.runs()
    for order, reason, user in ((1, "not_found", 7), (2, "api_error", 8)):
        outcome = outcomes[order]
        assert (outcome["reason"], outcome["user_id"], outcome["attempts"]) == (reason, user, 2)
        assert outcome["last_run_id"] == second["id"]
        times = [datetime.fromisoformat(str(outcome[name])) for name in ("first_at", "last_at")]
        assert times[1] - times[0] > timedelta(milliseconds=100)
        story = at.portal.all("SELECT run_id, reason FROM bytemark_sync_attempt WHERE order_id = %s ORDER BY id", order)
        assert story == [(first["id"], reason), (second["id"], reason)]
    assert abs(datetime.fromisoformat(str(outcomes[1]["first_at"])) - started) < timedelta(days=1)
    assert "does not list" in outcomes[1]["detail"]
    assert "HTTP 500" in outcomes[2]["detail"]
    at.settle()


def test_a_user_with_thousands_of_orders_is_stored_whole(scenario: MakeScenario) -> None:
    world = simple_world(users=1, orders=2500)
    at = scenario(world)
    done = at.sync("--json", env={"BYTEMARK_PAGE_SIZE": "1000"})
    assert (done.json["orders_synced"], done.json["items_created"], done.json["api_requests"]) == (2500, 5000, 3)
    at.settle()


# --- Deferral: what the command tries again, and when -----------------------------------------------------------------


def deferred_scenario(scenario: MakeScenario) -> Scenario:
    """An order that is not listed, one without passes, one whose token is rejected, one that fails; and their run."""
    world = World()
    add_user(world, 1, [], wanted=["gone"])
    add_user(world, 2, [listed("bare")])
    world.riders[-1].orders[0].items = []
    add_user(world, 3, [listed("o3")])
    world.riders[-1].tokens = ["another"]
    add_user(world, 4, [listed("o4")])
    at = scenario(world, faults="status:status=500,users=4")
    assert at.sync().status == 1
    at.sandbox.reset()
    return at


def waits(at: Scenario) -> dict[int, float | None]:
    """Order to the days from its last run until its next try."""
    rows = at.portal.all(
        "SELECT o.order_id, o.next_at, r.created_at FROM bytemark_sync_outcome o "
        "JOIN bytemark_sync_run r ON r.id = o.last_run_id"
    )
    parsed = [
        (order, None if next_at is None else datetime.fromisoformat(str(next_at)), datetime.fromisoformat(str(began)))
        for order, next_at, began in rows
    ]
    return {
        order: None if next_at is None else round((next_at - began) / timedelta(days=1), 1)
        for order, next_at, began in parsed
    }


def elapse(at: Scenario, days: float) -> None:
    """Let time pass: everything on record moves into the past."""
    for table, column in (
        ("outcome", "next_at"),
        ("outcome", "last_at"),
        ("outcome", "first_at"),
        ("run", "created_at"),
    ):
        moved = (
            f"datetime({column}, '-{days * 86400:.0f} seconds')"
            if at.portal.is_sqlite
            else f"{column} - INTERVAL {days * 86400:.0f} SECOND"
        )
        at.portal.execute(f"UPDATE bytemark_sync_{table} SET {column} = {moved}")


def test_hopeless_orders_are_deferred_and_api_errors_never(scenario: MakeScenario) -> None:
    at = deferred_scenario(scenario)
    assert waits(at) == {1: 1.0, 2: 1.0, 3: 1.0, 4: None}
    done = at.sync("--json")
    assert (done.status, done.json["users"], done.json["orders_synced"], done.json["orders_deferred"]) == (0, 1, 1, 3)
    assert "Orders deferred" in done.stderr
    assert at.portal.runs()[-1]["orders_deferred"] == 3
    dry = at.sync("--json", "--dry-run")
    assert (dry.json["users"], dry.json["orders_deferred"]) == (0, 3)


def test_the_wait_doubles_up_to_thirty_days(sqlite_scenario: MakeScenario) -> None:
    at = deferred_scenario(sqlite_scenario)
    at.sync()
    for expected in (2, 4, 8, 16, 30, 30):
        elapse(at, 31)
        at.sync()
        assert set(waits(at).values()) == {float(expected)}
    # A try ahead of time, by a person, lengthens nothing.
    at.sync("--include-deferred")
    assert set(waits(at).values()) == {30.0}


def test_what_is_named_is_tried_at_once_and_include_deferred_tries_all(sqlite_scenario: MakeScenario) -> None:
    at = deferred_scenario(sqlite_scenario)
    at.sync()
    assert at.sync("--json", "--user", 1).json["orders"] == 1
    assert at.sync("--json", "--order", "BARE").json["orders_without_passes"] == 1
    assert at.sync("--json", "--limit", 5).json["orders"] == 0
    assert at.sync("--json", "--include-deferred").json["orders"] == 3


def test_a_changed_token_ends_a_token_deferral_alone(scenario: MakeScenario) -> None:
    at = deferred_scenario(scenario)
    at.sync()
    at.portal.execute("UPDATE bytemark_tokens SET token = 'another' WHERE user_id = 3")
    at.portal.execute("INSERT INTO bytemark_tokens (user_id, token) VALUES (1, 'key-1b')")
    done = at.sync("--json")
    assert (done.json["orders_synced"], done.json["orders_deferred"]) == (1, 2)
    assert {item.oauth_token for item in at.portal.items()} == {"key-4", "another"}


def test_a_new_order_brings_the_users_deferred_ones_along(scenario: MakeScenario) -> None:
    at = deferred_scenario(scenario)
    at.sync()
    at.world.riders[0].orders = [listed("gone"), listed("new")]
    at.sandbox.set_world(at.world)
    at.portal.execute(
        "INSERT INTO bytemark_orders (id, order_uuid, user_id, oauth_token, amount) VALUES (50, 'new', 1, 'key-1', '0')"
    )
    done = at.sync("--json")
    assert (done.json["users"], done.json["orders"], done.json["orders_synced"]) == (1, 2, 2)
    assert set(at.portal.reasons()) == {2, 3}
