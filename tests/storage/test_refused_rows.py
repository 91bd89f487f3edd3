"""What the server has against one order is that order's problem. What passes is waited for: test_database_retry.py."""

from __future__ import annotations

import re

import pytest
from MySQLdb.constants import ER

from tests.support.harness import manage
from tests.support.scenario import MakeScenario, Scenario, simple_world
from tests.support.servers import MariaDB

pytestmark = pytest.mark.server

CHECK_CONSTRAINT_VIOLATED = 3819  # MySQL


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
