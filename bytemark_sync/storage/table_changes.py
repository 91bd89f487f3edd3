"""Lets `migrate` change tables while clusters write to them (docs/decisions/0017-two-versions-side-by-side.md).

On MariaDB a change of a table may wait for a row lock, on another table of a foreign key, of a transaction that in turn
waits for the change. The server does not see that they wait for each other. The change then fails with a lock wait
timeout, and half a migration is not undone there. So a change waits for a moment only, and is tried again.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import OperationalError
from django.db.backends.base.base import BaseDatabaseWrapper
from MySQLdb.constants import ER

WAIT_SECONDS = 1
PAUSE_SECONDS = 0.2
PATIENCE_SECONDS = 120.0
_CHANGE = re.compile(r"\s*(ALTER|CREATE|DROP|RENAME)\s", re.IGNORECASE)
_LOCKED = {ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK}
_LIMITS = ("lock_wait_timeout", "innodb_lock_wait_timeout")
Execute = Callable[[str, Any, bool, dict[str, Any]], Any]


@contextmanager
def repeated_table_changes(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """Within the block a change of a table that meets others' locks is tried again, for `PATIENCE_SECONDS`."""
    if connection.vendor != "mysql":
        yield
        return
    with connection.execute_wrapper(_repeat):
        yield


def _repeat(execute: Execute, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
    if not _CHANGE.match(sql):
        return execute(sql, params, many, context)
    for limit in _LIMITS:
        execute(f"SET @{limit} = @@SESSION.{limit}, SESSION {limit} = {WAIT_SECONDS}", None, False, context)
    end = time.monotonic() + PATIENCE_SECONDS
    try:
        while True:
            try:
                return execute(sql, params, many, context)
            except OperationalError as error:
                if error.args[0] not in _LOCKED or time.monotonic() > end:
                    raise
                time.sleep(PAUSE_SECONDS)  # whoever waited for the change gets on
    finally:
        for limit in _LIMITS:
            execute(f"SET SESSION {limit} = @{limit}", None, False, context)
