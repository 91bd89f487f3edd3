"""Which orders are pending, and which users are due, streamed user by user in flat memory.

An order is pending when it has no row in `bytemark_order_items`, its `amount` is `'0'`, and its user has a row in
`bytemark_tokens` (docs/contract.md#which-orders-are-pending). There are two queries for this, each measured:
`pending_orders` is fast for many rows, `pending_row_by_row` for the first page of a list.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any, NamedTuple

from django.db.models import Count, Exists, OuterRef, Q, QuerySet, Subquery

from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import PendingUser, WantedOrder, normalise
from bytemark_sync.domain.pending_filter import NEVER_TRIED, PendingFilter
from bytemark_sync.domain.reasons import token_reasons
from bytemark_sync.domain.run_scope import Scope
from bytemark_sync.models import Order, OrderItem, OrderToken
from bytemark_sync.models.portal import FREE
from bytemark_sync.storage.fingerprints import fingerprint
from bytemark_sync.storage.keyset import (
    IDS_PER_QUERY,
    Key,
    candidates,
    chunks,
    credentials_of,
    fetched,
    fits,
    folded_uuid,
    groups,
    keys_of,
    keys_of_all,
    named_by,
    still_theirs,
    tokens_of,
)
from bytemark_sync.storage.portal_schema import is_indexed, renews_tokens


class _Row(NamedTuple):
    id: int
    uuid: str | None
    user_id: int
    token: str | None
    reason: str | None
    next_at: datetime | None
    fingerprint: str | None


@dataclass(frozen=True, slots=True)
class DueUser:
    """A user to work now. `fingerprint` is that of the user's `bytemark_tokens` rows, to be stored with outcomes."""

    pending: PendingUser
    fingerprint: str


@dataclass(frozen=True, slots=True)
class ReadUpTo:
    """Ends a group of orders in a stream. All orders up to this user have been read, whether or not a user was due."""

    user_id: int


@dataclass(slots=True)
class Deferred:
    """Counts the orders that a stream passes over because they are deferred."""

    orders: int = 0


def pending_orders(orders: QuerySet[Order] | None = None) -> QuerySet[Order]:
    """The pending orders (among `orders`), each once, however many token rows its user has."""
    return _without_items(Order.objects.all() if orders is None else orders).filter(Exists(_token_rows()))


def pending_row_by_row(orders: QuerySet[Order]) -> QuerySet[Order]:
    """The same orders as `pending_orders`, but each row is checked through the portal's indexes. For pages of a list.

    The `NOT EXISTS` of `pending_orders` makes MariaDB read every item before the first row (1.1 s with a million
    items). The scalar subqueries here run for each row: 1 ms if the newest orders are pending, 1.2 s at worst.
    Without an index each subquery would be a full scan, so `pending_orders` is used then.
    """
    if not (is_indexed(OrderItem, "order_id") and is_indexed(OrderToken, "user_id")):
        return pending_orders(orders)
    rows = orders.alias(an_item=_first_key(_items()), a_token=_first_key(_token_rows()))
    return rows.filter(FREE, an_item__isnull=True, a_token__isnull=False)


def _without_items(orders: QuerySet[Order]) -> QuerySet[Order]:
    return orders.filter(FREE, ~Exists(_items()))


def _items() -> QuerySet[OrderItem]:
    """The items of the order in the outer query."""
    return OrderItem.objects.filter(order_id=OuterRef("pk"))


def _token_rows() -> QuerySet[OrderToken]:
    """The token rows of the user of the order in the outer query."""
    return OrderToken.objects.filter(user_id=OuterRef("user_id"))


def _first_key(rows: QuerySet[Any]) -> Subquery:
    return Subquery(rows.order_by("pk").values("pk")[:1])


def still_pending() -> Exists:
    """Condition on an outcome: its order is still pending. Other outcomes stay until they are pruned; ignore them."""
    return Exists(pending_orders().filter(pk=OuterRef("order_id")))


def is_due(now: datetime) -> Q:
    """Condition on an order joined with its outcome: scheduled runs take it, and with it all orders of its user.

    A changed token makes an order due too, but no query can see that (`_waits` does).
    """
    return Q(outcome__isnull=True) | Q(outcome__next_at__isnull=True) | Q(outcome__next_at__lte=now)


