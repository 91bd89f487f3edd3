"""What `manage.py qcluster` says where it cannot start. Tables older than its code: tests/checks/test_migrated.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.harness import manage, sqlite_url
from tests.support.servers import free_port


@pytest.mark.slow
def test_a_cluster_says_in_a_line_that_redis_is_away(tmp_path: Path) -> None:
    at = sqlite_url(tmp_path / "ours.sqlite3")
    assert manage("migrate", database_url=at).status == 0
    away = f"redis://:its-password@127.0.0.1:{free_port()}/0"
    done = manage("qcluster", database_url=at, env={"REDIS_URL": away})
    assert done.status == 1
    assert done.stderr.splitlines()[-1].startswith("CommandError: The broker (Redis) cannot be reached.")
    assert "Traceback" not in done.stderr
    assert "its-password" not in done.stderr
