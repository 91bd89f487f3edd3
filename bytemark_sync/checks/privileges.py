"""The rights that the database user lacks, and the GRANT that adds them (docs/contract.md#two-places). MySQL, MariaDB.

On the portal's tables each right is tried with a statement that touches no row, because only the server knows grants on
columns, patterns and roles. On the product's own database the grants are read, because trying would create a table.
Why so few rights are needed: docs/decisions/0012-least-rights.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db import DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model
from MySQLdb.constants import ER

from bytemark_sync.models import Order, OrderItem, OrderToken
from bytemark_sync.models.portal import bare_name
from bytemark_sync.storage.portal_schema import PORTAL, PortalSchema, columns_needed, renews_tokens

OWN = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "INDEX", "REFERENCES")
"""What `migrate` and the product need on their own database."""

_DENIED = (ER.TABLEACCESS_DENIED_ERROR, ER.COLUMNACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR)


@dataclass(frozen=True, slots=True)
class Lack:
    """A right that is missing. `needed`: without it this server refuses the product's work."""

    privilege: str
    place: str
    why: str
    grant: str
    needed: bool = True


def missing_on_the_portal(connection: BaseDatabaseWrapper) -> Iterator[Lack]:
    """The rights that `connection`'s user lacks on the three tables. Each right is tried."""
    database, account = PortalSchema(connection).database, _account(connection)

    def lack(model: type[Model], privilege: str, why: str, *, needed: bool = True) -> Lack:
        place = f"`{database}`.`{bare_name(model)}`"
        return Lack(privilege, place, why, f"GRANT {privilege} ON {place} TO {account};", needed=needed)

    for model in PORTAL:
        if _denied(connection, f"SELECT {_columns(model)} FROM {_table(model)} LIMIT 0"):
            yield lack(model, "SELECT", "the product reads the table")
    columns = _columns(OrderItem, key=False)
    values = ", ".join("NULL" for _ in columns.split(","))
    if _denied(connection, f"INSERT INTO {_table(OrderItem)} ({columns}) SELECT {values} FROM DUAL WHERE 1 = 0"):
        yield lack(OrderItem, "INSERT", "the passes are stored there")
    if _denied(connection, f"UPDATE {_table(Order)} SET amount = '0' WHERE 1 = 0"):
        locks = not _denied(connection, f"SELECT id FROM {_table(Order)} WHERE 1 = 0 FOR UPDATE")
        yield lack(Order, "UPDATE", "MySQL asks for it where a row is locked; nothing is updated", needed=not locks)
    if renews_tokens() and _denied(connection, f"UPDATE {_table(OrderToken)} SET token = NULL WHERE 1 = 0"):
        yield lack(OrderToken, "UPDATE (token)", "renewed tokens are written there")


def missing_on_our_own(connection: BaseDatabaseWrapper) -> list[Lack]:
    """Read from the grants on the database and on the whole server. Roles are not resolved."""
    account = _account(connection)
    if _value(connection, "SELECT CURRENT_ROLE()") not in (None, "NONE"):
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT privilege_type FROM information_schema.user_privileges WHERE grantee = %s UNION"
            " SELECT privilege_type FROM information_schema.schema_privileges"
            " WHERE grantee = %s AND DATABASE() LIKE table_schema",
            [account, account],
        )
        have = {row[0] for row in cursor.fetchall()}
    place = f"`{connection.settings_dict['NAME']}`.*"
    return [
        Lack(privilege, place, "it holds the product's own tables", f"GRANT {privilege} ON {place} TO {account};")
        for privilege in OWN
        if privilege not in have
    ]


def _account(connection: BaseDatabaseWrapper) -> str:
    """The user as GRANT takes it."""
    user, _, host = str(_value(connection, "SELECT CURRENT_USER()")).rpartition("@")
    return f"'{user}'@'{host}'"


def _table(model: type[Model]) -> str:
    return model._meta.db_table


def _columns(model: type[Model], *, key: bool = True) -> str:
    names = columns_needed(model)
    return ", ".join(names if key else [name for name in names if name != model._meta.pk.column])


def _denied(connection: BaseDatabaseWrapper, statement: str) -> bool:
    """Whether the server refuses the statement for a missing right. Other checks report other errors."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except DatabaseError as error:
        return bool(error.args) and error.args[0] in _DENIED
    return False


def _value(connection: BaseDatabaseWrapper, query: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetchone()[0]
