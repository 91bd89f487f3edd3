"""What the server has against one order is that order's problem; what passes is waited for, at the end of a run too."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest
from MySQLdb.constants import ER

from bytemark_sync.sandbox import Sandbox, World
from tests.support.harness import FreshDatabase, finish, manage, start_manage
from tests.support.scenario import MakeScenario, Scenario, add_user, listed, make_scenario, simple_world
from tests.support.servers import MariaDB, wait_for

pytestmark = pytest.mark.server

CHECK_CONSTRAINT_VIOLATED = 3819  # MySQL


@pytest.fixture
def mariadb_scenario(fresh_database: FreshDatabase, sandbox: Callable[..., Sandbox]) -> MakeScenario:
    """MariaDB alone: elsewhere triggers and global settings want rights that a test's user may not have."""
    return make_scenario("mariadb", fresh_database, sandbox)


READ_ONLY_AND_THE_LIKE = [
    *(ER.OPTION_PREVENTS_STATEMENT, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED),
    *(ER.CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, ER.READ_ONLY_MODE, ER.UNKNOWN_COM_ERROR),
]


def signal(at: Scenario, event: str, when: str, errno: int, text: str) -> None:
    """A trigger that fails the statement with the number and the text."""
    at.portal.execute(
        f"CREATE TRIGGER `{at.portal.portal_database}`.refuses BEFORE {event} FOR EACH ROW BEGIN "
        f"DECLARE words VARCHAR(128) DEFAULT {text}; "
        f"IF {when} THEN SIGNAL SQLSTATE '45000' SET MYSQL_ERRNO = {errno}, MESSAGE_TEXT = words; END IF; END"
    )


@pytest.mark.parametrize("errno", [ER.SIGNAL_EXCEPTION, CHECK_CONSTRAINT_VIOLATED, 30001])
def test_an_order_that_a_trigger_refuses_is_left_alone_with_the_code(
    mariadb_scenario: MakeScenario, errno: int
) -> None:
    at = mariadb_scenario(simple_world(users=30, orders=3))
    refused = at.world.orders[40]
    signal(
        at,
        event="INSERT ON bytemark_order_items",
        when=f"NEW.order_uuid = '{refused.order_uuid}'",
        errno=errno,
        text="CONCAT('not with token ', NEW.oauth_token)",
    )
    for attempts in (1, 2):
        done = at.sync("--json")
        assert (done.status, done.json["status"], done.json["orders_invalid"]) == (0, "succeeded", 1), done.stderr
        assert done.json["orders_synced"] == (89 if attempts == 1 else 0)
        assert re.search(
            rf"malformed or refused .*example user {refused.user_id}: The .*\(error {errno}\)", done.stderr
        )
        assert at.portal.reasons() == {refused.id: "malformed"}
        ((detail, tried),) = at.portal.all("SELECT detail, attempts FROM bytemark_sync_outcome")
        assert tried == attempts
        assert str(errno) in detail
        assert refused.oauth_token not in detail + done.stdout + done.stderr
        assert at.portal.items() == [item for item in at.world.expected_items() if item.order_id != refused.id]
    at.portal.execute(f"DROP TRIGGER `{at.portal.portal_database}`.refuses")
    at.settle()


def test_a_key_and_a_condition_of_the_table_are_told_as_such(mariadb_scenario: MakeScenario) -> None:
    at = mariadb_scenario(simple_world(users=3, orders=2))
    table = f"`{at.portal.portal_database}`.bytemark_order_items"
    at.portal.execute(f"ALTER TABLE {table} ADD UNIQUE one_pass (pass_uuid)")
    at.portal.execute(f"ALTER TABLE {table} ADD CONSTRAINT one_kind CHECK (pass_uuid <> 'pass-103-1b')")
    columns = "order_id, order_uuid, oauth_token, product_uuid, pass_uuid"
    at.portal.execute(f"INSERT INTO bytemark_order_items ({columns}) VALUES (999, 'x', 'y', 'z', 'pass-102-0a')")
    done = at.sync("--json")
    assert (done.status, done.json["status"], done.json["orders_synced"]) == (0, "succeeded", 4)
    details = dict(at.portal.all("SELECT order_id, detail FROM bytemark_sync_outcome"))
    assert details == {
        3: "The portal's table refused the order (error 1062): a key, a condition or a trigger stands against it.",
        6: "The portal's table refused the order (error 4025): a key, a condition or a trigger stands against it.",
    }
    at.portal.execute("DELETE FROM bytemark_order_items WHERE order_id = 999")
    at.portal.execute(f"ALTER TABLE {table} DROP CONSTRAINT one_kind")
    at.settle()