def passed_over(orders: QuerySet[Any], now: datetime) -> QuerySet[Any]:
    """The pending `orders` that scheduled runs pass over at `now`, because all of the user's orders are deferred.

    Like `is_due`, it does not see changed tokens.
    """
    due = pending_row_by_row(Order.objects.filter(is_due(now), user_id=OuterRef("user_id")))
    rows: QuerySet[Any] = orders.filter(outcome__next_at__gt=now).alias(a_due_one=_first_key(due))
    return rows.filter(a_due_one__isnull=True)


def matching(orders: QuerySet[Any], wanted: PendingFilter) -> QuerySet[Any]:
    """The pending `orders` that match the filter."""
    reasons = Q(outcome__isnull=True) if NEVER_TRIED in wanted.reasons else Q()
    if told := [reason for reason in wanted.reasons if reason != NEVER_TRIED]:
        reasons |= Q(outcome__reason__in=told)
    orders = orders.filter(reasons)
    if wanted.user is not None:
        orders = orders.filter(user_id=wanted.user)
    if wanted.first_before:
        orders = orders.filter(outcome__first_at__lt=wanted.first_before)
    if wanted.first_after:
        orders = orders.filter(outcome__first_at__gte=wanted.first_after)
    return passed_over(orders, wanted.next_after) if wanted.next_after else orders


def users_matching(wanted: PendingFilter, user_ids: Sequence[int], uuids: Collection[str] = ()) -> set[int]:
    """The users among `user_ids` with a pending order that matches. If `uuids` are given, it must also be one of them.

    Takes 20 to 50 ms for 500 users with a million items. With `pending_orders` it would take 0.7 to 1 s.
    """
    orders = pending_row_by_row(Order.objects.filter(user_id__in=user_ids))
    if uuids:
        orders = orders.alias(folded=folded_uuid()).filter(folded__in={normalise(uuid) for uuid in uuids})
    found = fetched(matching(orders, wanted).order_by().values_list("user_id", flat=True).distinct())
    return {user_id for user_id in found if user_id is not None}


def stream(
    scope: Scope,
    *,
    now: datetime,
    user_ids: Sequence[int] | None = None,
    after_user: int | None = None,
    under_way: Collection[int] = (),
    deferred: Deferred | None = None,
) -> Iterator[DueUser | ReadUpTo]:
    """The users to work now, by rising user id. Memory: a group of orders and the orders of one user.

    `user_ids` narrows the scope further, to a queued batch. `after_user` starts after that id, to continue planning.

    A user with one due order is taken with all pending orders, because they are on the same pages. Users in
    `under_way` are taken even if all their orders are deferred: a run finishes the users that it has begun. Orders
    that are passed over are counted in `deferred`, up to the last user that was yielded.

    A `ReadUpTo` follows each group of orders. So the reader can give a heartbeat and notice a stop even while many
    users are passed over.
    """
    deferred = deferred or Deferred()
    wanted = {normalise(uuid) for uuid in scope.orders}
    taken = 0
    for last_user, users in _users(_narrowed(scope, user_ids), after_user):
        for user_rows, tokens, mark in users:
            if scope.limit is not None and taken >= scope.limit:
                return
            waiting = sum(_waits(row, mark, now) for row in user_rows)
            taken_anyway = scope.tries_deferred or user_rows[0].user_id in under_way
            if waiting == len(user_rows) and not taken_anyway:
                deferred.orders += waiting
                continue
            orders = tuple(
                WantedOrder(row.id, row.uuid or "") for row in user_rows if not wanted or normalise(row.uuid) in wanted
            )
            if orders:
                taken += 1
                yield DueUser(PendingUser(user_rows[0].user_id, _candidates(user_rows, tokens), orders), mark)
        yield ReadUpTo(last_user)


