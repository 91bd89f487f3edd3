"""A cluster does not start on tables older than its code. Newer tables: tests/upgrade/test_side_by_side.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.harness import manage, sqlite_url


@pytest.mark.slow
def test_a_cluster_says_in_a_line_that_migrate_is_to_be_run(tmp_path: Path) -> None:
    done = manage("qcluster", database_url=sqlite_url(tmp_path / "empty.sqlite3"))
    assert done.status == 1
    (line,) = (each for each in done.stderr.splitlines() if "migrate" in each)
    assert line.startswith("CommandError: Run `manage.py migrate` first: version ")
    assert "bytemark_sync.0001_initial" in line
    assert line.endswith(" more.")
    assert len(line) < 200
