"""The schema of the portal's tables. Read from MySQL here, because Django's introspection knows one database only.

A database user without any right on a table does not see it, so it counts as missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

from bytemark_sync.models import Order, OrderItem, OrderToken
from bytemark_sync.models.portal import CREDENTIALS, bare_name

PORTAL: tuple[type[Model], ...] = (Order, OrderToken, OrderItem)


def columns_needed(model: type[Model]) -> list[str]:
    """The columns that the product needs of a portal table, as the models name them."""
    names = [str(field.column) for field in model._meta.local_concrete_fields]
    if model is OrderToken and not renews_tokens():
        return [name for name in names if name not in CREDENTIALS]
    return names


def renews_tokens() -> bool:
    """Whether the settings switch renewal on (`BytemarkSettings.renews_tokens` says the same to the API client)."""
    return bool(settings.BYTEMARK_ACCOUNT_API_URL and settings.BYTEMARK_CLIENT_ID)


@dataclass(frozen=True, slots=True)
class Column:
    """`wants_value`: the server refuses an INSERT without the column."""

    name: str
    wants_value: bool


class PortalSchema:
    """The three tables as `connection` sees them. Column names are in lower case."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self._connection = connection
        self.database: str = settings.PORTAL_DATABASE or str(connection.settings_dict["NAME"])

    def present(self) -> list[type[Model]]:
        """The models whose table exists."""
        if self._connection.vendor == "mysql":
            names = {row[0] for row in self._ask("SELECT table_name FROM information_schema.tables WHERE {here}")}
        else:
            names = set(self._connection.introspection.table_names())
        return [model for model in PORTAL if bare_name(model) in names]

    def columns(self, model: type[Model]) -> list[Column]:
        if self._connection.vendor == "mysql":
            rows = self._ask(
                "SELECT column_name, is_nullable = 'NO' AND column_default IS NULL"
                " AND extra NOT LIKE '%%auto_increment%%' AND extra NOT LIKE '%%generated%%'"
                " FROM information_schema.columns WHERE {here} AND table_name = %s",
                bare_name(model),
            )
            return [Column(str(name).lower(), bool(wants)) for name, wants in rows]
        with self._connection.cursor() as cursor:
            found = self._connection.introspection.get_table_description(cursor, bare_name(model))
        return [Column(each.name.lower(), not each.null_ok and each.default is None) for each in found]

    def is_indexed(self, model: type[Model], column: str) -> bool:
        """Whether `column` is the first column of an index."""
        if self._connection.vendor == "mysql":
            rows = self._ask(
                "SELECT 1 FROM information_schema.statistics WHERE {here} AND table_name = %s AND seq_in_index = 1"
                " AND LOWER(column_name) = %s LIMIT 1",
                *(bare_name(model), column),
            )
            return bool(rows)
        with self._connection.cursor() as cursor:
            found = self._connection.introspection.get_constraints(cursor, bare_name(model))
        return any(
            (each["index"] or each["unique"] or each["primary_key"])
            and each["columns"]
            and each["columns"][0].lower() == column
            for each in found.values()
        )

    def engine_without_transactions(self, model: type[Model]) -> str:
        """The table's storage engine if it has no transactions. Such an engine locks no rows and rolls nothing back."""
        if self._connection.vendor != "mysql":
            return ""
        rows = self._ask(
            "SELECT t.engine FROM information_schema.tables t JOIN information_schema.engines e ON e.engine = t.engine"
            " WHERE t.{here} AND t.table_name = %s AND e.transactions <> 'YES'",
            bare_name(model),
        )
        return str(rows[0][0]) if rows else ""

    def _ask(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(query.format(here="table_schema = %s"), [self.database, *values])
            return list(cursor.fetchall())


@cache
def is_indexed(model: type[Model], column: str) -> bool:
    """`PortalSchema.is_indexed`, read once a process."""
    return PortalSchema(connection).is_indexed(model, column)
