"""Strict mode. Without it MySQL and MariaDB cut a value that does not fit, and store the rest without an error."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connection as default_connection

from bytemark_sync.storage.database_retry import retrying

STRICT = {"STRICT_TRANS_TABLES", "STRICT_ALL_TABLES"}


def refuse_cut_values() -> None:
    """Raises `ImproperlyConfigured` if this connection would cut values, and `DatabaseGone`."""
    if words := retrying(lambda: cuts_values(default_connection)):
        raise ImproperlyConfigured(words)


def cuts_values(connection: Any) -> str:
    """The problem and its solution, in words; empty if the connection is strict."""
    if connection.vendor != "mysql":
        return ""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@SESSION.sql_mode")
        modes = set(str(cursor.fetchone()[0]).split(","))
    if modes & STRICT:
        return ""
    options = connection.settings_dict["OPTIONS"]
    to_blame = [name for name in ("sql_mode", "init_command") if name in options and "STRICT_" not in options[name]]
    name = to_blame[0] if to_blame else "sql_mode"
    return (
        f"DATABASE_URL: its option {name} leaves the connection without strict mode, so that uuids and tokens that do"
        " not fit would be cut and stored. Leave it out, or add STRICT_TRANS_TABLES to the sql_mode that it sets."
    )
