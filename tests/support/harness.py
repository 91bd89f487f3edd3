"""Run the real `manage.py` as a person or a timer would, and look at the database from outside, without Django."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import MySQLdb

from bytemark_sync.sandbox import ExpectedItem, World
from bytemark_sync.sandbox.portal_rows import TABLES, inserts, inserts_many, placed
from tests.support.children import spawn
from tests.support.servers import OWNER, PASSWORD, ROOT, clean_environment
from tests.support.warm import WarmCommand, may_be_warm

SERVERS = ("mariadb", "mysql") if os.environ.get("TEST_MYSQL_URL") else ("mariadb",)
BACKENDS = ("sqlite", *SERVERS)


@dataclass(frozen=True)
class Finished:
    """A process that has ended. A negative status is the signal that ended it."""

    status: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def json(self) -> dict[str, Any]:
        """The last line on standard output, as `--json` promises."""
        lines = self.stdout.strip().splitlines()
        assert lines, f"nothing on standard output; standard error: {self.stderr[-2000:]}"
        found = json.loads(lines[-1])
        assert isinstance(found, dict)
        return found


def places(url: str) -> dict[str, str]:
    """The settings for a database of the tests: behind a `#` its URL names the portal's, where that is apart."""
    address, _, portal = url.partition("#")
    return {"DATABASE_URL": address, "PORTAL_DATABASE": portal}


def as_owner(url: str) -> str:
    """The URL of the one who owns both databases, for a test's own code that fills the portal through Django."""
    address, _, portal = url.partition("#")
    if not portal:
        return url
    return (
        urlsplit(address)._replace(netloc=f"{OWNER}:{PASSWORD}@127.0.0.1:{urlsplit(url).port}").geturl() + "#" + portal
    )


def with_option(url: str, option: str) -> str:
    """The URL with one more option behind its question mark."""
    address, hash_sign, portal = url.partition("#")
    return f"{address}{'&' if '?' in address else '?'}{option}{hash_sign}{portal}"


def start_manage(
    *args: object,
    database_url: str,
    env: Mapping[str, str | None] | None = None,
    cold: bool = False,
    tree: Path = ROOT,
    **options: Any,
) -> subprocess.Popen[str]:
    """`manage.py` in a process of its own with a clean environment; it dies with the tests.

    `cold`: from a new interpreter, where a warm one might serve. `tree`: whose code.
    """
    command = [str(tree / "manage.py"), *(str(arg) for arg in args)]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    environment = clean_environment(places(database_url) | dict(env or {}))
    if not cold and tree == ROOT and may_be_warm(command[1], environment):
        return WarmCommand(command, env=environment, text=True, **(pipes | options))
    return spawn([sys.executable, *command], env=environment, cwd=tree, **(pipes | options))


def manage(
    *args: object,
    database_url: str,
    env: Mapping[str, str | None] | None = None,
    timeout: float = 120,
    tree: Path = ROOT,
) -> Finished:
    """Run `manage.py` to its end."""
    started = time.monotonic()
    process = start_manage(*args, database_url=database_url, env=env, tree=tree)
    return finish(process, timeout, started)


