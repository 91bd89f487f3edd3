"""Database work that survives what passes: deadlocks, lock waits, a restart, a failover, a killed connection.

One table says of each error what happens next. What passes is waited for, `PATIENCE_SECONDS` at most, and the whole
transaction is repeated, so nothing is ever half-written. What the server has against a row (its values, a trigger, its
size) is `RowRefused`, so that the caller can find the row. All else ends as `DatabaseGone` in words for a person.
"""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TypeVar

from django.core.exceptions import ImproperlyConfigured
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    connection,
    transaction,
)
from MySQLdb.constants import CR, ER

from bytemark_sync.domain.unexpected_errors import describe

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""Seconds to wait for the database before a run ends."""


class _Next(Enum):
    """What follows an error."""

    AGAIN = auto()
    RECONNECT = auto()  # and again
    REFUSE = auto()  # the statement's rows are to blame: without one of them it passes
    STOP = auto()


# Numbers that MySQLdb has no name for: 1077 normal shutdown, 1927 MariaDB's and 4031 MySQL's connection killed,
# 3572 NOWAIT, 3988 a character that the column's character set does not have, 1021 disk full.
_AGAIN = {ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK, ER.QUERY_INTERRUPTED, 3572}
_LOST = {
    *(ER.CON_COUNT_ERROR, ER.SERVER_SHUTDOWN, 1077, ER.ABORTING_CONNECTION, 1927, 4031),
    *(ER.NET_READ_ERROR, ER.NET_READ_INTERRUPTED, ER.NET_ERROR_ON_WRITE, ER.NET_WRITE_INTERRUPTED),
    *(CR.CONNECTION_ERROR, CR.CONN_HOST_ERROR, CR.SERVER_GONE_ERROR, CR.SERVER_LOST, CR.SERVER_LOST_EXTENDED),
    CR.COMMANDS_OUT_OF_SYNC,
}
# Read-only (a failover), Galera's "not ready", too many connections: a new connection may lead to a new primary.
_NOT_NOW = {
    *(ER.OPTION_PREVENTS_STATEMENT, ER.CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, ER.READ_ONLY_MODE),
    *(ER.UNKNOWN_COM_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED),
}
_TOO_LARGE = {ER.NET_PACKET_TOO_LARGE, CR.NET_PACKET_TOO_LARGE}
# No row is to blame for these, so no row is looked for: rights, missing tables and columns, disk and memory.
_NAMES = {  # what they quote are names of users, tables and columns
    *(ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR),
    *(ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.PROCACCESS_DENIED_ERROR, ER.NO_SUCH_USER, ER.SP_DOES_NOT_EXIST),
    *(ER.BAD_DB_ERROR, ER.TABLE_EXISTS_ERROR, ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR, ER.NO_DEFAULT_FOR_FIELD),
}
_BROKEN = {
    *(ER.NO_DB_ERROR, ER.HOST_IS_BLOCKED, ER.HOST_NOT_PRIVILEGED, 1021, ER.RECORD_FILE_FULL, ER.GET_ERRNO),
    *(ER.ERROR_ON_WRITE, ER.OUTOFMEMORY, ER.OUT_OF_SORTMEMORY, ER.OUT_OF_RESOURCES, ER.CRASHED_ON_USAGE),
}
_CHARACTER = {ER.CANT_AGGREGATE_2COLLATIONS, ER.TRUNCATED_WRONG_VALUE_FOR_FIELD, 3988}

_TABLE: dict[int, _Next] = {
    **dict.fromkeys(_AGAIN, _Next.AGAIN),
    **dict.fromkeys(_LOST | _NOT_NOW, _Next.RECONNECT),
    **dict.fromkeys(_TOO_LARGE, _Next.REFUSE),
    **dict.fromkeys(_NAMES | _BROKEN, _Next.STOP),
}
_HINTS = (
    (
        {ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR},
        (),
        "manage.py check --database default names the GRANT that mends it",
    ),
    (
        {ER.TABLE_EXISTS_ERROR},
        ("already exists",),
        "where the three portal tables are there already, run manage.py migrate --fake-initial",
    ),
    (
        {ER.NO_SUCH_TABLE},
        ("no such table",),
        "run manage.py migrate; if it is a table of the portal, manage.py check --database default says what is wrong",
    ),
    ({ER.BAD_FIELD_ERROR}, ("no such column",), "manage.py check --database default names what is missing"),
)
_REFUSALS = {
    ER.SIGNAL_EXCEPTION: "a trigger on the portal's table refuses the order",
    **dict.fromkeys(_TOO_LARGE, "the order's row is larger than the server's max_allowed_packet"),
}


class DatabaseGone(Exception):
    """The database cannot be worked with, and waiting does not help; the text says how it fails, without values."""


class DatabaseAway(DatabaseGone):
    """What should have passed did not within `PATIENCE_SECONDS`; it may have by the next try."""


class RowRefused(Exception):
    """The server refused a row: its values, its size, or by a trigger. The text has the server's code and, where it is
    known, the column, never a value."""


def retrying(work: Callable[[], T], *, patience: float = PATIENCE_SECONDS) -> T:
    """`work()` outside a transaction, again after whatever passes; it must be safe to repeat."""
    began = time.monotonic()
    tries = 0
    while True:
        try:
            return work()
        except (DatabaseError, InterfaceError) as error:
            follows = _next(error)
            if connection.in_atomic_block and follows is not _Next.REFUSE:
                raise
            if _code(error) in _TOO_LARGE and not connection.in_atomic_block:
                connection.close()  # as the server does
            words = _refusal(error) if follows is _Next.REFUSE else _words(error)
        if follows is _Next.REFUSE:
            raise RowRefused(words)
        if follows is _Next.STOP:
            raise DatabaseGone(words)
        if time.monotonic() - began > patience:
            raise DatabaseAway(words)
        if follows is _Next.RECONNECT:
            connection.close()
        tries += 1
        if tries == 5:
            logger.warning("%s; waiting for it, up to %.0f s", words, patience)
        time.sleep(random.uniform(0.01, min(2.0, 0.05 * 2**tries)))


def in_transaction(work: Callable[[], T], *, patience: float = PATIENCE_SECONDS) -> T:
    """`work()` in a transaction of its own, the whole transaction again after whatever passes."""

    def attempt() -> T:
        with transaction.atomic():
            return work()

    return retrying(attempt, patience=patience)


def explain(error: BaseException) -> str:
    """Any failure of a run for a person, without a row's value; of what nobody foresaw, the class and place."""
    if isinstance(error, DatabaseGone | RowRefused | ImproperlyConfigured):
        return str(error)
    if not isinstance(error, DatabaseError | InterfaceError):
        return describe(error)
    told = isinstance(error, DataError | IntegrityError) or _code(error) in {*_REFUSALS, *_CHARACTER}
    return _refusal(error) if told else _words(error)


