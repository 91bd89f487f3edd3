"""The two query plans of the definition of pending, and the stream, give the same orders on any portal."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tests.support.harness import Portal, manage

PORTALS = 3
CODE = """
from django.utils import timezone
from bytemark_sync.domain.run_scope import Scope
from bytemark_sync.models import Order, OrderItem, OrderToken
from bytemark_sync.storage.pending import DueUser, pending_orders, pending_row_by_row, stream
from bytemark_sync.storage.portal_schema import is_indexed
print(is_indexed(OrderItem, "order_id"), is_indexed(OrderToken, "user_id"))
print(*sorted(pending_orders().values_list("pk", flat=True)))
print(*sorted(pending_row_by_row(Order.objects.all()).values_list("pk", flat=True)))
now = timezone.now()
for ids in (None, list(range(-1, 10))):
    users = [each for each in stream(Scope(), now=now, user_ids=ids) if isinstance(each, DueUser)]
    print(*sorted(order.id for user in users for order in user.pending.orders))
"""


@pytest.mark.parametrize("seed", range(PORTALS))
def test_all_plans_give_the_same_orders(database_url: str, portal: Portal, seed: int) -> None:
    pick = random.Random(seed)
    users = [None, *range(-1, 10)]
    amounts: dict[int, tuple[int | None, Any]] = {}
    for order_id in range(1, 61):
        amounts[order_id] = (pick.choice(users), pick.choice(["0", "0", "0", "0", "0 ", "00", "", None]))
        user_id, amount = amounts[order_id]
        portal.execute(
            "INSERT INTO bytemark_orders (id, order_uuid, user_id, oauth_token, amount) VALUES (%s, %s, %s, %s, %s)",
            *(order_id, pick.choice([f"order-{order_id}", "twice", "", None]), user_id, "made-up", amount),
        )
    with_token = pick.choices(users, k=8)
    for user_id in with_token:
        portal.execute("INSERT INTO bytemark_tokens (user_id, token) VALUES (%s, 'made-up')", user_id)
    stored = pick.choices(range(1, 61), k=20)
    for order_id in stored:
        portal.execute(
            "INSERT INTO bytemark_order_items (order_id, order_uuid, oauth_token, product_uuid, pass_uuid)"
            " VALUES (%s, 'order', 'made-up', 'product', 'pass')",
            order_id,
        )
    pending = [
        order_id
        for order_id, (user_id, amount) in amounts.items()
        if amount == "0" and user_id is not None and user_id in with_token and order_id not in stored
    ]
    done = manage("shell", "-v", "0", "-c", CODE, database_url=database_url)
    assert done.status == 0, done.stderr
    assert pending
    assert done.stdout.splitlines() == ["True True", *[" ".join(map(str, pending))] * 4]
