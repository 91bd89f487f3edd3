"""Reading by keys: each user once, however rows move meanwhile; ids that our tables cannot hold are passed over."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from django.utils import timezone

from bytemark_sync.audit import selection
from bytemark_sync.domain.run_scope import AuditScope, Scope
from bytemark_sync.models import Order, OrderItem, OrderToken
from bytemark_sync.storage import pending
from tests.support.harness import manage
from tests.support.scenario import MakeScenario, simple_world

HUGE = (2**63, 2**64 - 1)


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
