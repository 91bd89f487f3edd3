"""The stored orders that an audit looks at, streamed user by user in flat memory.

An order is stored when it has rows in `bytemark_order_items`. Like the rest of the product, an audit takes only orders
whose `amount` is '0'.
"""

from __future__ import annotations

import heapq
import random
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from django.db.models import Exists, OuterRef, Q, QuerySet

from bytemark_sync.domain.matching import PendingUser, WantedOrder
from bytemark_sync.domain.run_scope import AuditScope
from bytemark_sync.models import Order, OrderItem
from bytemark_sync.models.portal import FREE
from bytemark_sync.storage.keyset import (
    IDS_PER_QUERY,
    Key,
    candidates,
    chunks,
    fetched,
    fits,
    groups,
    keys_of,
    keys_of_all,
    named_by,
    still_theirs,
    tokens_of,
)
from bytemark_sync.storage.pending import DueUser


class _Row(NamedTuple):
    id: int
    uuid: str | None
    user_id: int
    token: str | None


def stored_orders(scope: AuditScope | None = None) -> QuerySet[Order]:
    """Free orders that have items. A scope narrows them to its users and to `StoredOrder.stored_at` since its date."""
    orders = Order.objects.filter(FREE, Exists(OrderItem.objects.filter(order_id=OuterRef("pk"))))
    if scope is not None and scope.since is not None:
        orders = orders.filter(stored__stored_at__gte=scope.since)
    if scope is not None and scope.users:
        orders = orders.filter(user_id__in=list(filter(fits, scope.users)))
    return orders


def stored_named_by(uuids: Collection[str]) -> dict[str, list[int]]:
    """The stored orders with one of `uuids`: normalised uuid -> order ids."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for uuid, order_id in named_by(stored_orders(), uuids, "id"):
        found[uuid].append(order_id)
    return dict(found)


def choose(scope: AuditScope, size: int, rng: random.Random | None = None) -> tuple[int, ...]:
    """The ids of `size` random stored orders of the scope, or of all if there are fewer. Memory: `size` ids.

    Every order is equally likely.
    """
    rng = rng or random.Random()
    marked = ((rng.random(), order_id) for _, order_id in _keys(scope, None, None))
    return tuple(sorted(order_id for _, order_id in heapq.nsmallest(size, marked)))


def audit_stream(scope: AuditScope, *, user_ids: Sequence[int] | None = None) -> Iterator[DueUser]:
    """The users of the scope's orders, by rising user id. `user_ids` narrows them to a queued batch.

    Tokens are tried in this order: those stored with the items, those of the orders, those in `bytemark_tokens`.
    """
    for owners in groups(_keys(scope, user_ids, None)):
        rows = _rows(owners)
        stored_tokens = _stored_tokens([row.id for row in rows])
        tokens = tokens_of(sorted({row.user_id for row in rows}))
        for user_id, group in groupby(rows, key=lambda row: row.user_id):
            user_rows = list(group)
            newest_first = user_rows[::-1]
            texts: list[str | None] = [text for row in newest_first for text in stored_tokens.get(row.id, ())]
            texts += [row.token for row in newest_first]
            texts += tokens.get(user_id, ())
            orders = tuple(WantedOrder(row.id, row.uuid or "") for row in user_rows)
            yield DueUser(PendingUser(user_id, candidates(texts), orders), "")


def audit_users(scope: AuditScope, *, after_user: int | None = None) -> Iterator[int]:
    """Only the ids of the scope's users, for planning."""
    return (user_id for user_id, _ in groupby(user_id for user_id, _ in _keys(scope, None, after_user)))


def _keys(scope: AuditScope, user_ids: Sequence[int] | None, after: int | None) -> Iterator[Key]:
    """(user id, order id) of the orders to look at, rising."""
    orders = stored_orders(scope)
    if scope.order_ids is None and user_ids is None:
        return keys_of_all(orders, after)
    behind = Q(user_id__isnull=False) if after is None else Q(user_id__gt=after)
    orders = orders.filter(behind)
    if user_ids is not None:
        parts = [orders.filter(user_id__in=chunk) for chunk in chunks(sorted(user_ids), IDS_PER_QUERY)]
        if scope.order_ids is not None:
            wanted = set(scope.order_ids)
            return (key for key in keys_of(parts) if key[1] in wanted)
        return keys_of(parts)
    by_id = [orders.filter(pk__in=chunk) for chunk in chunks(scope.order_ids or (), IDS_PER_QUERY)]
    return iter(sorted(keys_of(by_id)))


def _rows(owners: dict[int, int]) -> list[_Row]:
    fields = ("id", "order_uuid", "user_id", "oauth_token")
    rows: list[_Row] = []
    for chunk in chunks(list(owners), IDS_PER_QUERY):
        found = fetched(Order.objects.filter(FREE, pk__in=chunk).order_by("user_id", "id").values_list(*fields))
        rows += still_theirs((_Row(*row) for row in found), owners)
    return rows


def _stored_tokens(ids: Sequence[int]) -> dict[int, list[str]]:
    """Order id -> the tokens with which its items were fetched."""
    tokens: defaultdict[int, list[str]] = defaultdict(list)
    for chunk in chunks(ids, IDS_PER_QUERY):
        query = OrderItem.objects.filter(order_id__in=chunk).values_list("order_id", "oauth_token").distinct()
        for order_id, token in fetched(query):
            tokens[order_id].append(token or "")
    return dict(tokens)
