"""Which orders are pending, and whose turn it is, streamed user by user in flat memory.

An order is pending when it has no row in `bytemark_order_items`, its `amount` is `'0'`, and its user has a row in
`bytemark_tokens` (CONTRACT: Which orders are pending). Pages are cut by key: Django has no server-side cursor on MySQL.
"""

from __future__ import annotations

import hashlib
import hmac
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import NamedTuple, TypeVar

from django.conf import settings
from django.db.models import CharField, Count, Exists, F, Func, OuterRef, Q, QuerySet
from django.db.models.functions import Lower, Trim

from bytemark_sync.bytemark.token import Token
from bytemark_sync.database import retrying
from bytemark_sync.matching import PendingUser, WantedOrder
from bytemark_sync.models import Order, OrderItem, OrderToken
from bytemark_sync.models.portal import FREE
from bytemark_sync.reasons import Reason
from bytemark_sync.scope import Scope

T = TypeVar("T")
_Key = tuple[int, int]
KEYS_A_WINDOW = 20_000
ORDERS_A_GROUP = 1000
IDS_A_QUERY = 500
BIGINT_MAX = 2**63 - 1


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
    """A user whose turn it is, with the fingerprint of the current `bytemark_tokens` to note beside an outcome."""

    pending: PendingUser
    fingerprint: str


@dataclass(slots=True)
class Deferred:
    """Counts the orders that a stream passes over because their next try is still to come."""

    orders: int = 0


def pending_orders(orders: QuerySet[Order] | None = None) -> QuerySet[Order]:
    """Every pending order once (among `orders`), however many token rows its user has."""
    return (Order.objects.all() if orders is None else orders).filter(
        FREE,
        ~Exists(OrderItem.objects.filter(order_id=OuterRef("pk"))),
        Exists(OrderToken.objects.filter(user_id=OuterRef("user_id"))),
    )


def normalise(uuid: str | None) -> str:
    """Uuids match whatever their letter case and surrounding blanks (CONTRACT: Towards Bytemark)."""
    return (uuid or "").strip().lower()


def fingerprint(tokens: Iterable[str | None]) -> str:
    """A keyed hash of a user's tokens: tells that they changed without telling what they are."""
    text = "\0".join(sorted(token or "" for token in tokens))
    return hmac.new(
        str(settings.SECRET_KEY).encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256
    ).hexdigest()[:32]


def stream(
    scope: Scope,
    *,
    now: datetime,
    user_ids: Sequence[int] | None = None,
    after_user: int | None = None,
    deferred: Deferred | None = None,
) -> Iterator[DueUser]:
    """The users whose turn it is, by rising user id; `user_ids` narrows the scope further (a queued batch), and
    `after_user` begins behind that id (planning that goes on).

    A user with one order that is due is taken with all orders, for they stand in the same pages. Orders passed over are
    counted in `deferred`. Memory: a page of rows, and the orders of one user.
    """
    deferred = deferred or Deferred()
    wanted = {normalise(uuid) for uuid in scope.orders}
    taken = 0
    for rows in _users(_narrowed(scope, user_ids), after_user):
        for user_rows, tokens in rows:
            if scope.limit is not None and taken >= scope.limit:
                return
            mark = fingerprint(tokens)
            waiting = sum(_waits(row, mark, now) for row in user_rows)
            if waiting == len(user_rows) and not scope.tries_deferred:
                deferred.orders += waiting
                continue
            orders = tuple(
                WantedOrder(row.id, row.uuid or "") for row in user_rows if not wanted or normalise(row.uuid) in wanted
            )
            if orders:
                taken += 1
                yield DueUser(PendingUser(user_rows[0].user_id, _candidates(user_rows, tokens), orders), mark)


def users_named_by(uuids: Collection[str]) -> dict[str, int]:
    """Pending orders among `uuids`: normalised uuid -> user id. The match is by text in any collation."""
    folded = pending_orders().annotate(folded=Lower(Trim(_AnyText(F("order_uuid")))))
    found: dict[str, int] = {}
    for chunk in _chunks(sorted({normalise(uuid) for uuid in uuids} - {""}), IDS_A_QUERY):
        query = folded.filter(folded__in=chunk).values_list("order_uuid", "user_id")
        found.update((normalise(uuid), user_id) for uuid, user_id in _fetched(query) if user_id is not None)
    return found


def users_with_pending(user_ids: Collection[int]) -> set[int]:
    """Those of `user_ids` that have a pending order."""
    found: set[int] = set()
    for chunk in _chunks(sorted(user_id for user_id in user_ids if abs(user_id) <= BIGINT_MAX), IDS_A_QUERY):
        query = pending_orders().filter(user_id__in=chunk).values_list("user_id", flat=True).distinct()
        found.update(user_id for user_id in _fetched(query) if user_id is not None)
    return found


def count_users() -> int:
    """Users with a pending order, deferred ones included; one full query, for a progress bar."""
    users: int = pending_orders().aggregate(users=Count("user_id", distinct=True))["users"]
    return users


class _AnyText(Func):
    """The column as utf8mb4, so that any text may be compared with a latin1 column on MySQL."""

    output_field = CharField()
    template = "%(expressions)s"

    def as_mysql(self, compiler, connection, **extra):  # type: ignore[no-untyped-def]
        return self.as_sql(compiler, connection, template="CONVERT(%(expressions)s USING utf8mb4)", **extra)


