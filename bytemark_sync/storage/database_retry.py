"""Database work, repeated after an error that goes away by itself, and described for a person after any other.

One table says what follows each error. A deadlock, a lock wait, a restart, a failover or a killed connection goes away:
the whole transaction is repeated for up to `PATIENCE_SECONDS`, so nothing is ever half-written. An error that is due to
a row (its values, its size, a trigger) is raised as `RowRefused`, and the caller looks for the row. Any other error is
raised as `DatabaseGone`.
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
from bytemark_sync.storage import server_errors

logger = logging.getLogger(__name__)

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""Seconds for which a run waits for the database before it ends."""


class _Next(Enum):
    """What follows an error."""

    AGAIN = auto()
    RECONNECT = auto()  # and again
    REFUSE = auto()  # one of the statement's rows is to blame: without that row it succeeds
    STOP = auto()


# CHECKREAD: of MariaDB 11.6.2 and newer (innodb_snapshot_isolation), where a row changed since the statement began.
_AGAIN = {*(ER.LOCK_WAIT_TIMEOUT, ER.LOCK_DEADLOCK, ER.QUERY_INTERRUPTED, ER.CHECKREAD), server_errors.LOCK_NOWAIT}
_LOST = {
    *(ER.CON_COUNT_ERROR, ER.SERVER_SHUTDOWN, server_errors.NORMAL_SHUTDOWN, ER.ABORTING_CONNECTION),
    *(server_errors.CONNECTION_KILLED, server_errors.CLIENT_INTERACTION_TIMEOUT),
    *(ER.NET_READ_ERROR, ER.NET_READ_INTERRUPTED, ER.NET_ERROR_ON_WRITE, ER.NET_WRITE_INTERRUPTED),
    *(CR.CONNECTION_ERROR, CR.CONN_HOST_ERROR, CR.SERVER_GONE_ERROR, CR.SERVER_LOST, CR.SERVER_LOST_EXTENDED),
    CR.COMMANDS_OUT_OF_SYNC,
}
# Read-only (a failover), Galera's "not ready", too many connections: a new connection may reach the new primary.
_NOT_NOW = {
    *(ER.OPTION_PREVENTS_STATEMENT, ER.CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, ER.READ_ONLY_MODE),
    *(ER.UNKNOWN_COM_ERROR, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED),
}
_TOO_LARGE = {ER.NET_PACKET_TOO_LARGE, CR.NET_PACKET_TOO_LARGE}
# No row causes these, so no row is searched for: rights, missing tables and columns, disk and memory.
_NAMES = {  # they quote only names of users, tables and columns
    *(ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR),
    *(ER.SPECIFIC_ACCESS_DENIED_ERROR, ER.PROCACCESS_DENIED_ERROR, ER.NO_SUCH_USER, ER.SP_DOES_NOT_EXIST),
    *(ER.BAD_DB_ERROR, ER.TABLE_EXISTS_ERROR, ER.NO_SUCH_TABLE, ER.BAD_FIELD_ERROR, ER.NO_DEFAULT_FOR_FIELD),
}
_BROKEN = {
    *(ER.NO_DB_ERROR, ER.HOST_IS_BLOCKED, ER.HOST_NOT_PRIVILEGED, ER.RECORD_FILE_FULL, ER.GET_ERRNO),
    *(server_errors.DISK_FULL, ER.ERROR_ON_WRITE, ER.OUTOFMEMORY, ER.OUT_OF_SORTMEMORY),
    *(ER.OUT_OF_RESOURCES, ER.CRASHED_ON_USAGE),
}
_CHARACTER = {
    ER.CANT_AGGREGATE_2COLLATIONS,
    ER.TRUNCATED_WRONG_VALUE_FOR_FIELD,
    server_errors.IMPOSSIBLE_STRING_CONVERSION,
}

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
    """The database cannot be used, and waiting does not help. The text says how it fails, without values."""


class DatabaseAway(DatabaseGone):
    """The error was still there after `PATIENCE_SECONDS`. A later try may succeed."""


class RowRefused(Exception):
    """The server refused a row for its values or size, or a trigger refused it. The text has the server's code and, if
    known, the column. It never has a value."""


def retrying(work: Callable[[], T], *, patience: float = PATIENCE_SECONDS) -> T:
    """`work()` outside a transaction, repeated after an error that goes away by itself. It must be safe to repeat."""
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
            logger.warning("%s; it is tried again for up to %.0f s", words, patience)
        time.sleep(random.uniform(0.01, min(2.0, 0.05 * 2**tries)))


def in_transaction(work: Callable[[], T], *, patience: float = PATIENCE_SECONDS) -> T:
    """`work()` in a transaction of its own. The whole transaction is repeated, as by `retrying`."""

    def attempt() -> T:
        with transaction.atomic():
            return work()

    return retrying(attempt, patience=patience)


def explain(error: BaseException) -> str:
    """Words for any failure of a run, without a row's value. Of an unexpected error only class and place."""
    if isinstance(error, DatabaseGone | RowRefused | ImproperlyConfigured):
        return str(error)
    if not isinstance(error, DatabaseError | InterfaceError):
        return describe(error)
    told = isinstance(error, DataError | IntegrityError) or _code(error) in {*_REFUSALS, *_CHARACTER}
    return _refusal(error) if told else _words(error)


def too_large() -> RowRefused:
    """The same error as if the server had refused a row for its size."""
    return RowRefused(_refusal(OperationalError(ER.NET_PACKET_TOO_LARGE)))


def _refusal(error: Exception) -> str:
    """Only the kind of refusal, the server's code and the column, because the server's text repeats the value."""
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
    # For example: wrong SQL, or a file that is not a database.
    if not isinstance(error, OperationalError | InterfaceError):
        return _Next.STOP
    if code is None:
        return _next_of_sqlite(str(error).lower())
    if isinstance(error, InterfaceError) and code == 0:
        return _Next.RECONNECT
    # Numbers below 1000 and from 2000 to 2999 come from the client library, not from the server.
    return _Next.STOP if code < 1000 or CR.MIN_ERROR <= code <= CR.MAX_ERROR else _Next.REFUSE


def _next_of_sqlite(text: str) -> _Next:
    if "closed" in text:
        return _Next.RECONNECT
    return _Next.AGAIN if "is locked" in text or "is busy" in text else _Next.STOP


def _words(error: Exception) -> str:
    """The server's text. Quoted parts, which may be a row's values, stay only in errors that quote no values."""
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
