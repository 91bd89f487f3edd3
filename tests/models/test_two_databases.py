"""docs/contract.md#two-places: nothing in the portal is made, altered or dropped, and few rights are enough."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from bytemark_sync.sandbox import Sandbox, World
from tests.support.documents import block, installation, with_names
from tests.support.harness import Portal, finish, manage, sqlite_url, start_manage, unique_name
from tests.support.portal_tables import ORDER_TABLES, WEB2PY_TABLES
from tests.support.scenario import MakeScenario, Scenario, simple_world
from tests.support.servers import OWNER, PASSWORD, Databases, free_port, grants, wait_for

RIDERS = (
    "INSERT INTO auth_user (first_name, email, password) VALUES ('Ada', NULL, 'x'), (NULL, REPEAT('e', 400), NULL)",
    "INSERT INTO auth_group (role) VALUES ('rider')",
    "INSERT INTO auth_permission (group_id, name, table_name, record_id) VALUES (1, REPEAT('n', 500), 'auth_user', 0)",
)


def portal_tables(server: Databases, database: str) -> list[str]:
    connection = server.connect(database)
    try:
        cursor = connection.cursor()
        cursor.execute("SHOW FULL TABLES")
        return sorted(row[0] for row in cursor.fetchall())
    finally:
        connection.close()


def definitions(server: Databases, database: str) -> dict[str, str]:
    """Of every table, to the letter but for the counter that grows with each row."""
    connection = server.connect(database)
    try:
        cursor = connection.cursor()
        found = {}
        for table in portal_tables(server, database):
            cursor.execute(f"SHOW CREATE TABLE `{table}`")
            found[table] = re.sub(r" AUTO_INCREMENT=\d+", "", cursor.fetchone()[1])
        return found
    finally:
        connection.close()


def rows(server: Databases, database: str, tables: tuple[str, ...]) -> dict[str, list[Any]]:
    connection = server.connect(database)
    try:
        cursor = connection.cursor()
        found: dict[str, list[Any]] = {}
        for table in tables:
            cursor.execute(f"SELECT * FROM `{table}` ORDER BY id")
            found[table] = list(cursor.fetchall())
        return found
    finally:
        connection.close()


OTHERS = ("auth_user", "auth_group", "auth_permission", "auth_membership", "auth_event", "auth_cas")

ADMIN_DAY = """
from django.contrib.auth.models import User
from django.test import Client
User.objects.create_superuser("root", "", "a-made-up-password")
client = Client(headers={"host": "127.0.0.1"})
client.force_login(User.objects.get(), backend="django.contrib.auth.backends.ModelBackend")
A = "/admin/bytemark_sync/"
for url in (
    "/admin/", A + "pendingorder/", A + "pendingorder/?reason=not_found", A + "portaluser/", A + "order/",
    A + "orderitem/", A + "orderitem/export/", A + "orderattempt/", A + "syncrun/", A + "syncrun/1/change/",
    A + "auditfinding/", A + "order/1/change/", "/admin/django_q/schedule/", "/admin/django_q/success/", "/healthz",
):
    response = client.get(url)
    b"".join(response.streaming_content if response.streaming else [response.content])
    assert response.status_code in (200, 503), (url, response.status_code)
