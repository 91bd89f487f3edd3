"""A database as a released version leaves it, kept as JSON: made by `make release-fixture`, and put anywhere again.

The tables are those that the release's own migrations make, for these are never changed
(tests/upgrade/test_released.py). Times are kept as they were, and moved to now when the rows are put.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from bytemark_sync.sandbox import World
from tests.support.harness import Portal, places, python
from tests.support.servers import ROOT

FOLDER = ROOT / "tests/upgrade/releases"
MIGRATIONS = ROOT / "bytemark_sync/migrations"
TASKS = ROOT / "bytemark_sync/tasks.py"
SETTINGS = {"BYTEMARK_CLIENT_ID": "made-up-client", "BYTEMARK_PAGE_SIZE": "1"}
"""Those that a bookmark and a login lean on: the same where a release is kept and where it goes on."""
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?")
_MIGRATE = """
import json, sys
import django
django.setup()
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
MigrationExecutor(connection).migrate([tuple(each) for each in json.loads(sys.argv[1])])
"""

Rows = list[list[Any]]


@dataclass(frozen=True)
class Release:
    """`tables`: name to columns and rows. `hashes`: each migration of the product to the hash of its file."""

    version: str
    kept_at: datetime
    targets: list[tuple[str, str]]
    hashes: dict[str, str]
    parameters: dict[str, list[str]]
    tables: dict[str, tuple[list[str], Rows]]
    world: World

    @classmethod
    def load(cls, folder: Path) -> Release:
        kept = json.loads((folder / "database.json").read_text())
        return cls(
            version=folder.name,
            kept_at=datetime.fromisoformat(kept["kept_at"]),
            targets=[(app, name) for app, name in kept["migrated_to"]],
            hashes=kept["migrations"],
            parameters=kept["tasks"],
            tables={name: (table["columns"], table["rows"]) for name, table in kept["tables"].items()},
            world=World.load(folder / "world.json"),
        )

    def put(self, url: str) -> None:
        """Make the release's tables and rows in the empty database of `url`."""
        done = python(_MIGRATE, json.dumps(self.targets), env=places(url))
        assert done.status == 0, done.stderr
        later = datetime.now(UTC) - self.kept_at
        portal = Portal(url)
        with closing(portal.connect()) as connection:
            cursor = connection.cursor()
            if not portal.is_sqlite:
                cursor.execute("SET foreign_key_checks = 0")
            cursor.execute("BEGIN")
            for table, (columns, rows) in self.tables.items():
                names, marks = ", ".join(f"`{name}`" for name in columns), ", ".join(["%s"] * len(columns))
                moved = [[_moved(value, later) for value in row] for row in rows]
                if moved:
                    cursor.executemany(portal.sql(f"INSERT INTO {table} ({names}) VALUES ({marks})"), moved)
            cursor.execute("COMMIT")


def _moved(value: Any, later: timedelta) -> Any:
    """A time that much later. All else as it is."""
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        return value
    return (datetime.fromisoformat(value) + later).strftime("%Y-%m-%d %H:%M:%S.%f")


def keep(portal: Portal, world: World, folder: Path) -> None:
    """Write the SQLite database and the world that Bytemark lists to `folder`. A table without rows is kept too."""
    migrated = portal.all("SELECT app, MAX(name) FROM django_migrations GROUP BY app ORDER BY app")
    kept: dict[str, Any] = {
        "kept_at": datetime.now(UTC).isoformat(),
        "migrated_to": [list(row) for row in migrated],
        "migrations": released_hashes(),
        "tasks": task_parameters(),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "world.json").write_text(_lines(world))
    tables = [_table(portal, name) for name in portal.tables() if name != "django_migrations"]
    text = json.dumps(kept, indent=1).removesuffix("\n}")
    (folder / "database.json").write_text(f'{text},\n "tables": {{\n' + ",\n".join(tables) + "\n }\n}\n")


def _lines(world: World) -> str:
    """JSON, with a line for each rider, order and row."""
    parts = msgspec.to_builtins(world)
    lists = (
        f'"{name}": [\n ' + ",\n ".join(map(json.dumps, parts.pop(name))) + "\n]"
        for name in list(parts)
        if isinstance(parts[name], list)
    )
    return "{" + ",\n".join([*lists, json.dumps(parts)[1:-1]]) + "}\n"


def _table(portal: Portal, name: str) -> str:
    """A line for each row, so that a change of the fixture can be read."""
    columns = [row[1] for row in portal.all(f"PRAGMA table_info({name})")]
    rows = portal.all(f"SELECT * FROM {name} ORDER BY 1")
    lines = ",\n".join(f"   {json.dumps(list(row))}" for row in rows)
    return f'  {json.dumps(name)}: {{"columns": {json.dumps(columns)}, "rows": [\n{lines}]}}'


def released_hashes() -> dict[str, str]:
    """Of the migrations that there are."""
    return {path.stem: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(MIGRATIONS.glob("0*.py"))}


def task_parameters() -> dict[str, list[str]]:
    """The tasks that there are, by name, with the names of their parameters."""
    functions = (each for each in ast.parse(TASKS.read_text()).body if isinstance(each, ast.FunctionDef))
    return {each.name: [argument.arg for argument in each.args.args] for each in functions}


RELEASES = [
    Release.load(folder) for folder in sorted(FOLDER.glob("*/"), key=lambda each: [*map(int, each.name.split("."))])
]
