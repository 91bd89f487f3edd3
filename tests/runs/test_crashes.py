"""docs/contract.md#storing, "killed at any moment": whatever ends process or database, the next run completes it."""

from __future__ import annotations

import random
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from bytemark_sync.sandbox import Sandbox, World
from tests.support.harness import FreshDatabase, Portal, finish, with_option
from tests.support.scenario import MakeScenario, Scenario, simple_world
from tests.support.servers import Databases, MariaDB, wait_for


def stored(at: Scenario) -> int:
    return int(at.portal.value("SELECT COUNT(*) FROM bytemark_order_items"))


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_moment_the_next_run_completes_the_work(scenario: MakeScenario, seed: int) -> None:
    rng = random.Random(seed)
    at = scenario(World.sample(users=120, listed=(4, 8), trouble=0.2, seed=seed), latency=0.02)
    for _ in range(3):
        process = at.start("--workers", "4")
        if rng.random() < 0.7:
            before = stored(at)
            while stored(at) == before and process.poll() is None:
                time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.4))
        process.kill()
        finish(process)
        at.assert_whole_orders()
    at.settle()
    assert {run["status"] for run in at.portal.runs()} <= {"failed", "partial", "succeeded"}
    assert sum(run["items_created"] for run in at.portal.runs()) + sum(
        len(item.passes) for order in at.world.orders for item in order.stored
    ) == stored(at)


@pytest.fixture
def own_mariadb(fresh_database: FreshDatabase) -> Iterator[tuple[MariaDB, str]]:
    """A server that a test may stop, with the migrated, empty tables."""
    with MariaDB() as server:
        url = server.create_two_places("own")
        source, target = Portal(fresh_database("mariadb")), Portal(url)
        dumped = [
            (table, source.all(f"SHOW CREATE TABLE `{table}`")[0][1], source.rows(f"SELECT * FROM `{table}`"))
            for (table,) in source.all("SHOW TABLES")
        ]
        with closing(target.connect()) as connection:
            cursor = connection.cursor()
            cursor.execute("SET foreign_key_checks = 0")
            for table, definition, rows in dumped:
                cursor.execute(definition)
                for row in rows:
                    marks = ", ".join(["%s"] * len(row))
                    cursor.execute(f"INSERT INTO `{table}` VALUES ({marks})", list(row.values()))
        yield server, url


@pytest.mark.server
def test_a_database_that_restarts_in_the_middle_costs_a_wait_and_nothing_else(
    own_mariadb: tuple[MariaDB, str], sandbox: Callable[..., Sandbox]
) -> None:
    server, url = own_mariadb
    world = simple_world(users=150, orders=2)
    at = Scenario(url, world, sandbox(world, latency=0.05))
    at.portal.fill(world)
    process = at.start("--json", "--workers", "4")
    wait_for(lambda: stored(at) > 0, 30, "a write", every=0.01)
    server.stop()
    time.sleep(1.5)
    server.start()
    done = finish(process, 90)
    assert done.status == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert done.json["orders_synced"] == 300
    at.assert_exact()
    at.assert_whole_orders()

    # Killed outright, and up again.
    at.portal.execute("DELETE FROM bytemark_order_items")
    process = at.start("--json", "--workers", "4")
    wait_for(lambda: stored(at) > 0, 30, "a write", every=0.01)
    server.kill()
    server.start()
    done = finish(process, 90)
    assert (done.status, "Traceback" in done.stderr) == (0, False), done.stderr
    at.settle()


def test_connections_that_are_killed_are_made_anew(server_scenario: MakeScenario, server: Databases) -> None:
    at = server_scenario(simple_world(users=200, orders=2), latency=0.1)
    name = at.portal.name
    process = at.start("--json", "--workers", "4")
    killed = 0
    with closing(server.connect("")) as connection:
        cursor = connection.cursor()
        while process.poll() is None:
            cursor.execute("SELECT id FROM information_schema.processlist WHERE db = %s", [name])
            for (number,) in cursor.fetchall():
                try:
                    cursor.execute(f"KILL CONNECTION {number}")
                    killed += 1
                except Exception:
                    continue  # it went by itself
            time.sleep(0.1)
    done = finish(process)
    assert killed > 3
    assert (done.status, "Traceback" in done.stderr) == (0, False), done.stderr
    assert done.json["orders_synced"] == 400
    at.assert_exact()
    at.assert_whole_orders()
    at.settle()


