"""Rows that change while a run reads: they alone are passed over."""

from __future__ import annotations

from collections import Counter

from tests.support.harness import finish
from tests.support.scenario import MakeScenario, Scenario, listed, simple_world
from tests.support.servers import wait_for


def change(at: Scenario) -> None:
    """What a portal may do between two reads of a run: orders ahead of the reader lose or change their owner."""
    at.portal.execute("UPDATE bytemark_orders SET user_id = NULL WHERE user_id = 120")
    at.portal.execute("UPDATE bytemark_orders SET user_id = 124 WHERE user_id = 115")  # merged with one still to come
    at.portal.execute("UPDATE bytemark_orders SET user_id = 101 WHERE user_id = 116")  # with one that was there
    at.portal.execute("DELETE FROM bytemark_tokens WHERE user_id IN (115, 116)")


def test_orders_that_change_their_owner_ahead_of_the_reader_stop_nobody(scenario: MakeScenario) -> None:
    world = simple_world(users=24, orders=100)
    for rider in world.riders:  # merged at Bytemark too
        rider.orders += [listed(f"order-{user}-{n}", f"pass-{user}-{n}") for user in (115, 116) for n in range(100)]
    at = scenario(world, latency=0.25)
    whole = {"BYTEMARK_PAGE_SIZE": "1000"}
    process = at.start("--json", "--workers", "1", env=whole)
    wait_for(lambda: at.sandbox.stats().requests > 0, 30, "the first user is asked for", every=0.01)
    change(at)  # the second group of orders is read with the eleventh user
    done = finish(process)
    assert (done.status, done.json["status"], "Traceback" in done.stderr) == (0, "succeeded", False), done.stderr
    assert (done.json["users"], done.json["orders_synced"]) == (21, 2100)
    asked = Counter(request.user_id for request in at.sandbox.requests())
    assert set(asked.values()) == {1}

    # The next run takes the merged ones with their new owners, and nobody's stay as they are.
    done = at.sync("--json", env=whole)
    assert (done.status, done.json["users"], done.json["orders_synced"]) == (0, 2, 200)
    owners = dict(at.portal.all("SELECT order_id, user_id FROM bytemark_sync_stored_order"))
    assert {owners[order.id] for order in world.orders if order.user_id == 115} == {124}
    assert {owners[order.id] for order in world.orders if order.user_id == 116} == {101}
    assert len(owners) == len({item.order_id for item in at.portal.items()}) == 2300
    assert at.sync("--json").json["orders"] == 0


def test_orders_whose_uuid_changes_while_their_list_is_fetched_get_no_passes_of_the_old_one(
    scenario: MakeScenario,
) -> None:
    world = simple_world(users=3, orders=2)
    world.riders[0].orders.append(listed("corrected", "pass-corrected"))
    at = scenario(world, latency=1.5)
    process = at.start("--json")
    wait_for(lambda: at.sandbox.stats().requests == 3, 30, "all users are asked for", every=0.01)
    at.portal.execute("UPDATE bytemark_orders SET order_uuid = 'corrected' WHERE order_uuid = 'order-101-0'")
    at.portal.execute("UPDATE bytemark_orders SET order_uuid = NULL WHERE order_uuid = 'order-102-0'")
    at.portal.execute("UPDATE bytemark_orders SET order_uuid = ' ORDER-103-0 ' WHERE order_uuid = 'order-103-0'")
    done = finish(process)
    assert (done.status, done.json["orders"], done.json["orders_synced"]) == (0, 6, 4), done.stderr
    assert "passed over                     2" in done.stderr
    assert {item.order_id for item in at.portal.items()} == {2, 4, 5, 6}
    assert at.portal.reasons() == {}
    again = at.sync("--json")
    assert (again.json["orders"], again.json["orders_synced"], set(at.portal.reasons())) == (2, 1, {3})
    assert [item.pass_uuid for item in at.portal.items() if item.order_id == 1] == ["pass-corrected"]
