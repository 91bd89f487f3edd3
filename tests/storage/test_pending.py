"""docs/contract.md#which-orders-are-pending."""

from __future__ import annotations

from bytemark_sync.sandbox import ListedItem, PortalOrder, PortalToken, World
from tests.support.scenario import MakeScenario, add_user, listed

OTHER_AMOUNTS = ("0.00", "0 ", " 0", "00", "-0", "0e0", "", "2.50", "\uff10", "null")


def test_an_order_is_pending_by_its_amount_its_items_and_its_users_token_row(scenario: MakeScenario) -> None:
    world = World()
    add_user(world, 7, [listed(f"o{n}") for n in range(30)], wanted=["o0"])
    for n, amount in enumerate(OTHER_AMOUNTS, 1):
        world.orders.append(PortalOrder(n + 1, f"o{n}", 7, "key-7", amount))
    world.orders.append(PortalOrder(40, "o20", 7, "key-7", stored=[ListedItem("product-1", ["pass-old"])]))
    add_user(world, 8, [listed("without-a-token-row")])
    world.tokens = [row for row in world.tokens if row.user_id != 8]
    add_user(world, -9, [listed("negative")])
    add_user(world, 0, [listed("zero")])
    at = scenario(world)
    at.portal.execute(
        "INSERT INTO bytemark_orders (id, order_uuid, user_id, oauth_token, amount) "
        "VALUES (50, 'o21', 7, 'key-7', NULL), (51, 'o22', NULL, 'key-7', '0')"
    )
    at.portal.execute("INSERT INTO bytemark_tokens (user_id, token, status) VALUES (NULL, 'key-7', NULL)")
    done = at.sync("--json")
    assert done.status == 0, done.stderr
    assert (done.json["users"], done.json["orders"], done.json["orders_synced"]) == (3, 3, 3)
    at.assert_exact()
    assert {item.order_uuid for item in at.portal.items()} == {"o0", "o20", "negative", "zero"}
    at.settle()


def test_an_order_is_taken_once_however_many_token_rows_its_user_has(scenario: MakeScenario) -> None:
    world = World()
    add_user(world, 7, [listed("o1"), listed("o2")])
    world.tokens += [PortalToken(7, ""), PortalToken(7, "key-7"), PortalToken(7, "other")]
    at = scenario(world)
    done = at.sync("--json")
    assert (done.json["orders"], done.json["items_created"], done.json["api_requests"]) == (2, 2, 1)
    at.settle()


def test_an_order_without_a_usable_uuid_is_left_as_malformed_and_costs_no_request(scenario: MakeScenario) -> None:
    world = World()
    at = scenario(world)
    at.portal.execute("INSERT INTO bytemark_tokens (user_id, token) VALUES (7, 'k')")
    at.portal.execute(
        "INSERT INTO bytemark_orders (id, order_uuid, user_id, oauth_token, amount) "
        "VALUES (1, NULL, 7, 'k', '0'), (2, '', 7, NULL, '0'), (3, '   ', 7, 'k', '0')"
    )
    done = at.sync("--json")
    assert (done.status, done.json["orders_invalid"], done.json["api_requests"]) == (0, 3, 0)
    assert at.portal.reasons() == dict.fromkeys((1, 2, 3), "malformed")


def test_two_orders_of_one_uuid_are_two_orders(scenario: MakeScenario) -> None:
    world = World()
    add_user(world, 7, [listed("o1", "p1", "p2")], wanted=["o1", "O1"])
    at = scenario(world)
    assert at.sync("--json").json["items_created"] == 4
    at.settle()


def test_named_users_and_orders_narrow_the_run_and_those_with_nothing_pending_are_said(scenario: MakeScenario) -> None:
    world = World()
    for user in (1, 2, 3):
        add_user(world, user, [listed(f"Order-{user}a"), listed(f"order-{user}b")])
    at = scenario(world)
    done = at.sync(
        "--json", "--order", " oRDER-1A ", "--order", "no-such", "--order", "naïve-😀", "--order", "order-1a"
    )
    assert (done.status, done.json["users"], done.json["orders_synced"]) == (0, 1, 1)
    assert [item.order_uuid for item in at.portal.items()] == ["Order-1a"]
    assert "order no-such: nothing pending" in done.stderr
    assert "order naïve-😀: nothing pending" in done.stderr
    assert "oRDER-1A: nothing" not in done.stderr

    done = at.sync("--json", "--user", 2, "--user", 99, "--user", -5, "--user", 10**30)
    assert (done.status, done.json["users"], done.json["orders_synced"]) == (0, 1, 2)
    for user in (99, -5, 10**30):
        assert f"user {user}: nothing pending" in done.stderr
    assert "user 2:" not in done.stderr

    both = at.sync("--json", "--user", 3, "--order", "order-1b")
    assert (both.status, both.json["users"]) == (0, 0)
    assert at.sync("--json", "--order", "order-3a", "--user", 3).json["orders_synced"] == 1
    at.settle()


def test_a_named_order_that_two_users_have_is_taken_for_both(scenario: MakeScenario) -> None:
    world = World()
    for user in (1, 2, 3):
        add_user(world, user, [listed("shared" if user < 3 else "other", f"pass-{user}")])
    at = scenario(world)
    done = at.sync("--json", "--order", "SHARED", "--order", "other", "--user", 1, "--user", 2)
    assert (done.status, done.json["users"], done.json["orders_synced"]) == (0, 2, 2)
    assert [(item.order_uuid, item.oauth_token) for item in at.portal.items()] == [
        ("shared", "key-1"),
        ("shared", "key-2"),
    ]
    assert "order shared: nothing pending" not in done.stderr
    again = at.sync("--json", "--order", "shared")
    assert (again.status, again.json["orders"]) == (0, 0)
    at.settle()
