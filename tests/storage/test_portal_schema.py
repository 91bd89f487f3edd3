"""What the product sees of the portal's tables. On a server, with the rights of the contract: tests/checks."""

from __future__ import annotations

import pytest
from django.db import connection

from bytemark_sync.models import Order, OrderItem, OrderToken
from bytemark_sync.storage.portal_schema import Column, PortalSchema

pytestmark = pytest.mark.django_db


@pytest.fixture
def schema() -> PortalSchema:
    return PortalSchema(connection)


def execute(*statements: str) -> None:
    """DDL that goes with the test's transaction."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def test_a_table_that_is_missing_is_not_among_the_present(schema: PortalSchema) -> None:
    assert schema.present() == [Order, OrderToken, OrderItem]
    execute("ALTER TABLE bytemark_tokens RENAME TO away")
    assert schema.present() == [Order, OrderItem]


def test_a_column_wants_a_value_if_it_takes_no_null_and_has_no_default(schema: PortalSchema) -> None:
    execute(
        "ALTER TABLE bytemark_tokens RENAME TO away",
        "CREATE TABLE bytemark_tokens (Id INTEGER NOT NULL DEFAULT 1, Token TEXT NOT NULL, status TEXT)",
    )
    assert schema.columns(OrderToken) == [Column("id", False), Column("token", True), Column("status", False)]


def test_an_index_serves_the_column_that_it_begins_with(schema: PortalSchema) -> None:
    execute(
        "ALTER TABLE bytemark_tokens RENAME TO away",
        "CREATE TABLE bytemark_tokens (id INTEGER PRIMARY KEY, user_id INT, Token TEXT, status TEXT)",
    )
    assert [schema.is_indexed(OrderToken, name) for name in ("id", "user_id", "token")] == [True, False, False]
    execute("CREATE INDEX several ON bytemark_tokens (Token, user_id)")
    assert [schema.is_indexed(OrderToken, name) for name in ("id", "user_id", "token")] == [True, False, True]


def test_sqlite_has_no_engine_without_transactions(schema: PortalSchema) -> None:
    assert [schema.engine_without_transactions(model) for model in (Order, OrderToken, OrderItem)] == ["", "", ""]