print(client.post(A + "pendingorder/resync/?user=101", follow=True).redirect_chain[-1][0])
from bytemark_sync.tasks import check_silence, prune, watch
print(prune())
watch(), check_silence()
"""


@pytest.mark.cluster
def test_all_that_the_product_does_needs_the_contracts_rights_alone_and_leaves_the_portal_as_it_was(
    server: Databases, sandbox: Callable[..., Sandbox]
) -> None:
    url = server.create_two_places(unique_name())
    portal = Portal(url)
    try:
        database = portal.portal_database
        connection = server.connect(database)
        for statement in RIDERS:
            connection.cursor().execute(statement)
        connection.close()
        world = World.sample(users=12, listed=(3, 8), trouble=0.3, seed=3)
        at = Scenario(url, world, sandbox(world))
        portal.fill(world)
        before, riders = definitions(server, database), rows(server, database, OTHERS)
        orders = rows(server, database, ("bytemark_orders", "bytemark_tokens"))

        def untouched() -> None:
            assert definitions(server, database) == before
            assert rows(server, database, OTHERS) == riders
            assert rows(server, database, ("bytemark_orders", "bytemark_tokens")) == orders

        def run(*args: object, status: int = 0, env: Mapping[str, str] | None = None) -> str:
            done = manage(*args, database_url=url, env=at.env(env))
            assert (done.status, "Traceback" in done.stderr) == (status, False), done.stderr
            untouched()
            return done.stdout

        run("migrate", "-v0")
        run("migrate", "--fake-initial", "-v0")
        assert not [name for name in portal.tables() if name.startswith("bytemark_o") and name in own_tables(portal)]
        assert run("check", "--database", "default").strip() == "System check identified no issues (1 silenced)."
        failed = 1 if world.expected_failed_users() else 0
        run("sync_order_items", "--dry-run", status=failed)
        assert portal.value("SELECT COUNT(*) FROM bytemark_sync_run") == 0
        run("sync_order_items", status=failed)
        at.assert_exact()
        run("sync_order_items", "--include-deferred", status=failed)
        at.assert_exact()
        # The audit mends what somebody deleted, and the queue stores it anew.
        several = "SELECT MAX(id) FROM bytemark_order_items GROUP BY order_id HAVING COUNT(*) > 1 LIMIT 1"
        lost = portal.value(several)
        portal.execute("DELETE FROM bytemark_order_items WHERE id = %s", lost)
        run("audit_order_items", "--repair", status=1)
        run("shell", "-v0", "-c", ADMIN_DAY)
        run("sync_order_items", "--enqueue", "--include-deferred")
        cluster = start_manage("qcluster", database_url=url, env=at.env())
        try:
            closed = "SELECT COUNT(*) FROM bytemark_sync_run WHERE status IN ('queued', 'running')"
            wait_for(lambda: portal.value(closed) == 0, 60, "what was queued is worked")
        finally:
            cluster.terminate()
            finish(cluster, 30)
        assert {run["status"] for run in portal.runs()} <= {"succeeded", "partial"}
        at.assert_exact()
        run("sync_status")
    finally:
        server.drop(url)


def own_tables(portal: Portal) -> list[str]:
    return [row[0] for row in portal.all("SHOW TABLES")]


# --- Never in anybody's way -------------------------------------------------------------------------------------------

COMMANDS = (
    ("migrate",),
    ("migrate", "--fake-initial", "--noinput"),
    ("sync_order_items",),
    ("sync_order_items", "--enqueue", "--json"),
    ("sync_order_items", "--dry-run"),
    ("audit_order_items",),
    ("sync_status",),
    ("check", "--database", "default"),
    ("createsuperuser", "--noinput", "--username", "root", "--email", ""),
    ("qcluster",),
    ("runserver", "--noreload"),
    ("runserver",),
)
API = {"BYTEMARK_CUSTOMER_API_URL": "http://127.0.0.1:9"}


def refused(url: str, tables: list[str], commands: tuple[tuple[str, ...], ...] = COMMANDS) -> None:
    for command in commands:
        args = (*command, str(free_port())) if command[0] == "runserver" else command
        done = manage(*args, database_url=url, env=API, timeout=60)
        said = done.stderr.strip()
        assert (done.status, "Traceback" in said) == (2, False), (command, done.status, said)
        assert len(said.splitlines()) == 1, (command, said)
        assert f"did not make: {', '.join(tables)}." in said, (command, said)
        assert "PORTAL_DATABASE" in said


@pytest.fixture
def one_place(server: Databases) -> Iterator[Callable[..., Portal]]:
    """`one_place(*tables)`: one database with these tables in it."""
    made: list[str] = []

    def make(*tables: str) -> Portal:
        made.append(server.create_database(unique_name()))
        portal = Portal(made[-1])
        for statement in tables:
            portal.execute(statement)
        return portal

    yield make
    for url in made:
        server.drop(url)


def test_a_portal_with_users_of_its_own_is_refused_by_every_command(
    one_place: Callable[..., Portal], server: Databases
) -> None:
    portal = one_place(*WEB2PY_TABLES, *ORDER_TABLES, *RIDERS)
    before, riders = definitions(server, portal.name), rows(server, portal.name, OTHERS)
    refused(portal.url, ["auth_group", "auth_permission", "auth_user"])
    assert definitions(server, portal.name) == before
    assert rows(server, portal.name, OTHERS) == riders


def test_one_table_is_enough(one_place: Callable[..., Portal], server: Databases) -> None:
    portal = one_place(WEB2PY_TABLES[0], *ORDER_TABLES)
    before = definitions(server, portal.name)
    refused(portal.url, ["auth_user"], (("migrate", "-v0"), ("migrate", "--fake-initial"), ("sync_order_items",)))
    assert definitions(server, portal.name) == before


def test_the_database_of_another_django_project_is_refused(one_place: Callable[..., Portal]) -> None:
    portal = one_place(
        "CREATE TABLE django_migrations (id INT PRIMARY KEY AUTO_INCREMENT, app VARCHAR(255), name VARCHAR(255),"
        " applied DATETIME)",
        "INSERT INTO django_migrations (app, name) VALUES ('auth', '0001_initial')",
        "CREATE TABLE django_session (session_key VARCHAR(40) PRIMARY KEY)",
    )
    refused(portal.url, ["django_migrations", "django_session"], (("migrate",), ("qcluster",)))


def test_tables_of_our_names_in_no_shape_of_ours_are_refused(one_place: Callable[..., Portal]) -> None:
    portal = one_place("CREATE TABLE django_migrations (note TEXT)", "CREATE TABLE bytemark_sync_run (x INT)")
    refused(portal.url, ["bytemark_sync_run", "django_migrations"], (("migrate",), ("sync_order_items",)))


@pytest.mark.slow
def test_sqlite_is_guarded_too(tmp_path: Path) -> None:
    portal = Portal(sqlite_url(tmp_path / "other.sqlite3"))
    portal.execute("CREATE TABLE auth_user (id INTEGER PRIMARY KEY, email TEXT)")
    refused(portal.url, ["auth_user"])
    assert portal.tables() == ["auth_user"]


@pytest.mark.slow
def test_the_web_server_does_not_start_on_foreign_tables(tmp_path: Path) -> None:
    portal = Portal(sqlite_url(tmp_path / "other.sqlite3"))
    portal.execute("CREATE TABLE auth_user (id INTEGER PRIMARY KEY, email TEXT)")
    done = manage("shell", "-c", "import project.wsgi", database_url=portal.url, env=API)
    assert (done.status, "auth_user" in done.stderr) == (2, True), done.stderr


def test_a_database_of_ours_is_recognised_however_far_migrate_came(
    one_place: Callable[..., Portal], sandbox: Callable[..., Sandbox]
) -> None:
    portal = one_place()
    for args in (("bytemark_sync", "0001"), ("contenttypes",), ("auth", "0003"), (), ("--fake-initial",)):
        done = manage("migrate", "-v0", *args, database_url=portal.url)
        assert done.status == 0, (args, done.stderr)
    world = simple_world(users=2)
    at = Scenario(portal.url, world, sandbox(world))
    portal.fill(world)
    assert at.sync().status == 0
    at.assert_exact()
    # Killed before its first row, `migrate` leaves an empty table behind.
    other = one_place(portal.all("SHOW CREATE TABLE django_migrations")[0][1])
    assert manage("migrate", "-v0", database_url=other.url).status == 0


def test_migrate_that_is_killed_is_never_refused_afterwards(one_place: Callable[..., Portal]) -> None:
    """Whatever else it then says: MySQL knows no transaction over the making of tables."""
    for seconds in (0.6, 0.9, 1.2):
        portal = one_place()
        process = start_manage("migrate", database_url=portal.url, cold=True)
        time.sleep(seconds)
        process.kill()
        finish(process)
        done = manage("migrate", "-v0", database_url=portal.url)
        assert "did not make" not in done.stderr


# --- What the database user may not do --------------------------------------------------------------------------------

RIGHTS = (
    ("SELECT", "bytemark_orders"),
    ("UPDATE", "bytemark_orders"),
    ("SELECT", "bytemark_tokens"),
    ("SELECT", "bytemark_order_items"),
    ("INSERT", "bytemark_order_items"),
)


@pytest.mark.parametrize(("right", "table"), RIGHTS)
def test_check_names_a_right_that_is_missing_and_the_grant_that_mends_it(
    server_scenario: MakeScenario, server: Databases, right: str, table: str
) -> None:
    at = server_scenario(simple_world(users=1))
    place, user = f"`{at.portal.portal_database}`.`{table}`", f"'{at.portal.name}'@'%'"
    server.execute(f"REVOKE {right} ON {place} FROM {user}")
    done = manage("check", "--database", "default", database_url=at.url, env=at.env())
    assert f"The database user lacks {right} on {place}" in done.stderr
    # MariaDB locks a row without UPDATE; MySQL does not.
    only_warned = (server.kind, right) == ("mariadb", "UPDATE")
    assert (done.status, "W003" in done.stderr) == (0 if only_warned else 1, only_warned), done.stderr
    (grant,) = re.findall(
        r"HINT: .*: (GRANT .*;)", "\n".join(line for line in done.stderr.splitlines() if right in line)
    )
    server.execute(grant)
    done = manage("check", "--database", "default", database_url=at.url, env=at.env())
    assert (done.status, done.stderr) == (0, "")
    assert at.sync().status == 0
    at.assert_exact()


def test_only_renewal_needs_a_right_on_the_tokens(server_scenario: MakeScenario, server: Databases) -> None:
    at = server_scenario(simple_world(users=1))
    place = f"`{at.portal.portal_database}`.`bytemark_tokens`"
    on = {"BYTEMARK_ACCOUNT_API_URL": "http://127.0.0.1:9", "BYTEMARK_CLIENT_ID": "made-up"}
    done = manage("check", "--database", "default", database_url=at.url, env={**at.env(), **on})
    assert done.status == 1
    assert f"(bytemark_sync.E005) The database user lacks UPDATE (token) on {place}" in done.stderr
    (grant,) = re.findall(r"HINT: .*: (GRANT .*;)", done.stderr)
    server.execute(grant)
    done = manage("check", "--database", "default", database_url=at.url, env={**at.env(), **on})
    assert (done.status, done.stderr) == (0, "")


def test_check_names_a_right_that_is_missing_on_our_own_database(
    server_scenario: MakeScenario, server: Databases
) -> None:
    at = server_scenario(simple_world(users=1))
    place, user = f"`{at.portal.name}`.*", f"'{at.portal.name}'@'%'"
    server.execute(f"REVOKE DROP, REFERENCES ON {place} FROM {user}")
    for command in (("check", "--database", "default"), ("migrate",)):
        done = manage(*command, database_url=at.url, env=at.env())
        assert done.status == 1
        for right in ("DROP", "REFERENCES"):
            assert f"The database user lacks {right} on {place}" in done.stderr
            assert f"GRANT {right} ON {place} TO {user};" in done.stderr


def test_migrate_does_not_wait_for_rights_on_the_portal(server: Databases) -> None:
    name = unique_name()
    url = server.create_two_places(name)
    try:
        for statement in grants(name, name, f"{name}_portal")[1:]:
            server.execute(statement.replace("GRANT", "REVOKE").replace(" TO ", " FROM "))
        assert manage("migrate", "-v0", database_url=url).status == 0
        done = manage("check", "--database", "default", database_url=url, env=API)
        assert (done.status, done.stderr.count("(bytemark_sync.E005)") >= 4) == (1, True), done.stderr
        done = manage("sync_order_items", "--json", database_url=url, env=API)
        assert (done.status, "Traceback" in done.stderr) == (1, False)
        assert "check --database default" in done.stderr
    finally:
        server.drop(url)


def test_a_portal_database_that_is_not_there_is_told(server_scenario: MakeScenario) -> None:
    at = server_scenario(simple_world(users=1))
    url = at.url.partition("#")[0] + "#no_such_portal"
    done = manage("check", "--database", "default", database_url=url, env=at.env())
    assert done.status == 1
    assert "no_such_portal" in done.stderr
    assert "PORTAL_DATABASE" in done.stderr


# --- As the papers say ------------------------------------------------------------------------------------------------


def test_the_readme_leads_to_a_working_installation_and_an_untouched_portal(
    server: Databases, sandbox: Callable[..., Sandbox]
) -> None:
    name = unique_name()
    own, database = f"{name}_own", f"{name}_portal"
    portal_url = server.create_database(database)
    try:
        for statement in (*WEB2PY_TABLES, *(each.replace("id BIGINT", "id INT") for each in ORDER_TABLES), *RIDERS):
            Portal(portal_url).execute(statement)
        world = simple_world(users=4)
        Portal(portal_url).fill(world)
        before = definitions(server, database)
        names = {"bytemark_sync": own, "portal": database}
        server.execute(*installation(names))
        at = Scenario(f"mysql://{own}:{PASSWORD}@127.0.0.1:{server.port}/{own}#{database}", world, sandbox(world))
        for command in (
            ("migrate",),
            ("check", "--database", "default"),
            ("sync_order_items", "--dry-run", "--limit", "20"),
            ("sync_order_items", "--limit", "20"),
        ):
            done = manage(*command, database_url=at.url, env=at.env())
            assert (done.status, "Traceback" in done.stderr) == (0, False), done.stderr
        assert Portal(portal_url).items() == world.expected_items()
        assert definitions(server, database) == before
    finally:
        server.drop(portal_url)
        server.execute(f"DROP DATABASE IF EXISTS `{own}`", f"DROP USER IF EXISTS '{own}'@'%'")


@pytest.mark.cluster
def test_an_installation_moves_out_of_the_portal(server: Databases, sandbox: Callable[..., Sandbox]) -> None:
    name = unique_name()
    own, database = f"{name}_own", f"{name}_portal"
    old = Portal(server.create_database(database))
    try:
        for statement in (*ORDER_TABLES, "CREATE TABLE auth_event (id INT PRIMARY KEY)"):
            old.execute(statement)
        portals = definitions(server, database)
        world = simple_world(users=6, orders=2)
        before = Scenario(old.url, world, sandbox(world))
        old.fill(world)
        assert manage("migrate", "--fake-initial", "-v0", database_url=old.url).status == 0
        assert before.sync("--user", 101, "--user", 102).status == 0
        queued = before.sync("--enqueue", "--json").json["run_id"]
        tables = set(old.tables())

        names = {"bytemark_sync": own, "portal": database}
        server.execute(*installation(names))
        query = with_names(block("docs/operations.md", "move"), names)
        connection = server.connect("")
        cursor = connection.cursor()
        cursor.execute("SET SESSION group_concat_max_len = 100000")
        cursor.execute(query)
        (move,) = cursor.fetchone()
        cursor.execute(move)
        connection.close()
        assert definitions(server, database) == portals

        server.execute(f"GRANT ALL ON `{own}`.* TO '{OWNER}'@'%'")  # for the test's own looks
        url = f"mysql://{own}:{PASSWORD}@127.0.0.1:{server.port}/{own}#{database}"
        at = Scenario(url, world, before.sandbox)
        for command in (("migrate",), ("check", "--database", "default"), ("migrate", "--check")):
            done = manage(*command, database_url=url, env=at.env())
            assert done.status == 0, done.stderr
        assert set(at.portal.tables()) | {"auth_event"} == tables
        assert [run["id"] for run in at.portal.runs()] == [1, queued]
        cluster = start_manage("qcluster", database_url=url, env=at.env())
        try:
            wait_for(lambda: at.portal.runs()[-1]["status"] == "succeeded", 60, "the run that was queued before")
        finally:
            cluster.terminate()
            finish(cluster, 30)
        at.assert_exact()
        assert at.sync("--json").json["orders"] == 0
    finally:
        server.drop(old.url)
        server.execute(f"DROP DATABASE IF EXISTS `{own}`", f"DROP USER IF EXISTS '{own}'@'%'")