def test_a_deadlock_is_retried(server_scenario: MakeScenario, server: Databases) -> None:
    """Another session holds the last order of a batch and asks for the first, which the run has locked by then."""
    at = server_scenario(simple_world(users=40, orders=1), latency=0.2)
    at.portal.execute("CREATE TABLE heavy (n INT PRIMARY KEY) ENGINE=InnoDB")
    before = server.deadlocks()
    with closing(at.portal.connect()) as other:
        cursor = other.cursor()
        cursor.execute("BEGIN")
        # Of two transactions in a deadlock the one with fewer changes is given up: make that the run's.
        cursor.executemany("INSERT INTO heavy VALUES (%s)", [(n,) for n in range(2000)])
        cursor.execute(at.portal.sql("SELECT id FROM bytemark_orders WHERE id = 40 FOR UPDATE"))
        process = at.start("--json", "--workers", "40")
        wait_for(lambda: waiting(at) > 0, 30, "the run waits for the lock", every=0.02)
        cursor.execute(at.portal.sql("SELECT id FROM bytemark_orders WHERE id BETWEEN 1 AND 39 FOR UPDATE"))
        assert server.deadlocks() == before + 1
        cursor.execute("ROLLBACK")
    done = finish(process)
    assert (done.status, done.json["orders_synced"]) == (0, 40), done.stderr
    at.portal.execute("DROP TABLE heavy")
    at.assert_whole_orders()
    at.settle()


def test_a_lock_that_is_held_longer_than_the_wait_is_waited_for_again(server_scenario: MakeScenario) -> None:
    at = server_scenario(simple_world(users=3, orders=1))
    slow = with_option(at.url, "init_command=SET%20SESSION%20innodb_lock_wait_timeout%3D1")
    with closing(at.portal.connect()) as other:
        cursor = other.cursor()
        cursor.execute("BEGIN")
        cursor.execute(at.portal.sql("SELECT id FROM bytemark_orders FOR UPDATE"))
        process = at.start("--json", url=slow)
        wait_for(lambda: waiting(at) > 0, 30, "the run waits for the lock", every=0.02)
        time.sleep(2.5)
        assert process.poll() is None
        cursor.execute("ROLLBACK")
    done = finish(process)
    assert (done.status, done.json["orders_synced"]) == (0, 3), done.stderr
    at.settle()


def waiting(at: Scenario) -> int:
    return int(at.portal.all("SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'")[0][1])


def test_a_sqlite_file_that_another_process_locks_is_waited_for(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=20, orders=1), latency=0.05)
    impatient = f"{at.url}?timeout=0.2"
    with closing(at.portal.connect()) as other:
        process = at.start("--json", "--workers", "2", url=impatient)
        wait_for(lambda: stored(at) > 0 or process.poll() is not None, 30, "a write", every=0.01)
        other.execute("BEGIN IMMEDIATE")
        time.sleep(2)
        assert process.poll() is None
        other.execute("COMMIT")
    done = finish(process)
    assert (done.status, done.json["orders_synced"]) == (0, 20), done.stderr
    at.settle()


def test_a_full_disk_ends_the_run_in_words_and_with_nothing_half_written(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=150, orders=20), latency=0.05)
    process = at.start("--json", "--workers", "4")
    # No file of the process grows beyond this: SQLite finds its disk full in the middle of the run.
    wait_for(lambda: stored(at) > 0, 30, "a write", every=0.01)
    size = max(file.stat().st_size for file in Path(at.url.removeprefix("sqlite:///")).parent.iterdir())
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size + 100_000, size + 100_000))
    done = finish(process)
    assert done.status == 1
    assert "Traceback" not in done.stderr
    assert "CommandError: the run could not go on: the database failed: " in done.stderr
    assert "disk" in done.stderr
    assert done.json["status"] == "failed"
    assert "disk" in done.json["error"]
    assert 0 < stored(at) < 6000
    at.assert_whole_orders()
    at.settle()
    assert stored(at) == 6000


def test_a_database_that_may_only_be_read_is_told(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(simple_world(users=2))
    done = at.sync("--json", url=f"{at.url}?init_command=PRAGMA%20query_only%3D1")
    assert (done.status, stored(at)) == (1, 0)
    assert "attempt to write a readonly database" in done.stderr
    at.settle()
