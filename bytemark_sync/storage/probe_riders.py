"""The riders that the probe asks about. Reads the portal's tables alone, so that it works before `migrate`."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, zip_longest

from django.db.models import Count

from bytemark_sync.domain.matching import PendingUser, WantedOrder
from bytemark_sync.models import Order
from bytemark_sync.storage.keyset import candidates, fetched, fits, tokens_of
from bytemark_sync.storage.pending import pending_orders, pending_row_by_row

MAX_CANDIDATES = 12
"""Riders that are looked up; some of their tokens may be rejected."""

NEWEST_ORDERS = 300
ORDERS_PER_RIDER = 1000


def named_riders(user_ids: Iterable[int]) -> list[PendingUser]:
    """These riders with a token, in this order, whether or not an order is pending. All their orders count."""
    wanted = [user_id for user_id in dict.fromkeys(user_ids) if fits(user_id)]
    rows = tokens_of(wanted)
    return [rider for user_id in wanted if (rider := _rider(user_id, rows.get(user_id, []))).tokens]


def rider_with_any_token(user_id: int) -> PendingUser:
    """The rider with whatever tokens there are, also none."""
    return _rider(user_id, tokens_of([user_id]).get(user_id, []))


def riders_with_pending() -> list[PendingUser]:
    """At most `MAX_CANDIDATES` riders with pending orders and a token: the newest and those with most, in turn."""
    newest = pending_row_by_row(Order.objects.filter(user_id__isnull=False)).order_by("-pk")
    recent = dict.fromkeys(fetched(newest.values_list("user_id", flat=True)[:NEWEST_ORDERS]))
    by_number = pending_orders(Order.objects.filter(user_id__isnull=False)).order_by().values("user_id")
    most = fetched(by_number.annotate(orders=Count("pk")).order_by("-orders").values_list("user_id", flat=True)[:12])
    both = chain.from_iterable(zip_longest(recent, most))
    return named_riders(each for each in both if each is not None)[:MAX_CANDIDATES]


def _rider(user_id: int, rows: list[str | None]) -> PendingUser:
    """The newest order's token first, as a run tries it, then `bytemark_tokens`."""
    query = Order.objects.filter(user_id=user_id).order_by("-pk").values_list("pk", "order_uuid", "oauth_token")
    orders = fetched(query[:ORDERS_PER_RIDER])
    newest = [token for _, _, token in orders if token and token.strip()][:1]
    wanted = tuple(WantedOrder(pk, uuid or "") for pk, uuid, _ in orders)
    return PendingUser(user_id, candidates(newest + rows), wanted)
