"""Reading the portal's tables by windows of keys, in flat memory: Django has no server-side cursor on MySQL."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from django.db.models import CharField, F, Func, Q, QuerySet
from django.db.models.functions import Lower, Trim

from bytemark_sync.database import retrying
from bytemark_sync.models import Order, OrderToken

T = TypeVar("T")
Key = tuple[int, int]
KEYS_A_WINDOW = 20_000
ORDERS_A_GROUP = 1000
IDS_A_QUERY = 500
BIGINT_MAX = 2**63 - 1


def folded_uuid() -> Lower:
    """A column to compare with `normalise`d uuids, whatever its collation."""
    return Lower(Trim(_AnyText(F("order_uuid"))))


class _AnyText(Func):
    """The column as utf8mb4, so that any text may be compared with a latin1 column on MySQL."""

    output_field = CharField()
    template = "%(expressions)s"

    def as_mysql(self, compiler, connection, **extra):  # type: ignore[no-untyped-def]
        return self.as_sql(compiler, connection, template="CONVERT(%(expressions)s USING utf8mb4)", **extra)


def keys_of_all(orders: QuerySet[Order], after: int | None) -> Iterator[Key]:
    """(user id, order id) of `orders`, rising, behind the user `after`; orders of no user are left out.

    In few large windows of bare numbers, because MySQL reads all items anew for each such query (0.5 s with a million).
    """
    where = Q(user_id__isnull=False) if after is None else Q(user_id__gt=after)
    while True:
        window = orders.filter(where).order_by("user_id", "id").values_list("user_id", "id")[:KEYS_A_WINDOW]
        numbers = array("q", (number or 0 for key in fetched(window) for number in key))
        yield from zip(numbers[::2], numbers[1::2], strict=True)
        if len(numbers) < 2 * KEYS_A_WINDOW:
            return
        user_id, order_id = numbers[-2:]
        where = Q(user_id__gte=user_id) & (Q(user_id__gt=user_id) | Q(id__gt=order_id))


def groups(keys: Iterable[Key]) -> Iterator[list[int]]:
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


def tokens_of(user_ids: list[int]) -> dict[int, list[str | None]]:
    """Each user's `bytemark_tokens`, newest row first; a user without a row is not in it."""
    tokens: defaultdict[int, list[str | None]] = defaultdict(list)
    for chunk in chunks(user_ids, IDS_A_QUERY):
        query = OrderToken.objects.filter(user_id__in=chunk).order_by("-id").values_list("user_id", "token")
        for user_id, token in fetched(query):
            tokens[user_id or 0].append(token)
    return dict(tokens)


def fetched(query: Iterable[T]) -> list[T]:
    """All rows; asked again where the database was away. Raises `DatabaseGone`."""
    return retrying(lambda: list(query))


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
