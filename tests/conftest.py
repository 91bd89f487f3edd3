"""Fixtures that every test may use: fresh databases on every engine, the real `manage.py`, the sandbox.

A database on a server is in two places: the portal's tables apart, and a user with no more than the contract's rights.
With `TEST_MYSQL_URL` (of an administrator) what runs on MariaDB runs on that server too.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest

from bytemark_sync.sandbox import Sandbox, World
from tests.support.harness import Finished, Portal, copy_database, manage, sqlite_url
from tests.support.servers import Databases, MariaDB, MySQL, Redis, Server

SERVERS = ("mariadb", "mysql") if os.environ.get("TEST_MYSQL_URL") else ("mariadb",)
ENGINES = ("sqlite", *SERVERS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The markers that follow from a test's fixtures and parameters; where none follows, the test has it by name."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        used |= {parameters.get(name) for name in ("engine", "server_engine", "broker", "lane")}
        if used & {"mariadb", "mysql", "redis", "redis_server"}:
            item.add_marker("server")
        if "chromium" in used:
            item.add_marker("browser")
        if "fresh_database" in used:
            item.add_marker("slow")


def pytest_runtest_setup(item: pytest.Item) -> None:
    Server.allowed = item.get_closest_marker("server") is not None


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


@pytest.fixture(scope="session")
def mysql() -> MySQL:
    """The server of `TEST_MYSQL_URL`."""
    return MySQL(os.environ["TEST_MYSQL_URL"])


@pytest.fixture(params=SERVERS)
def server_engine(request: pytest.FixtureRequest) -> str:
    """`mariadb`, and `mysql` where there is one."""
    return str(request.param)


@pytest.fixture
def server(server_engine: str, request: pytest.FixtureRequest) -> Databases:
    """Each database server in turn."""
    found: Databases = request.getfixturevalue(server_engine)
    return found


class FreshDatabase(Protocol):
    def __call__(self, engine: str) -> str: ...


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Engine to the URL of its migrated, empty database; `migrate` costs seconds, a copy does not."""
    made = {"folder": str(tmp_path_factory.mktemp("templates"))}
    yield made
    if "mysql" in made:  # the private MariaDB goes with its folder
        MySQL(os.environ["TEST_MYSQL_URL"]).drop(made["mysql"])


def unique_name(prefix: str = "t") -> str:
    """For a database: a server of `TEST_MYSQL_URL` may be used by several test processes at once."""
    return f"{prefix}_{uuid.uuid4().hex[:12]}"


def _migrated(url: str) -> str:
    done = manage("migrate", "-v0", database_url=url)
    assert done.status == 0, done.stderr
    return url


@pytest.fixture
def fresh_database(
    templates: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[FreshDatabase]:
    """Gives the `DATABASE_URL` of a migrated database of its own, as often as it is called."""
    made: list[tuple[Databases, str]] = []

    def fresh(engine: str) -> str:
        name = unique_name()
        if engine == "sqlite":
            if engine not in templates:
                templates[engine] = _migrated(sqlite_url(Path(templates["folder"]) / "template.sqlite3"))
                Portal(templates[engine]).all("PRAGMA wal_checkpoint(TRUNCATE)")
            path = tmp_path / f"{name}.sqlite3"
            shutil.copy(Path(templates["folder"]) / "template.sqlite3", path)
            return sqlite_url(path)
        Server.must_be_allowed()
        server: Databases = request.getfixturevalue(engine)
        if engine not in templates:
            templates[engine] = _migrated(server.create_two_places(unique_name("template")))
        url = server.create_two_places(name)
        made.append((server, url))
        copy_database(Portal(templates[engine]), Portal(url))
        return url

    yield fresh
    for server, url in made:
        server.drop(url)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """`sqlite` and each database server in turn."""
    return str(request.param)


@pytest.fixture
def database_url(engine: str, fresh_database: FreshDatabase) -> str:
    """A migrated, empty database: the test runs once on SQLite and once on each server, there in two places."""
    return fresh_database(engine)


@pytest.fixture
def server_url(server_engine: str, fresh_database: FreshDatabase) -> str:
    """The same on the servers alone."""
    return fresh_database(server_engine)


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
