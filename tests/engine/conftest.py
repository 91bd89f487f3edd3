"""`ground(world)` fills a fresh portal and serves the world; with `engine` a test runs on SQLite and on MariaDB."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from bytemark_sync.sandbox import Sandbox, World
from tests.conftest import FreshDatabase
from tests.support.scenario import Ground

MakeGround = Callable[..., Ground]


@pytest.fixture
def ground(engine: str, fresh_database: FreshDatabase, sandbox: Callable[..., Sandbox]) -> MakeGround:
    return _maker(engine, fresh_database, sandbox)


@pytest.fixture
def sqlite_ground(fresh_database: FreshDatabase, sandbox: Callable[..., Sandbox]) -> MakeGround:
    """For what no database has a part in."""
    return _maker("sqlite", fresh_database, sandbox)


@pytest.fixture
def server_ground(server_engine: str, fresh_database: FreshDatabase, sandbox: Callable[..., Sandbox]) -> MakeGround:
    """On the database servers alone."""
    return _maker(server_engine, fresh_database, sandbox)


def _maker(engine: str, fresh_database: FreshDatabase, sandbox: Callable[..., Sandbox]) -> MakeGround:
    def make(world: World, **options: Any) -> Ground:
        made = Ground(fresh_database(engine), world, sandbox(world, **options))
        made.portal.fill(world)
        return made

    return make