def test_a_run_whose_orders_the_database_all_refuses_says_so(mariadb_scenario: MakeScenario) -> None:
    at = mariadb_scenario(simple_world(users=6, orders=5))
    signal(at, event="INSERT ON bytemark_order_items", when="TRUE", errno=ER.SIGNAL_EXCEPTION, text="'no'")
    done = at.sync("--json")
    assert (done.json["users"], done.json["orders_synced"], done.json["orders_invalid"]) == (6, 0, 30)
    lines = [" ".join(line.split()) for line in done.stderr.splitlines()]
    assert "malformed 30" in lines
    assert "passed over" not in done.stderr
    example = re.compile(
        "malformed or refused 30 6 users, for example user 10[1-6]: The database"
    )  # whoever came first
    assert any(map(example.match, lines))
    at.portal.execute(f"DROP TRIGGER `{at.portal.portal_database}`.refuses")
    at.settle()


def test_a_repair_that_a_trigger_refuses_stays_a_finding_and_the_others_are_made(
    mariadb_scenario: MakeScenario,
) -> None:
    at = mariadb_scenario(simple_world(users=3, orders=2))
    assert at.sync().status == 0
    lost = [at.portal.items()[0], at.portal.items()[-1]]
    for item in lost:
        at.portal.execute("DELETE FROM bytemark_order_items WHERE pass_uuid = %s", item.pass_uuid)
    signal(
        at,
        event="INSERT ON bytemark_order_items",
        when=f"NEW.pass_uuid = '{lost[0].pass_uuid}'",
        errno=ER.SIGNAL_EXCEPTION,
        text="'no'",
    )
    audited = manage("audit_order_items", "--repair", "--json", database_url=at.url, env=at.env())
    assert (audited.status, audited.json["status"], audited.json["findings"]["pass_missing"]) == (1, "succeeded", 2)
    assert (audited.json["repaired"], audited.json["orders"], audited.json["orders_invalid"]) == (1, 6, 0)
    found = at.portal.all("SELECT pass_uuid, repaired, detail FROM bytemark_sync_audit_finding ORDER BY order_id")
    assert [(one, bool(repaired)) for one, repaired, _ in found] == [
        (lost[0].pass_uuid, False),
        (lost[1].pass_uuid, True),
    ]
    assert "Not repaired: " in found[0][2]
    assert str(ER.SIGNAL_EXCEPTION) in found[0][2]
    at.portal.execute(f"DROP TRIGGER `{at.portal.portal_database}`.refuses")
    again = manage("audit_order_items", "--repair", "--json", database_url=at.url, env=at.env())
    assert (again.json["findings_total"], again.json["repaired"]) == (1, 1)
    assert at.portal.items() == at.world.expected_items()


def test_a_right_that_is_missing_is_no_orders_problem(mariadb_scenario: MakeScenario, mariadb: MariaDB) -> None:
    """A trigger says so as the server would: no order is looked for, and none is called malformed."""
    at = mariadb_scenario(simple_world(users=3, orders=2))
    signal(
        at,
        event="INSERT ON bytemark_order_items",
        when="TRUE",
        errno=ER.TABLEACCESS_DENIED_ERROR,
        text="'INSERT command denied'",
    )
    done = at.sync("--json")
    assert (done.status, done.json["status"]) == (1, "failed")
    assert "INSERT command denied" in done.stderr
    assert (at.portal.items(), at.portal.reasons()) == ([], {})
    at.portal.execute(f"DROP TRIGGER `{at.portal.portal_database}`.refuses")
    at.settle()


@pytest.fixture
def small_packets(mariadb: MariaDB) -> Iterator[int]:
    """Bytes of the largest statement that the server takes from new connections."""
    ((before,),) = _all(mariadb, "SELECT @@GLOBAL.max_allowed_packet")
    size = 32 * 1024
    yield size
    mariadb.execute(f"SET GLOBAL max_allowed_packet = {before}")


def _all(server: MariaDB, statement: str) -> list[tuple[int, ...]]:
    connection = server.connect("")
    try:
        cursor = connection.cursor()
        cursor.execute(statement)
        return list(cursor.fetchall())
    finally:
        connection.close()


def test_inserts_are_cut_by_bytes_and_a_row_that_fits_none_is_its_orders_problem(
    mariadb_scenario: MakeScenario, mariadb: MariaDB, small_packets: int
) -> None:
    world = World()
    add_user(world, 7, [listed("wide", *(f"pass-{n}" for n in range(100))), listed("o2")])
    world.riders[0].tokens = ["long-" + "x" * 3000]
    add_user(world, 8, [listed("huge"), listed("fits", "p8")])
    # Written with a backslash before each quote, so larger in the statement than in the row.
    world.riders[1].tokens = ["'" * 20_000]
    add_user(world, 9, [listed(f"o9-{n}") for n in range(300)])
    for rider in world.riders[:2]:
        for order in world.orders:
            if order.user_id == rider.user_id:
                order.oauth_token = rider.tokens[0]
        next(row for row in world.tokens if row.user_id == rider.user_id).token = rider.tokens[0]
    at = mariadb_scenario(world)
    mariadb.execute(f"SET GLOBAL max_allowed_packet = {small_packets}")
    huge = {order.id for order in world.orders if order.user_id == 8}
    for _ in range(2):
        done = at.sync("--json", env={"BYTEMARK_PAGE_SIZE": "1000"})
        assert (done.status, done.json["status"], done.json["orders_invalid"]) == (0, "succeeded", 2), done.stderr
        assert at.portal.items() == [item for item in world.expected_items() if item.order_id not in huge]
        assert at.portal.reasons() == dict.fromkeys(huge, "malformed")
        details = {detail for (detail,) in at.portal.all("SELECT detail FROM bytemark_sync_outcome")}
        assert len(details) == 1
        assert "1153" in details.pop()
    mariadb.execute("SET GLOBAL max_allowed_packet = 16777216")
    at.settle()