def too_large() -> RowRefused:
    """As if the server had refused a row for its size."""
    return RowRefused(_refusal(OperationalError(ER.NET_PACKET_TOO_LARGE)))


def _refusal(error: Exception) -> str:
    """Only the kind of refusal, the server's code and the column: the server's text repeats the value."""
    code = _code(error)
    number = f" (error {code})" if code else ""
    if code in _REFUSALS:
        return f"The database did not take the order{number}: {_REFUSALS[code]}."
    if isinstance(error, DataError | IntegrityError) or code in _CHARACTER:
        named = re.search(r"(?i)column '?(\w+)'?", " ".join(str(arg) for arg in error.args))
        place = f" in column {named[1]}" if named else ""
        if isinstance(error, IntegrityError) and not named:
            return f"The portal's table refused the order{number}: a key, a condition or a trigger stands against it."
        return f"The portal's table refused a value{place}{number}. Compare the column's type with what Bytemark lists."
    return f"The database did not take the order{number}. Look the number up in the server's manual."


def _code(error: Exception) -> int | None:
    """The server's or the client library's number; SQLite has none."""
    code = error.args[0] if error.args else None
    return code if isinstance(code, int) else None


def _next(error: Exception) -> _Next:
    code = _code(error)
    if code in _TABLE:
        return _TABLE[code]
    if isinstance(error, DataError | IntegrityError):
        return _Next.REFUSE
    # A statement that is wrong, a file that is no database.
    if not isinstance(error, OperationalError | InterfaceError):
        return _Next.STOP
    if code is None:
        return _next_of_sqlite(str(error).lower())
    if isinstance(error, InterfaceError) and code == 0:
        return _Next.RECONNECT
    # Below 1000 and in 2000 to 2999 the client library speaks, not the server.
    return _Next.STOP if code < 1000 or CR.MIN_ERROR <= code <= CR.MAX_ERROR else _Next.REFUSE


def _next_of_sqlite(text: str) -> _Next:
    if "closed" in text:
        return _Next.RECONNECT
    return _Next.AGAIN if "is locked" in text or "is busy" in text else _Next.STOP


def _words(error: Exception) -> str:
    """The server's own words; quoted parts, which may be a row's values, only of errors known to quote none."""
    code, *rest = error.args or ("",)
    if isinstance(code, int):
        words = str(rest[0]) if rest else "connection lost"
        if code not in _TABLE:
            words = re.sub(r"'[^']*'", "'...'", words)
        words = f"the database failed ({code}): {words}"
    else:
        words = f"the database failed: {code}"
    hints = (hint for codes, texts, hint in _HINTS if code in codes or any(text in str(code) for text in texts))
    return words + next((f"; {hint}" for hint in hints), "")
