"""docs/backup.md: each block of its commands is run, and leads to what it promises."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any

import pytest

from bytemark_sync.sandbox import PortalOrder, PortalToken, Rider, Sandbox, World
from tests.support.children import spawn
from tests.support.clusters import LIMIT, ClusterScenario
from tests.support.documents import block, installation, statements, with_names
from tests.support.harness import Finished, FreshDatabase, Portal, finish, manage, places
from tests.support.scenario import Env, Scenario, add_user, listed, simple_world
from tests.support.servers import OWNER, PASSWORD, ROOT, MariaDB, clean_environment, wait_for

PAPER = "docs/backup.md"


class Shell:
    """Types the paper's commands in a folder, with the databases' names of the test."""

    def __init__(self, folder: Path, url: str, names: Mapping[str, str] | None = None) -> None:
        self.folder, self.url, self.names = folder, url, dict(names or {})
        if not (folder / "manage.py").exists():
            (folder / "manage.py").symlink_to(ROOT / "manage.py")

    def run(self, name: str, *, env: Env | None = None, status: int = 0) -> Finished:
        """The block `name`."""
        return self.shell(with_names(block(PAPER, name), self.names), env=env, status=status)

    def shell(self, script: str, *, env: Env | None = None, status: int = 0) -> Finished:
        environment = clean_environment(places(self.url) | {"HOME": str(self.folder)} | dict(env or {}))
        environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"
        process = spawn(
            ["sh", "-euc", script], env=environment, cwd=self.folder, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        done = finish(process)
        assert (done.status, "Traceback" in done.stderr) == (status, False), (script, done.stdout, done.stderr)
        return done


class Databases(Shell):
    """Both databases on a server. Commands are typed as the product's user, SQL as an administrator."""

    def __init__(self, server: MariaDB, folder: Path, url: str) -> None:
        self.server, self.portal = server, Portal(url)
        own, portal = self.portal.name, self.portal.portal_database
        super().__init__(folder, url, {"bytemark_sync": own, "portal": portal, "restored": f"{own}_restored"})
        self.as_user(f"host=127.0.0.1\nport={server.port}\nuser={own}\npassword={PASSWORD}")

    def as_user(self, client: str) -> None:
        (self.folder / ".my.cnf").write_text(f"[client]\n{client}\n")

    def as_administrator(self) -> None:
        self.as_user(f"socket={self.server.socket}\nuser=root")

    def sql(self, name: str) -> list[tuple[Any, ...]]:
        """The block `name`, of SQL. The rows of its last statement."""
        connection = self.server.connect("")
        try:
            cursor = connection.cursor()
            for statement in statements(with_names(block(PAPER, name), self.names)):
                cursor.execute(statement)
            return list(cursor.fetchall())
        finally:
            connection.close()

    def lose_the_product(self) -> None:
        """Its database and its user, and make both anew as the README has it."""
        own = self.portal.name
        self.server.execute(f"DROP DATABASE `{own}`", f"DROP USER '{own}'@'%'", *installation(self.names))

    def stored(self) -> int:
        """Orders that the product has on record as stored."""
        return int(self.portal.value("SELECT COUNT(*) FROM bytemark_sync_stored_order"))

    def tables(self) -> list[str]:
        """How the product's are made, but for the counters that grow with each row."""
        names = [name for (name,) in self.portal.all("SHOW TABLES")]
        made = [self.portal.all(f"SHOW CREATE TABLE `{name}`")[0][1] for name in names]
        return [re.sub(r" AUTO_INCREMENT=\d+", "", each) for each in made]


@pytest.fixture
def databases(mariadb: MariaDB, tmp_path: Path, fresh_database: FreshDatabase) -> Iterator[Databases]:
    made = Databases(mariadb, tmp_path, fresh_database("mariadb"))
    yield made
    mariadb.execute(f"DROP DATABASE IF EXISTS `{made.names['restored']}`")