@pytest.mark.parametrize("errno", READ_ONLY_AND_THE_LIKE)
def test_a_server_that_takes_nothing_for_a_while_is_waited_for(mariadb_scenario: MakeScenario, errno: int) -> None:
    at = mariadb_scenario(simple_world(users=5, orders=2))
    refusing(at, "INSERT ON bytemark_order_items", "TRUE", errno)
    process = at.start("--json")
    wait_for(lambda: hits(at) >= 3, 60, "the run tries again", every=0.02)
    at.portal.execute("DELETE FROM failing")
    done = finish(process)
    assert (done.status, done.json["status"], done.json["orders_synced"]) == (0, "succeeded", 10), done.stderr
    at.settle()


def test_the_end_of_a_run_waits_too(mariadb_scenario: MakeScenario) -> None:
    at = mariadb_scenario(simple_world(users=2, orders=1))
    refusing(at, "UPDATE ON bytemark_sync_run", "NEW.status <> OLD.status", 1290)
    process = at.start("--json")
    wait_for(lambda: hits(at) >= 1, 60, "the run is about to end", every=0.02)
    time.sleep(8)
    assert process.poll() is None
    at.portal.execute("DELETE FROM failing")
    done = finish(process)
    assert (done.status, done.json["status"]) == (0, "succeeded"), done.stderr
    at.assert_exact()


@pytest.mark.parametrize("command", ["sync_order_items", "audit_order_items"])
def test_a_request_for_a_run_waits_too(mariadb_scenario: MakeScenario, command: str) -> None:
    at = mariadb_scenario(simple_world(users=2, orders=1))
    refusing(at, "INSERT ON bytemark_sync_run", "TRUE", 1290)
    process = start_manage(command, "--enqueue", "--json", database_url=at.url, env=at.env())
    wait_for(lambda: hits(at) >= 2 or process.poll() is not None, 60, "it is tried again", every=0.02)
    at.portal.execute("DELETE FROM failing")
    done = finish(process)
    assert (done.status, done.json["status"]) == (0, "queued"), done.stderr
    assert [run["status"] for run in at.portal.runs()] == ["queued"]


def test_a_failover_in_the_middle_is_waited_for(mariadb_scenario: MakeScenario, mariadb: MariaDB) -> None:
    at = mariadb_scenario(simple_world(users=100, orders=2), latency=0.05)
    process = at.start("--json", "--workers", "4")
    wait_for(lambda: at.portal.items() != [] or process.poll() is not None, 30, "a write", every=0.01)
    try:
        mariadb.execute("SET GLOBAL read_only = 1")
        time.sleep(2)
        assert process.poll() is None
    finally:
        mariadb.execute("SET GLOBAL read_only = 0")
    done = finish(process)
    assert (done.status, done.json["orders_synced"]) == (0, 200), done.stderr
    at.assert_exact()
    at.settle()


def refusing(at: Scenario, event: str, when: str, errno: int) -> None:
    """A trigger that fails with `errno` until `failing` is empty. What it notes in `hits` no rollback takes back."""
    place = at.portal.name if "bytemark_sync" in event else at.portal.portal_database
    failing, noted = f"`{at.portal.name}`.failing", f"`{at.portal.name}`.hits"
    at.portal.execute(f"CREATE TABLE {failing} (errno INT) ENGINE=InnoDB")
    at.portal.execute(f"CREATE TABLE {noted} (n INT) ENGINE=MyISAM")
    at.portal.execute(f"INSERT INTO {failing} VALUES (%s)", errno)
    at.portal.execute(
        f"CREATE TRIGGER `{place}`.refuses BEFORE {event} FOR EACH ROW BEGIN "
        f"IF {when} AND EXISTS (SELECT 1 FROM {failing}) THEN INSERT INTO {noted} VALUES (1); "
        f"SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = {errno}, MESSAGE_TEXT = 'not now'; END IF; END"
    )


def hits(at: Scenario) -> int:
    return int(at.portal.value("SELECT COUNT(*) FROM hits"))
