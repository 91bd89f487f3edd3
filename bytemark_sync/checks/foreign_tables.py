"""Keeps the product out of other programs' tables (docs/contract.md#never-in-anybodys-way).

Django knows its tables by name alone. `migrate --fake-initial` would alter the portal's `auth_user`, which another
framework made. So each process looks at the database of `DATABASE_URL` before it uses its first connection: the
database must be empty or the product's own (docs/decisions/0008-a-database-of-our-own.md).
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, InterfaceError
from django.db import connection as default
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.recorder import MigrationRecorder

from bytemark_sync.models.portal import bare_name
from bytemark_sync.storage.portal_schema import PORTAL

_MIGRATIONS = MigrationRecorder.Migration._meta.db_table
_ours: set[str] = set()
"""Databases that this process has already looked at."""


def refuse_foreign_tables(connection: BaseDatabaseWrapper, **_signal: Any) -> None:
    """Django's `connection_created`. `ImproperlyConfigured` names the tables that no migration of this product made."""
    name = str(connection.settings_dict["NAME"] or "")
    if not name or name in _ours:  # without a name it is a connection that creates or drops a test's database
        return
    foreign = _foreign(connection)
    if foreign:
        # Closed, so that nobody who catches the error can use the connection.
        connection.close()
        raise ImproperlyConfigured(_words(name, connection.vendor, foreign))
    _ours.add(name)


def look_early() -> None:
    """Look now, so that a refusal is not mistaken for an error of the work that makes the first connection.

    A database that does not answer now is looked at when it does.
    """
    with suppress(DatabaseError, InterfaceError):
        default.ensure_connection()


def look_before_forking() -> None:
    """The same for a process whose threads or children open connections themselves and must not inherit one."""
    look_early()
    default.close()


def _foreign(connection: BaseDatabaseWrapper) -> list[str]:
    there = set(connection.introspection.table_names(include_views=True))
    ours = set(connection.introspection.django_table_names()) | {_MIGRATIONS}
    taken = (ours - {bare_name(model) for model in PORTAL}) & there
    if not taken or _is_ours(connection, there, taken):
        return []
    return sorted(taken)


def _is_ours(connection: BaseDatabaseWrapper, there: set[str], taken: set[str]) -> bool:
    """Our own 0001 is the first migration of all, so its row exists before any other table does."""
    if _MIGRATIONS not in there:
        return False
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT app FROM {_MIGRATIONS}")  # noqa: S608 - a name of Django's own
            apps = {app for (app,) in cursor.fetchall()}
    except DatabaseError:  # another framework's table of that name
        return False
    return "bytemark_sync" in apps or (not apps and taken == {_MIGRATIONS})


def _words(name: str, vendor: str, tables: list[str]) -> str:
    found = f"The database {name!r} of DATABASE_URL holds tables that this product did not make: {', '.join(tables)}."
    if vendor == "mysql":
        way = (
            " If this is the portal's database, make an empty one beside it on the same server, name that one in"
            f" DATABASE_URL, and set PORTAL_DATABASE={name} (README: On a real portal)."
        )
    else:
        way = " Name a file of the product's own in DATABASE_URL (PORTAL_DATABASE is for MySQL and MariaDB)."
    return f"{found} Nothing was changed.{way}"