def with_one_not_listed(users: int) -> World:
    """Users with two orders each, and one whose order Bytemark does not list."""
    world = simple_world(users)
    add_user(world, 900, [], wanted=["gone"])
    return world


def grow(at: Scenario, more: World) -> None:
    """The riders of `more` come along, at Bytemark and in the portal."""
    at.portal.fill(more)
    at.world.riders += more.riders
    at.world.orders += more.orders
    at.world.tokens += more.tokens
    at.sandbox.set_world(at.world)


def later_orders(first_id: int, user: int, *uuids: str, is_listed: bool = True) -> World:
    orders = [PortalOrder(first_id + n, uuid, user, f"key-{user}") for n, uuid in enumerate(uuids)]
    rider = Rider(user, [f"key-{user}"], [listed(uuid) for uuid in uuids] if is_listed else [])
    return World(riders=[rider], orders=orders, tokens=[PortalToken(user, f"key-{user}")])


# --- Backup and restore ---------------------------------------------------------------------------------------------


@pytest.mark.cluster
def test_a_backup_of_a_run_under_way_is_restored_under_a_new_name_and_the_run_goes_on(
    databases: Databases, mariadb: MariaDB, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        at = ClusterScenario(stack, tmp_path, databases.url, redis=None, latency=0.5)
        cluster = at.cluster()
        at.enqueue()
        at.wait_for_a_third()
        databases.run("dump")
        saved = at.stored()
        wait_for(lambda: at.stored() > saved + 10, 30, "more is stored after the backup")
        cluster.kill()

        databases.sql("new name")
        restored = databases.names["restored"]
        mariadb.execute(f"GRANT ALL ON `{restored}`.* TO '{OWNER}'@'%'")
        at.url = databases.url = databases.url.replace(f"/{databases.portal.name}#", f"/{restored}#")
        there = with_names(block(PAPER, "restore"), databases.names)
        databases.shell(there.replace(f"mariadb {databases.portal.name} ", f"mariadb {restored} "), env=at.env)
        at.portal = Portal(at.url)
        pending = {order.id for order in at.world.pending()}
        stored_by_then = len(pending & {item.order_id for item in at.portal.items()})
        assert len(pending) / 3 < at.stored() <= saved < stored_by_then

        at.cluster()
        wait_for(at.is_closed, 4 * LIMIT, "the run goes on and ends", every=0.2)
        assert at.portal.items() == at.world.expected_items()
        assert at.portal.reasons() == at.world.expected_reasons()
        (run,) = at.portal.runs()
        assert (run["status"], run["error"]) == ("partial", "")
        assert run["orders_synced"] == at.stored() < len(pending - at.portal.reasons().keys())


def test_a_lost_product_costs_no_order_with_a_backup_and_without(
    databases: Databases, sandbox: Callable[..., Sandbox]
) -> None:
    world = with_one_not_listed(users=3)
    at = Scenario(databases.url, world, sandbox(world))
    at.portal.fill(world)
    assert at.sync().status == 0
    databases.run("dump")
    grow(at, later_orders(50, 200, "later-1", "later-2"))
    assert at.sync().status == 0

    databases.lose_the_product()
    databases.run("restore", env=at.env())
    done = at.sync("--json", "--include-deferred")
    assert (done.status, done.json["orders"], done.json["orders_not_found"]) == (0, 1, 1)
    at.assert_exact()
    assert databases.stored() == 6

    databases.lose_the_product()
    assert manage("migrate", "-v0", database_url=at.url).status == 0
    done = at.sync("--json")
    assert (done.json["run_id"], done.json["orders"], done.json["items_created"]) == (1, 1, 0)
    at.assert_exact()


def test_both_databases_go_back_to_one_moment(databases: Databases, sandbox: Callable[..., Sandbox]) -> None:
    world = simple_world(users=2)
    at = Scenario(databases.url, world, sandbox(world))
    at.portal.fill(world)
    databases.as_administrator()
    databases.run("dump of both")
    assert at.sync().status == 0
    databases.run("restore of both")
    assert (at.portal.items(), at.portal.runs()) == ([], [])
    assert at.sync().status == 0
    at.assert_exact()
    at.assert_whole_orders()


@pytest.mark.slow
def test_sqlite_is_saved_while_a_command_works_and_the_command_is_closed_after_the_restore(
    migrated_copy: Callable[[Path], str], sandbox: Callable[..., Sandbox], tmp_path: Path
) -> None:
    world = simple_world(users=40)
    url = migrated_copy(tmp_path / "db.sqlite3")
    at = Scenario(url, world, sandbox(world, latency=0.25))
    at.portal.fill(world)
    shell = Shell(tmp_path, url)
    command = at.start("--workers", 1)
    wait_for(lambda: len(at.portal.items()) > 0, 30, "something is stored")
    shell.run("dump of sqlite")
    wait_for(lambda: len(at.portal.items()) > len(Portal(f"sqlite:///{tmp_path}/backup.sqlite3").items()), 30, "more")
    command.kill()
    finish(command)
    before = len(at.portal.items())
    shell.run("restore of sqlite")
    assert 0 < len(at.portal.items()) < before < len(world.expected_items())
    at.assert_whole_orders()

    at.age_heartbeats()
    assert at.sync().status == 0
    at.assert_exact()
    at.assert_whole_orders()
    assert [run["status"] for run in at.portal.runs()] == ["failed", "succeeded"]
    assert sum(run["items_created"] for run in at.portal.runs()) == len(world.expected_items())


def test_what_an_older_portal_has_lost_is_stored_again_and_its_ids_are_free(
    databases: Databases, sandbox: Callable[..., Sandbox]
) -> None:
    world = simple_world(users=2)
    at = Scenario(databases.url, world, sandbox(world))
    at.portal.fill(world)
    mariadb, portal = databases.server, at.portal.portal_database
    tables = ("bytemark_orders", "bytemark_tokens", "bytemark_order_items")
    for table in tables:  # the portal's own backup
        mariadb.execute(f"CREATE TABLE `{portal}`.`{table}_backup` AS SELECT * FROM `{portal}`.`{table}`")
    grow(at, later_orders(5, 200, "lost"))
    grow(at, later_orders(6, 201, "hopeless", is_listed=False))
    grow(at, later_orders(7, 202, "hopeless too", is_listed=False))
    assert at.sync().status == 0
    at.assert_exact()

    for table in tables:
        mariadb.execute(f"DELETE FROM `{portal}`.`{table}`")
        mariadb.execute(f"INSERT INTO `{portal}`.`{table}` SELECT * FROM `{portal}`.`{table}_backup`")
    audit = manage("audit_order_items", "--json", database_url=at.url, env=at.env())
    assert (audit.status, audit.json["orders"], audit.json["findings_total"]) == (0, 0, 0)
    assert databases.sql("lost") == [(1, 4)]
    # Already given away, to a rider whose order would wait for the one before.
    at.world.riders, at.world.orders, at.world.tokens = world.riders[:2], world.orders[:4], world.tokens[:2]
    grow(at, later_orders(7, 300, "new"))
    assert at.sync("--json", "--dry-run").json["orders_deferred"] == 1
    databases.sql("forget")
    assert set(at.portal.reasons()) == {7}
    for table in ("attempt", "stored_order"):
        found = {row[0] for row in at.portal.all(f"SELECT order_id FROM bytemark_sync_{table}")}
        assert not found & {5, 6}, table
    databases.run("store again", env=at.env())
    at.assert_exact()
    assert databases.sql("lost") == [(0, 0)]


# --- The way back ---------------------------------------------------------------------------------------------------


def test_a_newer_version_is_left_by_its_own_migration(databases: Databases, sandbox: Callable[..., Sandbox]) -> None:
    """The newer version is this one with a migration more, whose column the older code would not fill."""
    world = simple_world(users=2)
    at = Scenario(databases.url, world, sandbox(world))
    at.portal.fill(world)
    older = databases.tables()
    last = max(path.stem for path in (ROOT / "bytemark_sync/migrations").glob("0*.py"))
    newer = databases.folder / "newer"
    for name in ("bytemark_sync", "project"):
        shutil.copytree(ROOT / name, newer / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "manage.py", newer)
    (newer / "bytemark_sync/migrations" / "0999_newer.py").write_text(
        "from django.db import migrations, models\n\n\nclass Migration(migrations.Migration):\n"
        f"    dependencies = [('bytemark_sync', '{last}')]\n"
        "    operations = [migrations.AddField('syncrun', 'newer', models.CharField(max_length=9, default='-'))]\n"
    )
    databases.names["NAME"] = last
    there = Shell(newer, databases.url, databases.names)
    there.shell("python manage.py migrate -v0")
    assert databases.tables() != older
    assert databases.sql("last migration") == [("0999_newer",)]
    assert "Undo Add field newer to syncrun" in there.run("plan back").stdout
    there.run("migrate back")
    databases.run("check back", env=at.env())
    assert databases.sql("last migration") == [(last,)]
    assert databases.tables() == older
    assert at.sync().status == 0
    at.assert_exact()


class PreviousJob:
    """What the portal's database sees of the job that this product replaced: one look, then each pass by itself."""

    PENDING = """SELECT DISTINCT bytemark_orders.id FROM bytemark_orders
        JOIN bytemark_tokens ON bytemark_orders.user_id = bytemark_tokens.user_id
        LEFT JOIN bytemark_order_items ON bytemark_orders.id = bytemark_order_items.order_id
        WHERE bytemark_order_items.id IS NULL AND bytemark_orders.amount = '0'"""

    def __init__(self, at: Scenario) -> None:
        self._at = at
        pending = {order_id for (order_id,) in at.portal.all(self.PENDING)}
        self.passes = [item for item in at.world.expected_items() if item.order_id in pending]

    def store(self, most: int | None = None) -> None:
        columns = "order_id, order_uuid, oauth_token, product_uuid, pass_uuid"
        for item in self.passes[:most]:
            statement = f"INSERT INTO bytemark_order_items ({columns}) VALUES (%s, %s, %s, %s, %s)"
            self._at.portal.execute(statement, *item)


def test_the_previous_job_works_again_and_then_this_product_once_more(
    databases: Databases, sandbox: Callable[..., Sandbox]
) -> None:
    world = simple_world(users=3)
    at = Scenario(databases.url, world, sandbox(world))
    at.portal.fill(world)

    databases.sql("silence")
    forgotten = at.sync("--json")
    assert (forgotten.status, forgotten.json["status"], at.portal.items()) == (1, "failed", [])
    assert "INSERT" in forgotten.json["error"]
    assert databases.sql("connected") == []

    PreviousJob(at).store(most=5)  # two orders, half of the third, and it is stopped
    late = PreviousJob(at)  # another of the kind, that is not stopped
    databases.sql("speak")
    done = databases.run("catch up", env=at.env(), status=1)
    assert "1 repaired" in done.stdout
    at.assert_exact()

    late.store()
    audit = manage("audit_order_items", "--json", database_url=at.url, env=at.env())
    assert (audit.status, audit.json["findings_total"]) == (1, audit.json["findings"]["stored_twice"])
    assert audit.json["findings_total"] == len(late.passes) == 6
    databases.sql("doubles")
    at.assert_exact()

    databases.sql("remove")
    portal = Portal(f"mysql://{OWNER}:{PASSWORD}@127.0.0.1:{databases.server.port}/{at.portal.portal_database}")
    assert portal.items() == world.expected_items()
    databases.server.execute(*installation(databases.names))
