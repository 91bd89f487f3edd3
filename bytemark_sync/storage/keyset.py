"""Reads the portal's tables in chunks of keys, in flat memory. Django has no server-side cursor on MySQL."""

from __future__ import annotations

import logging
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from django.db.models import CharField, F, Func, Q, QuerySet
from django.db.models.functions import Lower, Trim

from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import normalise
from bytemark_sync.models import Order, OrderToken
from bytemark_sync.models.portal import CREDENTIALS
from bytemark_sync.storage.database_retry import retrying
from bytemark_sync.storage.fingerprints import credential_text

logger = logging.getLogger(__name__)


class _OwnedRow(Protocol):
    @property
    def id(self) -> int: ...
    @property
    def user_id(self) -> int | None: ...


T = TypeVar("T")
R = TypeVar("R", bound=_OwnedRow)
Key = tuple[int, int]
KEYS_PER_WINDOW = 20_000
ORDERS_PER_GROUP = 1000
IDS_PER_QUERY = 500
BIGINT_MAX = 2**63 - 1


def folded_uuid() -> Lower:
    """A column that can be compared with `normalise`d uuids, whatever its collation."""
    return Lower(Trim(_AnyText(F("order_uuid"))))


class _AnyText(Func):
    """The column as utf8mb4, so that any text can be compared with a latin1 column on MySQL."""

    output_field = CharField()
    template = "%(expressions)s"

    def as_mysql(self, compiler, connection, **extra):  # type: ignore[no-untyped-def]
        return self.as_sql(compiler, connection, template="CONVERT(%(expressions)s USING utf8mb4)", **extra)


def keys_of_all(orders: QuerySet[Order], after: int | None) -> Iterator[Key]:
    """(user id, order id) of `orders`, rising, after the user `after`. Orders without a user are left out.

    The chunks are few and large, because MySQL reads all items for each such query (0.5 s with a million items;
    docs/decisions/0013-windows-of-keys.md).
    A row may have changed by the time it is read by its key (`still_theirs`).
    """
    where = Q(user_id__isnull=False) if after is None else Q(user_id__gt=after)
    while True:
        window = orders.filter(where).order_by("user_id", "id").values_list("user_id", "id")[:KEYS_PER_WINDOW]
        rows = fetched(window)
        last = rows[-1] if len(rows) == KEYS_PER_WINDOW else None
        numbers = array("q", (number for key in usable(rows) for number in key))
        del rows
        yield from zip(numbers[::2], numbers[1::2], strict=True)
        if last is None:
            return
        user_id, order_id = last
        where = Q(user_id__gte=user_id) & (Q(user_id__gt=user_id) | Q(id__gt=order_id))


def keys_of(parts: Iterable[QuerySet[Order]]) -> Iterator[Key]:
    """The same for queries that each give few rows."""
    for part in parts:
        yield from usable(fetched(part.order_by("user_id", "id").values_list("user_id", "id")))


def named_by(orders: QuerySet[Order], uuids: Collection[str], column: str) -> Iterator[tuple[str, Any]]:
    """(normalised uuid, `column`) of those among `orders` that have one of `uuids`, by text in any collation."""
    folded = orders.annotate(folded=folded_uuid())
    for chunk in chunks(sorted({normalise(uuid) for uuid in uuids} - {""}), IDS_PER_QUERY):
        for uuid, value in fetched(folded.filter(folded__in=chunk).values_list("order_uuid", column)):
            yield normalise(uuid), value


def candidates(texts: Iterable[str | None]) -> tuple[Token, ...]:
    """The tokens to try, in this order: each once, without blanks."""
    return tuple(Token(text) for text in dict.fromkeys((text or "").strip() for text in texts) if text)


def fits(number: int) -> bool:
    """Whether our own tables and the database's parameters can hold the id, which may be unsigned in the portal."""
    return -BIGINT_MAX - 1 <= number <= BIGINT_MAX


def usable(rows: Iterable[tuple[int | None, int]]) -> Iterator[Key]:
    """The (user id, order id) that can be used: there is a user, and both numbers fit."""
    beyond = 0
    for user_id, order_id in rows:
        if user_id is None:
            continue
        if fits(user_id) and fits(order_id):
            yield user_id, order_id
        else:
            beyond += 1
    if beyond:
        logger.warning("%d orders are passed over: an id of theirs does not fit into a signed 64-bit number", beyond)


def groups(keys: Iterable[Key]) -> Iterator[dict[int, int]]:
    """Order id -> user id, in groups of about `ORDERS_PER_GROUP` orders. No user is split over two groups."""
    group: dict[int, int] = {}
    last: int | None = None
    for user_id, order_id in keys:
        if user_id != last and len(group) >= ORDERS_PER_GROUP:
            yield group
            group = {}
        last = user_id
        group[order_id] = user_id
    if group:
        yield group


def still_theirs(rows: Iterable[R], owners: Mapping[int, int]) -> list[R]:
    """The rows whose order still has the user that its key had.

    The other orders have another user by now, who may have been read already. The next run takes them.
    """
    return [row for row in rows if owners.get(row.id) == row.user_id]


def tokens_of(user_ids: list[int]) -> dict[int, list[str | None]]:
    """Each user's `bytemark_tokens`, newest row first. Users without a row are left out."""
    tokens: defaultdict[int, list[str | None]] = defaultdict(list)
    for chunk in chunks(user_ids, IDS_PER_QUERY):
        query = OrderToken.objects.filter(user_id__in=chunk).order_by("-id").values_list("user_id", "token")
        for user_id, token in fetched(query):
            tokens[user_id or 0].append(token)
    return dict(tokens)


def credentials_of(user_ids: list[int]) -> dict[int, list[str]]:
    """A text for the e-mail and password of each of the users' rows, for `fingerprint` alone."""
    found: defaultdict[int, list[str]] = defaultdict(list)
    for chunk in chunks(user_ids, IDS_PER_QUERY):
        query = OrderToken.objects.filter(user_id__in=chunk).values_list("user_id", *CREDENTIALS)
        for user_id, email, password in fetched(query):
            found[user_id or 0].append(credential_text(email, password))
    return dict(found)


def fetched(query: Iterable[T]) -> list[T]:
    """All rows of the query. It is repeated after temporary errors. Raises `DatabaseGone`."""
    return retrying(lambda: list(query))


def chunks(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
