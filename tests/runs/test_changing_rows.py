"""Rows that change while a run reads, and ids that the product's tables cannot hold: they alone are passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import pytest
from django.utils import timezone

from bytemark_sync.audit import selection
from bytemark_sync.domain.run_scope import AuditScope, Scope
from bytemark_sync.models import Order, OrderItem, OrderToken
from bytemark_sync.storage import pending
from tests.support.harness import finish, manage
from tests.support.scenario import MakeScenario, Scenario, listed, simple_world
from tests.support.servers import wait_for

HUGE = (2**63, 2**64 - 1)


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


@pytest.mark.django_db
def test_each_user_is_handed_out_once_however_rows_move_between_the_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bytemark_sync.storage.keyset.ORDERS_PER_GROUP", 2)
    monkeypatch.setattr("bytemark_sync.storage.keyset.KEYS_PER_WINDOW", 6)
    for user in range(1, 9):
        OrderToken.objects.create(user_id=user, token=f"key-{user}")
        Order.objects.bulk_create(Order(order_uuid=f"{user}-{n}", user_id=user, amount="0") for n in range(2))
    moves = {2: (3, None), 4: (5, 1), 6: (7, 8)}  # with this user in hand, the orders of one go to another

    def walk(users: Iterable[object]) -> list[tuple[int, tuple[str, ...]]]:
        seen = []
        for due in users:
            if not isinstance(due, pending.DueUser):
                continue
            user = due.pending.user_id
            seen.append((user, tuple(order.uuid for order in due.pending.orders)))
            if user in moves:
                old, new = moves[user]
                Order.objects.filter(user_id=old).update(user_id=new)
        return seen

    first = walk(pending.stream(Scope(), now=timezone.now()))
    assert [user for user, _ in first] == [1, 2, 4, 6, 8]
    assert all(uuid.startswith(f"{user}-") for user, uuids in first for uuid in uuids if uuid)
    moves = {}
    again = {user: len(uuids) for user, uuids in walk(pending.stream(Scope(), now=timezone.now()))}
    assert again == {1: 4, 2: 2, 4: 2, 6: 2, 8: 4}


@pytest.mark.django_db
def test_an_audit_hands_each_user_out_once_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bytemark_sync.storage.keyset.ORDERS_PER_GROUP", 2)
    for user in range(1, 6):
        for n in range(2):
            order = Order.objects.create(order_uuid=f"{user}-{n}", user_id=user, amount="0")
            OrderItem.objects.create(order=order, order_uuid="x", oauth_token="k", product_uuid="p", pass_uuid="q")
    seen = []
    for due in selection.audit_stream(AuditScope()):
        seen.append(due.pending.user_id)
        if due.pending.user_id == 1:
            Order.objects.filter(user_id=2).update(user_id=4)
            Order.objects.filter(user_id=3).update(user_id=None)
    assert seen == [1, 4, 5]


def test_ids_beyond_what_a_table_can_hold_cost_nobody_else(server_scenario: MakeScenario) -> None:
    at = server_scenario(simple_world(users=3, orders=2))
    for table in ("orders", "tokens"):
        at.portal.execute(f"ALTER TABLE bytemark_{table} MODIFY user_id BIGINT UNSIGNED")
    at.portal.execute("ALTER TABLE bytemark_orders MODIFY id BIGINT UNSIGNED AUTO_INCREMENT")
    for number, huge in enumerate(HUGE):
        at.portal.execute("INSERT INTO bytemark_tokens (user_id, token) VALUES (%s, 'key-101')", huge)
        for order, user in ((huge, 101), (50 + number, huge)):
            at.portal.execute(
                "INSERT INTO bytemark_orders (id, order_uuid, user_id, oauth_token, amount) "
                "VALUES (%s, %s, %s, 'key-101', '0')",
                *(order, f"huge-{order}", user),
            )
    done = at.sync("--json")
    assert (done.status, done.json["status"], done.json["orders_synced"]) == (0, "succeeded", 6), done.stderr
    assert "4 orders have ids beyond" in done.stderr
    named = at.sync("--json", "--user", 101, "--user", 2**63, "--order", "huge-50", "--include-deferred")
    assert (named.status, named.json["orders"]) == (0, 0)
    assert "order huge-50: nothing pending" in named.stderr
    assert at.portal.reasons() == {}
    at.portal.execute(
        "INSERT INTO bytemark_order_items (order_id, order_uuid, oauth_token, product_uuid, pass_uuid) "
        "VALUES (50, 'huge-50', 'key-101', 'p', 'q')"
    )
    audited = manage("audit_order_items", "--json", database_url=at.url, env=at.env())
    assert (audited.status, audited.json["orders"]) == (0, 6), audited.stderr
