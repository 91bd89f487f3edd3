"""Fills the portal's tables with a world's rows, or with very many similar rows for measuring."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from django.conf import settings
from django.db import connection, transaction

from bytemark_sync.sandbox.records import Records

TABLES = ("bytemark_orders", "bytemark_tokens", "bytemark_order_items")
CHUNK = 5_000
ORDERS = "INSERT INTO bytemark_orders (id, order_uuid, user_id, oauth_token, amount) VALUES (%s, %s, %s, %s, %s)"
TOKENS = "INSERT INTO bytemark_tokens (user_id, token, status, email, password) VALUES (%s, %s, %s, %s, %s)"
BARE_TOKENS = "INSERT INTO bytemark_tokens (user_id, token, status) VALUES (%s, %s, %s)"
ITEMS = (
    "INSERT INTO bytemark_order_items (order_id, order_uuid, oauth_token, product_uuid, pass_uuid)"
    " VALUES (%s, %s, %s, %s, %s)"
)


Rows = Iterable[tuple[int | str | None, ...]]


def placed(statement: str, portal_database: str) -> str:
    """The statement with the portal's tables in `portal_database`, if that is a separate database."""
    if not portal_database:
        return statement
    return re.sub(rf"(?<![`.\w])({'|'.join(TABLES)})\b", rf"`{portal_database}`.\1", statement)


def fill(world: Records) -> None:
    """Insert `world`'s orders with their keys, its token rows, and items of the orders that are already stored."""
    for statement, rows in inserts(world):
        _insert(statement, rows)


def is_empty() -> bool:
    """Whether the portal's tables hold no row."""
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(placed(f"SELECT 1 FROM {table} LIMIT 1", settings.PORTAL_DATABASE))  # noqa: S608 - ours
            if cursor.fetchone():
                return False
    return True


def inserts(world: Records) -> Iterator[tuple[str, Rows]]:
    """The statements that fill the tables, with `%s` for each value, each with its rows."""
    yield ORDERS, ((o.id, o.order_uuid, o.user_id, o.oauth_token, o.amount) for o in world.orders)
    if any(row.email or row.password for row in world.tokens):
        yield TOKENS, ((row.user_id, row.token, "active", row.email, row.password) for row in world.tokens)
    else:  # the two columns may be missing where nobody is renewed
        yield BARE_TOKENS, ((row.user_id, row.token, "active") for row in world.tokens)
    yield (
        ITEMS,
        (
            (order.id, order.order_uuid, order.oauth_token, item.product, pass_uuid)
            for order in world.orders
            for item in order.stored
            for pass_uuid in item.passes
        ),
    )


def fill_many(*, pending: int, stored: int = 0, orders_per_user: int = 3, first_user: int = 1_000_000) -> None:
    """Insert `pending` orders, and `stored` ones with an item each, after the existing rows and in flat memory.

    They belong to no rider of a world. Planning, counting and admin pages are measured with them. Each user has a
    made-up token.
    """
    with connection.cursor() as cursor:
        cursor.execute(placed("SELECT COALESCE(MAX(id), 0) FROM bytemark_orders", settings.PORTAL_DATABASE))
        base = int(cursor.fetchone()[0]) + 1
    for statement, rows in inserts_many(base, pending, stored, orders_per_user, first_user):
        _insert(statement, rows)


def inserts_many(
    base: int, pending: int, stored: int, orders_per_user: int, first_user: int
) -> Iterator[tuple[str, Rows]]:
    """As `inserts`, for `fill_many`. Order keys begin at `base`. Stored orders come first, as old orders have items."""
    total = pending + stored
    users = -(-total // orders_per_user)

    def order(number: int) -> tuple[int, str, int, str, str]:
        user = first_user + number % users
        return base + number, f"00000000-0000-4000-a000-{base + number:012x}", user, f"bulk-{user}", "0"

    yield ORDERS, (order(number) for number in range(total))
    yield BARE_TOKENS, ((first_user + number, f"bulk-{first_user + number}", "active") for number in range(users))
    yield (
        ITEMS,
        (
            (key, uuid, token, f"product-{key % 8}", f"pass-{key}")
            for key, uuid, _, token, _ in (order(number) for number in range(stored))
        ),
    )


def _insert(statement: str, rows: Rows) -> None:
    """One transaction a chunk. A single one would grow the undo log; one a row would wait for the disk each time."""
    left = iter(rows)
    while chunk := list(islice(left, CHUNK)):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany(placed(statement, settings.PORTAL_DATABASE), chunk)
