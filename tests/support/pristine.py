"""The database of the tests within this process, as `migrate` left it, in milliseconds.

After each test that commits, Django's own `flush` has every permission, group and schedule made anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from django.db import connection
from django.test import TransactionTestCase


@contextmanager
def restored_after_each_test() -> Iterator[None]:
    """While it is open, each test with `transaction=True` ends with the database as it is now. SQLite alone."""
    connection.ensure_connection()
    if connection.vendor != "sqlite":
        yield
        return
    flush = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]
    with closing(sqlite3.connect(":memory:")) as pristine:
        connection.connection.backup(pristine)

        def restore(_test: TransactionTestCase) -> None:
            connection.ensure_connection()
            pristine.backup(connection.connection)

        TransactionTestCase._fixture_teardown = restore  # type: ignore[attr-defined]
        try:
            yield
        finally:
            TransactionTestCase._fixture_teardown = flush  # type: ignore[attr-defined]