def _narrowed(scope: Scope, user_ids: Sequence[int] | None) -> list[int] | None:
    """The user ids that may come, sorted; None: all."""
    sets = [set(scope.users)] if scope.users else []
    if user_ids is not None:  # an empty batch is nobody, not everybody
        sets.append(set(user_ids))
    if scope.orders:
        sets.append(set(users_named_by(scope.orders).values()))
    if not sets:
        return None
    return sorted(user_id for user_id in set.intersection(*sets) if abs(user_id) <= BIGINT_MAX)


def _users(user_ids: list[int] | None, after: int | None) -> Iterator[list[tuple[list[_Row], list[str | None]]]]:
    """Group by group: each whole user's pending rows (newest order last) with the user's `bytemark_tokens`."""
    keys = _keys(after) if user_ids is None else _keys_of(user_ids, after)
    for ids in _groups(keys):
        rows = _rows(ids)
        tokens = _tokens(sorted({row.user_id for row in rows}))
        users = (list(group) for _, group in groupby(rows, key=lambda row: row.user_id))
        # Without a row in bytemark_tokens nothing of the user is pending.
        yield [(user_rows, tokens[user_rows[0].user_id]) for user_rows in users if user_rows[0].user_id in tokens]


def _keys(after: int | None) -> Iterator[_Key]:
    """(user id, order id) of all free orders without items, rising.

    In few large windows of bare numbers, because MySQL reads all items anew for each such query (0.5 s with a million).
    """
    free = Order.objects.filter(FREE, ~Exists(OrderItem.objects.filter(order_id=OuterRef("pk"))))
    where = Q(user_id__isnull=False) if after is None else Q(user_id__gt=after)
    while True:
        window = free.filter(where).order_by("user_id", "id").values_list("user_id", "id")[:KEYS_A_WINDOW]
        numbers = array("q", (number or 0 for key in _fetched(window) for number in key))
        yield from zip(numbers[::2], numbers[1::2], strict=True)
        if len(numbers) < 2 * KEYS_A_WINDOW:
            return
        user_id, order_id = numbers[-2:]
        where = Q(user_id__gte=user_id) & (Q(user_id__gt=user_id) | Q(id__gt=order_id))


def _keys_of(user_ids: list[int], after: int | None) -> Iterator[_Key]:
    """The same for some users, those with items included: `_rows` sorts them out by key."""
    for chunk in _chunks([user_id for user_id in user_ids if after is None or user_id > after], IDS_A_QUERY):
        query = Order.objects.filter(FREE, user_id__in=chunk).order_by("user_id", "id")
        yield from ((user_id or 0, order_id) for user_id, order_id in _fetched(query.values_list("user_id", "id")))


def _groups(keys: Iterable[_Key]) -> Iterator[list[int]]:
    """Order ids in groups of about `ORDERS_A_GROUP`, cut between two users."""
    group: list[int] = []
    last: int | None = None
    for user_id, order_id in keys:
        if user_id != last and len(group) >= ORDERS_A_GROUP:
            yield group
            group = []
        last = user_id
        group.append(order_id)
    if group:
        yield group


def _rows(ids: list[int]) -> list[_Row]:
    """The orders that still have no items, by user and key; a long run's window may be hours old."""
    fields = ("id", "order_uuid", "user_id", "oauth_token", "outcome__reason", "outcome__next_at", "outcome__tokens")
    rows: list[_Row] = []
    for chunk in _chunks(ids, IDS_A_QUERY):
        stored = set(_fetched(OrderItem.objects.filter(order_id__in=chunk).values_list("order_id", flat=True)))
        query = Order.objects.filter(FREE, pk__in=[each for each in chunk if each not in stored])
        rows += [_Row(*row) for row in _fetched(query.order_by("user_id", "id").values_list(*fields))]
    return rows


def _tokens(user_ids: list[int]) -> dict[int, list[str | None]]:
    """Each user's `bytemark_tokens`, newest row first; a user without a row is not in it."""
    tokens: defaultdict[int, list[str | None]] = defaultdict(list)
    for chunk in _chunks(user_ids, IDS_A_QUERY):
        query = OrderToken.objects.filter(user_id__in=chunk).order_by("-id").values_list("user_id", "token")
        for user_id, token in _fetched(query):
            tokens[user_id or 0].append(token)
    return dict(tokens)


def _candidates(rows: Sequence[_Row], tokens: Iterable[str | None]) -> tuple[Token, ...]:
    """Tokens in the order they are tried: the pending orders' own, newest order first, then `bytemark_tokens`."""
    texts = [row.token for row in reversed(rows)] + list(tokens)
    return tuple(Token(text) for text in dict.fromkeys((text or "").strip() for text in texts) if text)


def _waits(row: _Row, mark: str, now: datetime) -> bool:
    """Whether the order is deferred; a changed token ends a token deferral."""
    if row.next_at is None or row.next_at <= now:
        return False
    return not (row.reason == Reason.TOKEN_REJECTED and row.fingerprint != mark)


def _fetched(query: Iterable[T]) -> list[T]:
    return retrying(lambda: list(query))


def _chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