def python(script: str, *args: str, env: Mapping[str, str | None], cwd: Path = ROOT) -> Finished:
    """Run a script in a process with a clean environment."""
    environment = clean_environment(env) | {"PYTHONPATH": str(cwd)}
    process = spawn(
        [sys.executable, "-c", script, *args], env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    return finish(process)


def finish(process: subprocess.Popen[str], timeout: float = 120, started: float | None = None) -> Finished:
    """Wait for a process of `start_manage`; one that does not end in time is killed and fails the test."""
    started = time.monotonic() if started is None else started
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        raise AssertionError(f"not ended within {timeout:g} s: {stdout[-2000:]}{stderr[-2000:]}") from None
    return Finished(process.returncode, stdout, stderr, time.monotonic() - started)


Rows = Mapping[str, list[dict[str, Any]]]
"""Table to its rows, each by column."""


class Portal:
    """Plain SQL on a database by its URL; statements use `%s`. Every call has its own connection.

    In two places it connects as the owner of both, and finds the portal's tables by their bare names.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._parts = urlsplit(url)
        self.name = self._parts.path.lstrip("/")
        self.portal_database = self._parts.fragment or self.name

    @property
    def is_sqlite(self) -> bool:
        return self._parts.scheme == "sqlite"

    @property
    def is_apart(self) -> bool:
        """Whether the portal's tables are in a database of their own."""
        return bool(self._parts.fragment)

    def connect(self) -> Any:
        """A connection in autocommit, of `sqlite3` or `MySQLdb`."""
        if self.is_sqlite:
            return sqlite3.connect(self._parts.path.replace("//", "/"), timeout=30, isolation_level=None)
        return MySQLdb.connect(
            host="127.0.0.1",
            port=self._parts.port or 3306,
            user=OWNER if self.is_apart else self._parts.username or "",
            password=PASSWORD if self.is_apart else self._parts.password or "",
            database=self.name,
            charset="utf8mb4",
            autocommit=True,
        )

    def sql(self, statement: str) -> str:
        if self.is_sqlite:
            return statement.replace("%s", "?")
        return placed(statement, self._parts.fragment)

    def all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(self.sql(statement), values)
            return list(cursor.fetchall())

    def value(self, statement: str, *values: object) -> Any:
        """The first column of the first row."""
        return self.all(statement, *values)[0][0]

    def rows(self, statement: str, *values: object) -> list[dict[str, Any]]:
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(self.sql(statement), values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def execute(self, statement: str, *values: object) -> int:
        """How many rows it touched."""
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute(self.sql(statement), values)
            return int(cursor.rowcount)

    def fill(self, world: World) -> None:
        """As `World.fill_portal`, from outside."""
        self._insert(inserts(world))

    def fill_many(self, pending: int, stored: int = 0, orders_per_user: int = 3, first_user: int = 1_000_000) -> None:
        base = int(self.value("SELECT COALESCE(MAX(id), 0) FROM bytemark_orders")) + 1
        self._insert(inserts_many(base, pending, stored, orders_per_user, first_user))

    def rows_of_all(self, prefix: str) -> Rows:
        """What is in the tables whose names begin so."""
        return {table: self.rows(f"SELECT * FROM {table}") for table in self.tables() if table.startswith(prefix)}

    def put(self, rows: Rows) -> None:
        """Put back what `rows_of_all` gave, in place of rows with the same keys."""
        with_rows = {table: found for table, found in rows.items() if found}
        self._insert(
            (
                f"REPLACE INTO {table} ({', '.join(f'`{name}`' for name in found[0])})"
                f" VALUES ({', '.join(['%s'] * len(found[0]))})",
                [tuple(row.values()) for row in found],
            )
            for table, found in with_rows.items()
        )

    def _insert(self, statements: Any) -> None:
        with closing(self.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute("BEGIN")
            for statement, rows in statements:
                if found := list(rows):
                    cursor.executemany(self.sql(statement), found)
            cursor.execute("COMMIT")

    def items(self) -> list[ExpectedItem]:
        """Every stored item, sorted as `World.expected_items` is."""
        columns = "order_id, order_uuid, oauth_token, product_uuid, pass_uuid"
        return sorted(ExpectedItem(*row) for row in self.all(f"SELECT {columns} FROM bytemark_order_items"))

    def reasons(self) -> dict[int, str]:
        """Order key to the recorded reason for which it is still pending."""
        return dict(self.all("SELECT order_id, reason FROM bytemark_sync_outcome"))

    def runs(self) -> list[dict[str, Any]]:
        """Oldest first."""
        return self.rows("SELECT * FROM bytemark_sync_run ORDER BY id")

    def tables(self) -> list[str]:
        if self.is_sqlite:
            found = self.all("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        else:
            found = self.all("SHOW TABLES")
            if self.is_apart:
                found += [(table,) for table in TABLES]
        return sorted(row[0] for row in found)

    def dump(self) -> str:
        """Every value of every table as text, for tests that look for what must not be there."""
        return "\n".join(f"{table}: {self.all(f'SELECT * FROM {table}')!r}" for table in self.tables())


def copy_database(source: Portal, target: Portal) -> None:
    """Make the tables and rows of `source`'s own database in that of `target`, an empty one of the same server.

    `source` is a template: as it is at the first copy, it stays.
    """
    definitions, with_rows = _definitions_of(source.url)
    with closing(target.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("SET foreign_key_checks = 0")
        for definition in definitions:
            cursor.execute(definition)
        for table in with_rows:
            cursor.execute(f"INSERT INTO `{table}` SELECT * FROM `{source.name}`.`{table}`")


@cache
def _definitions_of(url: str) -> tuple[list[str], list[str]]:
    """The statements that make the tables of a server's database, and the tables that are not empty."""
    definitions, with_rows = [], []
    with closing(Portal(url).connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("SHOW TABLES")
        for (table,) in cursor.fetchall():
            cursor.execute(f"SHOW CREATE TABLE `{table}`")
            definitions.append(cursor.fetchone()[1])
            if cursor.execute(f"SELECT 1 FROM `{table}` LIMIT 1"):
                with_rows.append(table)
    return definitions, with_rows


def drop_indexes(portal: Portal, table: str, column: str) -> None:
    """Those that have the column."""
    if portal.is_sqlite:
        found = portal.all("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = %s", table)
        names = [name for name, sql in found if sql and column in sql]
    else:
        names = [row["Key_name"] for row in portal.rows(f"SHOW INDEX FROM {table} WHERE Column_name = '{column}'")]
    assert names
    for name in names:
        portal.execute(f"DROP INDEX {name}" + ("" if portal.is_sqlite else f" ON {table}"))


def sqlite_url(path: Path | str) -> str:
    return f"sqlite:///{os.fspath(path)}"


class FreshDatabase(Protocol):
    def __call__(self, backend: str) -> str: ...


def unique_name(prefix: str = "t") -> str:
    """For a database: a server of `TEST_MYSQL_URL` may be used by several test processes at once."""
    return f"{prefix}_{uuid.uuid4().hex[:12]}"
