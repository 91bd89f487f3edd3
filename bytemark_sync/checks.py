"""System checks of the portal's tables and of the Bytemark settings (`manage.py check --database default`).

E001 a portal table lacks a column         E002 some portal tables are there, others not
E003 a portal table knows no transaction   E004 the items table wants a value for an unknown column
W001 no index on items' order_id           W002 no index on orders' user_id
E010 a BYTEMARK_* setting cannot be used   W010 BYTEMARK_CUSTOMER_API_URL is not set
W011 ALLOWED_HOSTS is empty
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.models import Model

from bytemark_sync.config import bytemark_settings
from bytemark_sync.models import Order, OrderItem, OrderToken

PORTAL: tuple[type[Model], ...] = (Order, OrderToken, OrderItem)
INDEXES = (
    (
        "W001",
        OrderItem,
        "order_id",
        "every search for pending orders and every write reads the whole items table: 0.1 s with 200,000 items,"
        " minutes a run with millions",
    ),
    (
        "W002",
        Order,
        "user_id",
        "every page of pending users sorts the whole order table: about a second a page with a million orders",
    ),
)


@register(Tags.database)
def check_portal(databases: Sequence[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """The portal's tables hold the columns that the product reads, and the indexes that it leans on."""
    messages: list[CheckMessage] = []
    for alias in databases or ():
        connection = connections[alias]
        with connection.cursor() as cursor:
            present = set(connection.introspection.table_names(cursor))
            there = [model for model in PORTAL if model._meta.db_table in present]
            if not there:
                continue  # nothing to look at before the first migrate
            messages += [_missing_table(model) for model in PORTAL if model not in there]
            for model in there:
                table = connection.introspection.get_table_description(cursor, model._meta.db_table)
                messages += _missing_columns(model, {column.name.lower() for column in table})
                messages += _without_transactions(connection, cursor, model)
                if model is OrderItem:
                    messages += _unknown_obligations(table)
            for number, model, column, cost in INDEXES:
                if model in there and not _indexed(connection, cursor, model, column):
                    messages.append(_missing_index(number, model, column, cost))
    return messages


@register()
def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """`migrate` and the admin work without the API's URL, so that its absence is a warning here."""
    if not settings.BYTEMARK_CUSTOMER_API_URL:
        return [
            Warning(
                "BYTEMARK_CUSTOMER_API_URL is not set: nothing can be synced.",
                hint="Set it to Bytemark's customer API, e.g. https://overture.bytemark.co",
                id="bytemark_sync.W010",
            )
        ]
    try:
        bytemark_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="Mend it in the environment or in .env.", id="bytemark_sync.E010")]
    return []


@register()
def check_hosts(**kwargs: Any) -> list[CheckMessage]:
    """The command and the queue need no host name, so that this is a warning; Django says it under --deploy alone."""
    if settings.ALLOWED_HOSTS or settings.DEBUG:
        return []
    return [
        Warning(
            "ALLOWED_HOSTS is empty: the admin answers every request with 400.",
            hint="Set it to the host names of the admin, e.g. sync.example.org",
            id="bytemark_sync.W011",
        )
    ]


def _missing_table(model: type[Model]) -> CheckMessage:
    return Error(
        f"The portal table {model._meta.db_table} is missing while others of the portal are there.",
        hint="Check that DATABASE_URL names the portal database.",
        id="bytemark_sync.E002",
    )


def _missing_columns(model: type[Model], present: set[str]) -> list[CheckMessage]:
    return [
        Error(
            f"The portal table {model._meta.db_table} has no column {field.column}.",
            hint="The product reads this column and never adds one to a portal table.",
            id="bytemark_sync.E001",
        )
        for field in model._meta.local_concrete_fields
        if str(field.column).lower() not in present
    ]


def _without_transactions(connection: Any, cursor: Any, model: type[Model]) -> list[CheckMessage]:
    """On MyISAM and the like no row is locked and nothing is rolled back."""
    if connection.vendor != "mysql":
        return []
    cursor.execute(
        "SELECT t.engine FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine"
        " WHERE t.table_schema = DATABASE() AND t.table_name = %s AND e.transactions <> 'YES'",
        [model._meta.db_table],
    )
    return [
        Error(
            f"The portal table {model._meta.db_table} is of the engine {engine}, which knows no transactions.",
            hint="An order could be stored twice, or half. Ask the portal's owners to make it InnoDB.",
            id="bytemark_sync.E003",
        )
        for (engine,) in cursor.fetchall()
    ]


def _unknown_obligations(table: Sequence[Any]) -> list[CheckMessage]:
    """Columns of the items table that take neither nothing nor a default."""
    known = {str(field.column).lower() for field in OrderItem._meta.local_concrete_fields}
    return [
        Error(
            f"The portal table {OrderItem._meta.db_table} wants a value for its column {column.name}.",
            hint="The product does not know the column, so nothing can be stored: give it a default, or allow NULL.",
            id="bytemark_sync.E004",
        )
        for column in table
        if column.name.lower() not in known and not column.null_ok and column.default is None
    ]


def _indexed(connection: Any, cursor: Any, model: type[Model], column: str) -> bool:
    constraints = connection.introspection.get_constraints(cursor, model._meta.db_table)
    return any(
        (each["index"] or each["unique"] or each["primary_key"])
        and each["columns"]
        and each["columns"][0].lower() == column
        for each in constraints.values()
    )


def _missing_index(number: str, model: type[Model], column: str, cost: str) -> CheckMessage:
    return Warning(
        f"The portal table {model._meta.db_table} has no index that begins with {column}: {cost}.",
        hint="Ask the portal's owners for one; the product never adds an index to a portal table.",
        id=f"bytemark_sync.{number}",
    )
