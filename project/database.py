"""`DATABASE_URL` as an entry of `DATABASES`, with what keeps storing exact (docs/decisions/0004-read-committed.md)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

MYSQL, SQLITE = "django.db.backends.mysql", "django.db.backends.sqlite3"

# What may be set after the question mark, and how it is read. Anything else would reach the driver unchanged. There it
# would fail, or undo settings that exact storing needs.
_OPTIONS: dict[str, dict[str, Callable[[str], Any]]] = {
    MYSQL: {
        **dict.fromkeys(("charset", "init_command", "isolation_level", "sql_mode", "ssl_mode", "unix_socket"), str),
        **dict.fromkeys(("read_default_file", "read_default_group", "ssl_ca", "ssl_cert", "ssl_key"), str),
        **dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), int),
    },
    SQLITE: {"init_command": str, "timeout": float, "transaction_mode": str},
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    MYSQL: {
        "charset": "utf8mb4",
        "isolation_level": "read committed",
        "connect_timeout": 10,
        # Refuse a value that does not fit instead of storing a part of it; wait for a row lock for 10 s, not 50 s.
        "init_command": "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES'),"
        " SESSION innodb_lock_wait_timeout = 10",
    },
    # IMMEDIATE: a transaction takes the write lock at its start (docs/decisions/0004-read-committed.md).
    SQLITE: {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    },
}


def database(url: str, folder: Path) -> dict[str, Any]:
    """The entry for `url`. A relative SQLite path is below `folder`. `ImproperlyConfigured` repeats no password."""
    # First, because the parser's warning about an unknown scheme contains the password.
    if not url.startswith(("mysql://", "sqlite://")):
        raise ImproperlyConfigured(
            "DATABASE_URL: use mysql://user:password@host:3306/bytemark_sync or sqlite:////path/to/file;"
            " no other database."
        )
    try:
        given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        config: dict[str, Any] = dict(environ.Env.db_url_config(url.partition("?")[0]))
    except Exception:  # noqa: BLE001 - the parser raises many classes; its text would repeat the password
        raise ImproperlyConfigured(
            "DATABASE_URL cannot be read. Use mysql://user:password@host:3306/bytemark_sync or sqlite:////path/to/file."
        ) from None
    engine = config["ENGINE"]
    name = str(config.get("NAME") or "")
    if engine == MYSQL:
        if not name:
            raise ImproperlyConfigured("DATABASE_URL names no database: mysql://user:password@host:3306/bytemark_sync")
        config |= {"CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}
    elif not name:
        raise ImproperlyConfigured("DATABASE_URL names no file: sqlite:////path/to/file")
    elif name != ":memory:":
        config["NAME"] = str(folder / name)
    config["OPTIONS"] = _DEFAULTS[engine] | _options(engine, given)
    return config


def portal_database(name: str, entry: Mapping[str, Any]) -> str:
    """`PORTAL_DATABASE`, if the database `entry` allows it; empty: one place (docs/contract.md#two-places).

    Statements hold the name between backticks, so it may contain none.
    """
    if not name:
        return ""
    if entry["ENGINE"] != MYSQL:
        raise ImproperlyConfigured(
            "PORTAL_DATABASE is for MySQL and MariaDB: with SQLite the one file of DATABASE_URL holds all tables."
            " Leave it unset, or set DATABASE_URL=mysql://..."
        )
    if len(name) > 64 or not name.isprintable() or set(name) & set("`/\\."):
        raise ImproperlyConfigured(f"PORTAL_DATABASE: {name!r} is no name of a database.")
    if name == entry["NAME"]:
        raise ImproperlyConfigured(
            f"PORTAL_DATABASE and DATABASE_URL both name the database {name!r}. DATABASE_URL must name a database of"
            " the product's own on the same server; to keep all tables in one database, leave PORTAL_DATABASE unset."
        )
    return name


def _options(engine: str, given: Mapping[str, str]) -> dict[str, Any]:
    known = _OPTIONS[engine]
    options: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise ImproperlyConfigured(f"DATABASE_URL: unknown option {name!r}; use {', '.join(sorted(known))}.")
        try:
            options[name] = known[name](value)
        except ValueError:
            raise ImproperlyConfigured(f"DATABASE_URL: the option {name} is not a number.") from None
    ssl = {name: options.pop(f"ssl_{name}") for name in ("ca", "cert", "key") if f"ssl_{name}" in options}
    return options | ({"ssl": ssl} if ssl else {})
