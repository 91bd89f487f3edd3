"""The list, the resync's count and the users that its run is planned for are the same, on any portal and filter."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import product
from typing import Any

import pytest
from django.http import QueryDict
from django.test import Client
from django.utils import timezone

from bytemark_sync.admin.pending_filters import AGES, YES
from bytemark_sync.admin.resync import Wanted, _counted
from bytemark_sync.domain.pending_filter import NEVER_TRIED
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import Order, OrderItem, OrderOutcome, OrderToken, SyncRun
from tests.support.admin_pages import APP, listed, page
from tests.support.queue import planned

USERS = range(1, 9)
ORDERS = 40  # fewer than a page
QUERIES = 25
FIRST_TRIES = {"new": (0, 24), "day": (24, 10**6), "week": (7 * 24, 10**6), "month": (30 * 24, 10**6)}
"""Hours since the first try, at least and below."""


def fill(pick: random.Random) -> dict[int, tuple[Order, OrderOutcome | None]]:
    """A portal of any shape, its pending orders with their outcomes. What was stored since has an old outcome still."""
    now = timezone.now()
    with_token = set(pick.sample(USERS, 6))
    for user_id in with_token:
        OrderToken.objects.create(user_id=user_id, token="made-up")
    pending = {}
    for number in range(ORDERS):
        user_id, amount = pick.choice(USERS), pick.choice(["0", "0", "0", "0", "275"])
        order = Order.objects.create(order_uuid=f"order-{number}", user_id=user_id, amount=amount, oauth_token="t")
        outcome = None
        if pick.random() < 0.7:
            outcome = OrderOutcome.objects.create(
                order=order,
                user_id=user_id,
                reason=pick.choice([*Reason]),
                first_at=now - timedelta(hours=pick.choice([2, 30, 200, 900]), minutes=30),
                last_at=now,
                attempts=1,
                next_at=pick.choice([None, now - timedelta(hours=2), *[now + timedelta(hours=2)] * 4]),
            )
        is_stored = pick.random() < 0.3
        if is_stored:
            OrderItem.objects.create(order=order, order_uuid="u", oauth_token="t", product_uuid="p", pass_uuid="x")
        if amount == "0" and user_id in with_token and not is_stored:
            pending[order.pk] = (order, outcome)
    return pending


def expected(pending: dict[int, tuple[Order, OrderOutcome | None]], query: dict[str, str]) -> dict[int, int | None]:
    """Order -> user, as the filters' labels say."""
    now = timezone.now()

    def waits(outcome: OrderOutcome | None) -> bool:
        return bool(outcome and outcome.next_at and outcome.next_at > now)

    def in_age(first_at: datetime) -> bool:
        least, below = (timedelta(hours=hours) for hours in FIRST_TRIES[query["age"]])
        return least <= now - first_at < below

    due = {order.user_id for order, outcome in pending.values() if not waits(outcome)}
    return {
        pk: order.user_id
        for pk, (order, outcome) in pending.items()
        if ("reason" not in query or query["reason"] == (outcome.reason if outcome else NEVER_TRIED))
        and ("age" not in query or (outcome is not None and in_age(outcome.first_at)))
        and ("deferred" not in query or order.user_id not in due)
        and ("q" not in query or query["q"] in (str(order.user_id), order.order_uuid))
    }


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 4))])
def test_list_count_and_plan_are_the_same(logged_in: Callable[[str], Client], settings: Any, seed: int) -> None:
    settings.BYTEMARK_CUSTOMER_API_URL = "http://127.0.0.1:9"
    pick = random.Random(seed)
    client = logged_in("operator")
    pending = fill(pick)
    searches = ["", "", "", "3", "order-5", "order-6"]
    every = product(["", *Reason, NEVER_TRIED], ["", *AGES], ["", YES], searches)
    found = 0
    for reason, age, deferred, search in [("", "", "", ""), *pick.sample([*every], QUERIES)]:
        named = {"reason": str(reason), "age": age, "deferred": deferred, "q": search}
        query = {name: value for name, value in named.items() if value}
        orders = expected(pending, query)
        users = sorted({user_id for user_id in orders.values() if user_id is not None})
        found += bool(orders)
        text = "&".join(f"{name}={value}" for name, value in query.items())
        assert sorted(listed(page(client, f"{APP}pendingorder/?{text}"))) == sorted(orders), query
        wanted = Wanted.of_list(QueryDict(text))
        counts = _counted(wanted)
        assert counts is not None
        assert (counts.orders, counts.users) == (len(orders), len(users)), query
        assert planned(wanted.ask("ann").run) == users, query
        SyncRun.objects.all().delete()
    assert found > 2
