"""What a released version has left is migrated, and goes on; what it has fixed for later ones stays as it was.

`make release-fixture` adds a version to tests/upgrade/releases (CONTRIBUTING.md: A release).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.clusters import Cluster
from tests.support.harness import BACKENDS, Portal, manage, sqlite_url, unique_name
from tests.support.servers import SandboxProcess, Server, wait_for
from tests.support.side_by_side import side_by_side
from tests.upgrade.release import RELEASES, SETTINGS, Release, released_hashes, task_parameters

NO_LONGER_USED: frozenset[str] = frozenset()
"""`table` or `table.column` that the last release neither reads nor writes, so that this version may drop it."""
ENV = SETTINGS | {"BYTEMARK_WORKERS": "4", "SYNC_HEARTBEAT_LIMIT": "5"}


def test_a_released_migration_is_never_changed() -> None:
    there = released_hashes()
    for name, released in RELEASES[-1].hashes.items():
        assert there.get(name) == released, (
            f"migrations/{name}.py is released with {RELEASES[-1].version}, and databases have it. Put it back as it"
            " was, and add a new migration behind it (CONTRIBUTING.md: Commits and migrations)."
        )


def test_tasks_of_the_last_release_are_there_and_take_what_it_hands_them() -> None:
    """They lie in the broker and in schedules while two versions work side by side."""
    there = task_parameters()
    for name, parameters in RELEASES[-1].parameters.items():
        assert there.get(name, [])[: len(parameters)] == parameters, f"bytemark_sync.tasks.{name} is changed or gone"


def columns(portal: Portal, table: str) -> dict[str, bool]:
    """Column to whether an INSERT may leave it out."""
    if portal.is_sqlite:
        found = portal.all(f"PRAGMA table_info({table})")
        return {name: not needed or default is not None or bool(key) for _, name, _, needed, default, key in found}
    rows = portal.rows(f"SHOW COLUMNS FROM {table}")
    return {
        row["Field"]: row["Null"] == "YES" or row["Default"] is not None or "auto_increment" in row["Extra"]
        for row in rows
    }


def the_release_can_still_work_the_tables(release: Release, portal: Portal) -> None:
    """Expand first, contract later (docs/decisions/0017-two-versions-side-by-side.md)."""
    for table, (known, _) in release.tables.items():
        there = columns(portal, table)
        gone = {f"{table}.{name}" for name in known if name not in there} - NO_LONGER_USED
        needed = {f"{table}.{name}" for name, may_be_left_out in there.items() if not may_be_left_out}
        new = needed - {f"{table}.{name}" for name in known}
        if table not in NO_LONGER_USED:
            assert (gone, new) == (set(), set()), f"clusters of {release.version} cannot work beside this version"


def is_idle(portal: Portal) -> bool:
    return not portal.value("SELECT COUNT(*) FROM bytemark_sync_run WHERE status IN ('queued', 'running')")


def runs_are_told_truthfully(release: Release, portal: Portal) -> None:
    """Those that were under way; and the counts of all add up to what was stored."""
    names, rows = release.tables["bytemark_sync_run"]
    before = [dict(zip(names, row, strict=True)) for row in rows]
    under_way = {run["id"]: run for run in before if run["status"] in ("queued", "running")}
    assert {run["status"] for run in under_way.values()} == {"queued", "running"}
    for run in portal.runs():
        if run["id"] not in under_way:
            continue
        if under_way[run["id"]]["pid"]:  # a command's; its process is gone
            assert (run["status"], "process died" in run["error"]) == ("failed", True)
        else:
            assert (run["status"], run["error"], run["users"]) == ("partial", "", run["users_planned"])
    before_all = sum(len(item.passes) for order in release.world.orders for item in order.stored)
    created = portal.value("SELECT SUM(items_created) FROM bytemark_sync_run WHERE kind = 'sync'")
    assert before_all + created == len(portal.items())


def it_is_migrated_and_worked_to_its_end(release: Release, url: str, folder: Path) -> None:
    release.put(url)
    portal, world = Portal(url), release.world
    for once_more in (False, True):
        before = portal.dump()
        done = manage("migrate", "-v0", database_url=url)
        assert done.status == 0, done.stderr
        assert not once_more or portal.dump() == before
    if release is RELEASES[-1]:
        the_release_can_still_work_the_tables(release, portal)
    with SandboxProcess(world) as bytemark:
        env = ENV | {"BYTEMARK_CUSTOMER_API_URL": bytemark.url, "BYTEMARK_ACCOUNT_API_URL": bytemark.url}
        with Cluster(folder, url, env) as cluster:
            wait_for(lambda: is_idle(portal), 60, "all runs have ended", every=0.3)
            assert cluster.stop() == 0
        assert portal.items() == world.expected_items(renewal=True)
        assert portal.reasons() == world.expected_reasons(renewal=True)
        runs_are_told_truthfully(release, portal)
        last = manage("sync_order_items", "--json", database_url=url, env=env)
        assert last.json["items_created"] == 0
    assert portal.all("SELECT func, result FROM django_q_task WHERE success = 0") == []


@pytest.mark.cluster
@pytest.mark.server
@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.version)
def test_what_a_release_left_goes_on(release: Release, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    made: list[Callable[[], Any]] = []
    stories = []
    for backend in BACKENDS:
        url = sqlite_url(tmp_path / "release.sqlite3")
        if backend != "sqlite":
            Server.must_be_allowed()
            server = request.getfixturevalue(backend)
            url = server.create_two_places(unique_name(), renews=True)
            made.append(partial(server.drop, url))
        stories.append(partial(it_is_migrated_and_worked_to_its_end, release, url, tmp_path))
    try:
        side_by_side(*stories)
    finally:
        for drop in made:
            drop()