def users_named_by(uuids: Collection[str]) -> dict[str, set[int]]:
    """The pending orders with one of `uuids`: normalised uuid -> user ids. Two users may have the same uuid."""
    found: defaultdict[str, set[int]] = defaultdict(set)
    for uuid, user_id in named_by(pending_orders(), uuids, "user_id"):
        if user_id is not None and fits(user_id):
            found[uuid].add(user_id)
    return dict(found)


def users_with_pending(user_ids: Collection[int]) -> set[int]:
    """The users among `user_ids` that have a pending order."""
    found: set[int] = set()
    for chunk in chunks(sorted(filter(fits, user_ids)), IDS_PER_QUERY):
        query = pending_orders().filter(user_id__in=chunk).values_list("user_id", flat=True).distinct()
        found.update(user_id for user_id in fetched(query) if user_id is not None)
    return found


def count_users() -> int:
    """The number of users with a pending order, including deferred ones. A full query, for a progress bar."""
    users: int = pending_orders().aggregate(users=Count("user_id", distinct=True))["users"]
    return users


def _narrowed(scope: Scope, user_ids: Sequence[int] | None) -> list[int] | None:
    """The ids of the users in the scope and in `user_ids`, sorted. None means all users."""
    sets = [set(scope.users)] if scope.users else []
    if user_ids is not None:  # an empty batch means no users, not all
        sets.append(set(user_ids))
    if scope.orders:
        sets.append(set().union(*users_named_by(scope.orders).values()))
    if not sets:
        return None
    return sorted(filter(fits, set.intersection(*sets)))


def _users(
    user_ids: list[int] | None, after: int | None
) -> Iterator[tuple[int, list[tuple[list[_Row], list[str | None], str]]]]:
    """The last user of each group, with its users: their pending rows (newest last), `bytemark_tokens` tokens and mark.

    The mark is that of `DueUser.fingerprint`.
    """
    keys = (
        keys_of_all(_without_items(Order.objects.all()), after) if user_ids is None else _keys_of_users(user_ids, after)
    )
    for owners in groups(keys):
        rows = _rows(owners)
        tokens = tokens_of(sorted({row.user_id for row in rows}))
        credentials = credentials_of(list(tokens)) if renews_tokens() else {}
        have = []
        for user_id, group in groupby(rows, key=lambda row: row.user_id):
            if user_id in tokens:  # a user without a row in bytemark_tokens has no pending orders
                mark = fingerprint(tokens[user_id], credentials.get(user_id, ()))
                have.append((list(group), tokens[user_id], mark))
        yield max(owners.values()), have


def _keys_of_users(user_ids: list[int], after: int | None) -> Iterator[Key]:
    """The keys of the users' free orders, including orders that have items: `_rows` drops those."""
    wanted = [user_id for user_id in user_ids if after is None or user_id > after]
    return keys_of(Order.objects.filter(FREE, user_id__in=chunk) for chunk in chunks(wanted, IDS_PER_QUERY))


def _rows(owners: dict[int, int]) -> list[_Row]:
    """The orders that still have no items and still have the same user, by user and id. Keys may be hours old."""
    fields = ("id", "order_uuid", "user_id", "oauth_token", "outcome__reason", "outcome__next_at", "outcome__tokens")
    rows: list[_Row] = []
    for chunk in chunks(list(owners), IDS_PER_QUERY):
        stored = set(fetched(OrderItem.objects.filter(order_id__in=chunk).values_list("order_id", flat=True)))
        query = Order.objects.filter(FREE, pk__in=[each for each in chunk if each not in stored])
        found = fetched(query.order_by("user_id", "id").values_list(*fields))
        rows += still_theirs((_Row(*row) for row in found), owners)
    return rows


def _candidates(rows: Sequence[_Row], tokens: Iterable[str | None]) -> tuple[Token, ...]:
    """Tokens in the order they are tried: those of the pending orders, newest first, then `bytemark_tokens`."""
    return candidates([row.token for row in reversed(rows)] + list(tokens))


def _waits(row: _Row, mark: str, now: datetime) -> bool:
    """Whether the order is deferred. If it waits for a token, a changed token ends the wait."""
    if row.next_at is None or row.next_at <= now:
        return False
    return not (row.reason in token_reasons() and row.fingerprint != mark)
