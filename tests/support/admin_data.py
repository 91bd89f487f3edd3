"""A portal in the middle of its life: users, orders in every state, and a month of runs. All values are made up."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.utils import timezone

from bytemark_sync.domain.reasons import Reason, deferred_reasons
from bytemark_sync.models import (
    Order,
    OrderAttempt,
    OrderItem,
    OrderOutcome,
    OrderToken,
    RunStatus,
    StoredOrder,
    SyncRun,
    Trigger,
)

SECRET = "rider-key-that-nobody-may-see"
"""Every token begins with this, so that a test can look for it in what leaves the process."""
PRODUCTS = ("day-pass-7f31", "week-pass-02c8", "single-ride-91aa", "month-pass-5d40")
DETAILS = {
    Reason.NOT_FOUND: "Bytemark listed 14 orders in 2 pages, not this one.",
    Reason.NO_PASSES: "Listed with 1 item and no pass.",
    Reason.MALFORMED: "order_items is no list.",
    Reason.TOKEN_REJECTED: "HTTP 401, code 50020: invalid session.",
    Reason.NO_TOKEN: "The user has no token.",
    Reason.API_ERROR: "5 of 5 attempts failed; the last one: HTTP 503.",
}


@dataclass(frozen=True)
class Filled:
    """What a test may look for."""

    stored: list[Order]
    pending: list[Order]
    runs: list[SyncRun]

    def riders_left_for(self, *reasons: Reason) -> list[int]:
        """The users with an order that was left for one of the reasons: a test never knows them by number."""
        found = OrderOutcome.objects.filter(reason__in=reasons).values_list("user_id", flat=True)
        return sorted(set(found))

    def riders_never_tried(self) -> list[int]:
        """The users with pending orders that no run has left."""
        tried = OrderOutcome.objects.values("order_id")
        found = Order.objects.filter(pk__in=[one.pk for one in self.pending]).exclude(pk__in=tried)
        return sorted({user_id for user_id in found.values_list("user_id", flat=True) if user_id is not None})


def fill(*, stored: int = 40, pending: int = 28, days: int = 12, seed: int = 1) -> Filled:
    """Orders and runs of the last `days`; the last run ended an hour ago."""
    chance = random.Random(seed)
    runs = [_run(day, chance) for day in range(days, 0, -1)]
    stored_orders = [_order(1000 + n // 2, chance) for n in range(stored)]
    _store(stored_orders, runs, chance)
    pending_orders = [_order(5000 + n // 2, chance) for n in range(pending)]
    reasons: list[Reason | None] = [None, *Reason]
    for n, order in enumerate(pending_orders):
        reason = reasons[n // 2 % len(reasons)]
        if reason is not None:
            _leave(order, reason, runs, attempts=1 + n % 4)
    Order.objects.create(order_uuid=_uuid(chance), user_id=1000, amount="275", oauth_token=f"{SECRET}-paid")
    return Filled(stored_orders, pending_orders, runs)


def _uuid(chance: random.Random) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def _order(user_id: int, chance: random.Random) -> Order:
    OrderToken.objects.get_or_create(user_id=user_id, defaults={"token": f"{SECRET}-{user_id}", "status": "active"})
    return Order.objects.create(
        order_uuid=_uuid(chance), user_id=user_id, amount="0", oauth_token=f"{SECRET}-order-{user_id}"
    )


def _run(day: int, chance: random.Random) -> SyncRun:
    begin = timezone.now() - timedelta(days=day - 1, hours=1, minutes=10)
    failed = chance.choice((0, 0, 0, 2, 5))
    users = chance.randint(20, 60)
    return SyncRun.objects.create(
        trigger=Trigger.SCHEDULE,
        status=RunStatus.PARTIAL if failed else RunStatus.SUCCEEDED,
        created_at=begin,
        started_at=begin,
        heartbeat_at=begin + timedelta(minutes=3),
        planned_at=begin,
        finished_at=begin + timedelta(minutes=3, seconds=chance.randint(1, 50)),
        users_planned=users,
        users=users,
        users_failed=failed,
        orders=users * 2,
        orders_synced=users * 2 - failed * 2 - 6,
        orders_not_found=4,
        orders_without_passes=2,
        orders_deferred=chance.randint(0, 8),
        items_created=users * 3,
        api_requests=users * 4,
        retries=failed * 4,
        answers={"ok": users * 4 - failed * 5, "server_error": failed * 4, "token_rejected": failed},
        latency={"max": 2.4, "buckets": {"142": users * 3, "160": users, "190": 3}},
        slack="sent" if failed else "",
    )


def _store(orders: list[Order], runs: list[SyncRun], chance: random.Random) -> None:
    items, stored = [], []
    for order in orders:
        run, count = chance.choice(runs), chance.randint(1, 3)
        assert run.finished_at
        items += [
            OrderItem(
                order=order,
                order_uuid=order.order_uuid or "",
                oauth_token=order.oauth_token or "",
                product_uuid=chance.choice(PRODUCTS),
                pass_uuid=_uuid(chance),
            )
            for _ in range(count)
        ]
        stored.append(
            StoredOrder(order=order, run=run, user_id=order.user_id or 0, items=count, stored_at=run.finished_at)
        )
    OrderItem.objects.bulk_create(items)
    StoredOrder.objects.bulk_create(stored)


def _leave(order: Order, reason: Reason, runs: list[SyncRun], attempts: int) -> None:
    tried = runs[-attempts:]
    detail = DETAILS.get(reason, reason.record.meaning)
    if reason is Reason.NO_TOKEN:
        OrderToken.objects.filter(user_id=order.user_id).update(token="")
        Order.objects.filter(pk=order.pk).update(oauth_token=None)
    OrderAttempt.objects.bulk_create(
        OrderAttempt(order=order, run=run, at=run.finished_at, reason=reason, detail=detail)
        for run in tried
        if run.finished_at
    )
    first, last = tried[0], tried[-1]
    assert first.finished_at
    assert last.finished_at
    OrderOutcome.objects.create(
        order=order,
        user_id=order.user_id or 0,
        reason=reason,
        detail=detail,
        attempts=len(tried),
        first_at=first.finished_at,
        last_at=last.finished_at,
        next_at=last.finished_at + timedelta(days=2 ** len(tried)) if reason in deferred_reasons() else None,
        last_run=last,
    )
