"""Fixtures of what only MariaDB can be made to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bytemark_sync.sandbox import Sandbox
from tests.support.harness import FreshDatabase
from tests.support.scenario import MakeScenario, make_scenario


@pytest.fixture
def mariadb_scenario(fresh_database: FreshDatabase, sandbox: Callable[..., Sandbox]) -> MakeScenario:
    """MariaDB alone: elsewhere triggers and global settings want rights that a test's user may not have."""
    return make_scenario("mariadb", fresh_database, sandbox)
