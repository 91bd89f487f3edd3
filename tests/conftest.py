"""Fixtures that every test may use: fresh databases on every backend, the real `manage.py`, the sandbox.

A database on a server is in two places: the portal's tables apart, and a user with no more than the contract's rights.
With `TEST_MYSQL_URL` (of an administrator) what runs on MariaDB runs on that server too.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bytemark_sync.sandbox import Sandbox, World
from tests.support.clusters import ClusterScenario, MakeClusterScenario
from tests.support.harness import (
    BACKENDS,
    SERVERS,
    Finished,
    FreshDatabase,
    Portal,
    copy_database,
    manage,
    sqlite_url,
    unique_name,
)
from tests.support.pristine import restored_after_each_test
from tests.support.scenario import MakeScenario, make_scenario
from tests.support.scripted_api import Api
from tests.support.servers import Databases, MariaDB, MySQL, Redis, Server
from tests.support.slack import TOKEN, FakeSlack
from tests.support.warm import warm_interpreter


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The markers that follow from a test's fixtures and parameters, where it has none by name; and the order."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        parameters = item.callspec.params if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}
        used |= {parameters.get(name) for name in ("backend", "server_backend", "broker")}
        if used & {"mariadb", "mysql", "redis", "redis_server"}:
            item.add_marker("server")
        if "chromium" in used:
            item.add_marker("browser")
        if "migrated_copy" in used:  # by fresh_database, or by itself
            item.add_marker("slow")
    # The modules that take longest first: begun last, one of them would be waited for by one worker alone.
    kinds: dict[Path, int] = {}
    for item in items:
        kinds[item.path] = min(kinds.get(item.path, len(LONGEST_FIRST)), _kind(item))
    items.sort(key=lambda item: kinds[item.path])


LONGEST_FIRST = ("timeout", "cluster", "browser", "server", "slow")
"""Markers. A limit of its own has what takes minutes."""


def _kind(item: pytest.Item) -> int:
    kinds = [number for number, name in enumerate(LONGEST_FIRST) if item.get_closest_marker(name)]
    return min(kinds, default=len(LONGEST_FIRST))


def pytest_runtest_setup(item: pytest.Item) -> None:
    Server.allowed = item.get_closest_marker("server") is not None


@pytest.fixture(scope="session", autouse=True)
def _warm() -> Iterator[None]:
    """Commands start warm, but for those that serve."""
    with warm_interpreter():
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """As pytest-django has it; besides, what a test commits is undone quickly."""
    with ExitStack() as stack:
        with django_db_blocker.unblock():
            stack.enter_context(restored_after_each_test())
        yield


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
def server_backend(request: pytest.FixtureRequest) -> str:
    """`mariadb`, and `mysql` where there is one."""
    return str(request.param)


@pytest.fixture
def server(server_backend: str, request: pytest.FixtureRequest) -> Databases:
    """Each database server in turn."""
    found: Databases = request.getfixturevalue(server_backend)
    return found


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Engine to the URL of its migrated, empty database; `migrate` costs seconds, a copy does not."""
    made = {"folder": str(tmp_path_factory.mktemp("templates"))}
    yield made
    if "mysql" in made:  # the private MariaDB goes with its folder
        MySQL(os.environ["TEST_MYSQL_URL"]).drop(made["mysql"])


def _migrated(url: str) -> str:
    done = manage("migrate", "-v0", database_url=url)
    assert done.status == 0, done.stderr
    return url


@pytest.fixture(scope="session")
def migrated_copy(templates: dict[str, str]) -> Callable[[Path], str]:
    """`migrated_copy(path)` puts a migrated, empty SQLite database there; its URL."""

    def copy(path: Path) -> str:
        template = Path(templates["folder"]) / "template.sqlite3"
        if "sqlite" not in templates:
            templates["sqlite"] = _migrated(sqlite_url(template))
            Portal(templates["sqlite"]).all("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(template, path)
        return sqlite_url(path)

    return copy


@pytest.fixture
def fresh_database(
    templates: dict[str, str],
    migrated_copy: Callable[[Path], str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Iterator[FreshDatabase]:
    """Gives the `DATABASE_URL` of a migrated database of its own, as often as it is called."""
    made: list[tuple[Databases, str]] = []

    def fresh(backend: str) -> str:
        name = unique_name()
        if backend == "sqlite":
            return migrated_copy(tmp_path / f"{name}.sqlite3")
        Server.must_be_allowed()
        server: Databases = request.getfixturevalue(backend)
        if backend not in templates:
            templates[backend] = _migrated(server.create_two_places(unique_name("template")))
        url = server.create_two_places(name)
        made.append((server, url))
        copy_database(Portal(templates[backend]), Portal(url))
        return url

    yield fresh
    for server, url in made:
        server.drop(url)


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """`sqlite` and each database server in turn."""
    return str(request.param)


@pytest.fixture
def database_url(backend: str, fresh_database: FreshDatabase) -> str:
    """A migrated, empty database: the test runs once on SQLite and once on each server, there in two places."""
    return fresh_database(backend)


@pytest.fixture
def server_url(server_backend: str, fresh_database: FreshDatabase) -> str:
    """The same on the servers alone."""
    return fresh_database(server_backend)


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


@pytest.fixture
def scenario(backend: str, fresh_database: FreshDatabase, sandbox: Callable[..., Sandbox]) -> MakeScenario:
    return make_scenario(backend, fresh_database, sandbox)


@pytest.fixture
def sqlite_scenario(fresh_database: FreshDatabase, sandbox: Callable[..., Sandbox]) -> MakeScenario:
    """For what no database has a part in."""
    return make_scenario("sqlite", fresh_database, sandbox)


@pytest.fixture
def server_scenario(
    server_backend: str, fresh_database: FreshDatabase, sandbox: Callable[..., Sandbox]
) -> MakeScenario:
    """On the database servers alone."""
    return make_scenario(server_backend, fresh_database, sandbox)


@pytest.fixture
def cluster_scenario(fresh_database: FreshDatabase, tmp_path: Path) -> Iterator[MakeClusterScenario]:
    with ExitStack() as stack:

        def build(
            backend: str = "mariadb", *, redis: Redis | None = None, url: str = "", latency: float = 0.3
        ) -> ClusterScenario:
            return ClusterScenario(stack, tmp_path, url or fresh_database(backend), redis=redis, latency=latency)

        yield build


@pytest.fixture
def api() -> Iterator[Api]:
    """Bytemark's list with the answers that a test gives it."""
    with Api.serving() as scripted:
        yield scripted


@pytest.fixture
def fake_slack(settings: Any) -> Iterator[FakeSlack]:
    """Slack, as the settings of this process name it."""
    with FakeSlack.serving() as fake:
        settings.SLACK_API_URL = fake.url
        settings.SLACK_BOT_TOKEN = TOKEN
        settings.SLACK_CHANNEL_ID = "C123"
        settings.SITE_URL = "https://portal.example"
        yield fake
