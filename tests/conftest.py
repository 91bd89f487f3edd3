"""Fixtures that every test may use: fresh databases on both engines, the real `manage.py`, the sandbox."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from bytemark_sync.sandbox import Sandbox, World
from tests.running import Finished, Portal, copy_database, manage, sqlite_url
from tests.servers import MariaDB, Redis

ENGINES = ("sqlite", "mariadb")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """One private MariaDB for the session. A test that stops or kills a server starts its own."""
    with MariaDB() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    """One private Redis for the session."""
    with Redis() as server:
        yield server


class FreshDatabase(Protocol):
    def __call__(self, engine: str) -> str: ...


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Engine to the URL of its migrated, empty database; `migrate` costs seconds, a copy does not."""
    return {"folder": str(tmp_path_factory.mktemp("templates"))}


def _migrated(url: str) -> str:
    done = manage("migrate", "-v0", database_url=url)
    assert done.status == 0, done.stderr
    return url


@pytest.fixture
def fresh_database(
    templates: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[FreshDatabase]:
    """Gives the `DATABASE_URL` of a migrated database of its own, as often as it is called."""
    made: list[tuple[MariaDB, str]] = []

    def fresh(engine: str) -> str:
        name = f"t_{uuid.uuid4().hex[:12]}"
        if engine == "sqlite":
            if engine not in templates:
                templates[engine] = _migrated(sqlite_url(Path(templates["folder"]) / "template.sqlite3"))
                Portal(templates[engine]).all("PRAGMA wal_checkpoint(TRUNCATE)")
            path = tmp_path / f"{name}.sqlite3"
            shutil.copy(Path(templates["folder"]) / "template.sqlite3", path)
            return sqlite_url(path)
        server: MariaDB = request.getfixturevalue("mariadb")
        if engine not in templates:
            templates[engine] = _migrated(server.create_database("template"))
        url = server.create_database(name)
        made.append((server, name))
        copy_database(Portal(templates[engine]), Portal(url))
        return url

    yield fresh
    for server, name in made:
        server.execute(f"DROP DATABASE `{name}`")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """`sqlite` and `mariadb` in turn."""
    return str(request.param)


@pytest.fixture
def database_url(engine: str, fresh_database: FreshDatabase) -> str:
    """A migrated, empty database: the test runs once on SQLite and once on MariaDB."""
    return fresh_database(engine)


@pytest.fixture
def mariadb_url(fresh_database: FreshDatabase) -> str:
    return fresh_database("mariadb")


@pytest.fixture
def sqlite_database_url(fresh_database: FreshDatabase) -> str:
    return fresh_database("sqlite")


@pytest.fixture
def portal(database_url: str) -> Portal:
    """Plain SQL on `database_url`."""
    return Portal(database_url)


@pytest.fixture
def run_manage(database_url: str) -> Callable[..., Finished]:
    """`run_manage("sync_order_items", "--json", env={...})`: the real command on `database_url`."""

    def run(*args: object, env: Mapping[str, str | None] | None = None, timeout: float = 120) -> Finished:
        return manage(*args, database_url=database_url, env=env, timeout=timeout)

    return run


@pytest.fixture
def sandbox() -> Iterator[Callable[..., Sandbox]]:
    """`sandbox(world, latency=..., faults=...)` serves until the test ends."""
    with ExitStack() as stack:

        def serve(world: World, **options: Any) -> Sandbox:
            return stack.enter_context(Sandbox(world, **options))

        yield serve
