"""Database work that survives what passes: deadlocks, lock waits, a restarted or killed connection.

Anything that does not pass within `PATIENCE` seconds, or that never does (a full disk), ends as `DatabaseGone` in words
for a person. A transaction is repeated as a whole, so nothing is ever half-written.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds to wait for the database before a run ends."""

_LOCKED = {1205, 1213, 3572}  # lock wait timeout, deadlock, NOWAIT
_LOST = {1040, 1053, 1077, 1152, 1158, 1159, 1160, 1161, 1927, 2002, 2003, 2006, 2013, 2014, 2055, 4031}

_NAMES = {1045, 1049, 1050, 1054, 1142, 1146, 1364}  # what they quote are names of users, tables and columns
_HINTS = (
    ({1050}, ("already exists",), "on a portal that has its tables, run manage.py migrate --fake-initial"),
    ({1146}, ("no such table",), "run manage.py migrate (on a portal that has its tables: migrate --fake-initial)"),
    ({1054}, ("no such column",), "manage.py check --database default names what is missing"),
)
_VALUE = {1267, 1366, 3988}  # MySQL: a text that the column's character set cannot hold or compare


class DatabaseGone(Exception):
    """The database cannot be worked with, and waiting does not help; the text says how it fails, without values."""


class ValueRefused(Exception):
    """The database refused a row for its values; the text names the column where it is known, never the value."""


def retrying(work: Callable[[], T], *, patience: float = PATIENCE) -> T:
    """`work()` outside a transaction, again after whatever passes; it must be safe to repeat."""
    began = time.monotonic()
    tries = 0
    while True:
        try:
            return work()
        except (DataError, IntegrityError) as error:
            raise ValueRefused(_refusal(error)) from None
        except (OperationalError, InterfaceError) as error:
            if error.args and error.args[0] in _VALUE:
                raise ValueRefused(_refusal(error)) from None
            passing, lost = _kind(error)
            if connection.in_atomic_block:
                raise
            if not passing or time.monotonic() - began > patience:
                raise DatabaseGone(_words(error)) from None
            if lost:
                connection.close()
            words = _words(error)
        except DatabaseError as error:  # a table that is missing, a file that is no database: nothing that passes
            if connection.in_atomic_block:
                raise
            raise DatabaseGone(_words(error)) from None
        tries += 1
        if tries == 5:
            logger.warning("%s; waiting for it, up to %.0f s", words, patience)
        time.sleep(random.uniform(0.01, min(2.0, 0.05 * 2**tries)))


def in_transaction(work: Callable[[], T], *, patience: float = PATIENCE) -> T:
    """`work()` in a transaction of its own, the whole transaction again after whatever passes."""

    def attempt() -> T:
        with transaction.atomic():
            return work()

    return retrying(attempt, patience=patience)


def _kind(error: Exception) -> tuple[bool, bool]:
    """(passes by itself, the connection is lost)."""
    code = error.args[0] if error.args else None
    if isinstance(code, int):
        lost = code in _LOST or (isinstance(error, InterfaceError) and code == 0)
        return lost or code in _LOCKED, lost
    text = str(error).lower()
    locked = "is locked" in text or "is busy" in text
    lost = "closed" in text
    return locked or lost, lost


def explain(error: DatabaseError | InterfaceError) -> str:
    """Any failure of the database for a person; no text in it is a row's value."""
    if isinstance(error, DataError | IntegrityError):
        return _refusal(error)
    return _words(error)


def _words(error: Exception) -> str:
    """The server's own words; quoted parts, which may be a row's values, only of errors known to quote none."""
    code, *rest = error.args or ("",)
    if isinstance(code, int):
        words = str(rest[0]) if rest else "connection lost"
        if code not in _LOST | _LOCKED | _NAMES:
            words = re.sub(r"'[^']*'", "'...'", words)
        words = f"the database failed ({code}): {words}"
    else:
        words = f"the database failed: {code}"
    hints = (hint for codes, texts, hint in _HINTS if code in codes or any(text in str(code) for text in texts))
    return words + next((f"; {hint}" for hint in hints), "")


def _refusal(error: Exception) -> str:
    """Only the kind of refusal and the column: the server's text repeats the value."""
    named = re.search(r"(?i)column '?(\w+)'?", " ".join(str(arg) for arg in error.args))
    code = f" (error {error.args[0]})" if error.args and isinstance(error.args[0], int) else ""
    place = f" in column {named[1]}" if named else ""
    return f"The portal's table refused a value{place}{code}. Compare the column's type with what Bytemark lists."
