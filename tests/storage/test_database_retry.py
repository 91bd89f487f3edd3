"""What passes is waited for, at the end of a run too. What the server has against one order: test_refused_rows.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import pytest
from django.db import DataError, IntegrityError, InterfaceError, OperationalError, ProgrammingError
from MySQLdb.constants import CR, ER

from bytemark_sync.models import OrderToken
from bytemark_sync.storage.database_retry import (
    DatabaseAway,
    DatabaseGone,
    RowRefused,
    explain,
    in_transaction,
    retrying,
)
from tests.support.harness import finish, start_manage
from tests.support.scenario import MakeScenario, Scenario, simple_world
from tests.support.servers import MariaDB, wait_for
from tests.support.side_by_side import side_by_side

READ_ONLY_AND_THE_LIKE = [
    *(ER.OPTION_PREVENTS_STATEMENT, ER.TOO_MANY_USER_CONNECTIONS, ER.USER_LIMIT_REACHED),
    *(ER.CANT_EXECUTE_IN_READ_ONLY_TRANSACTION, ER.READ_ONLY_MODE, ER.UNKNOWN_COM_ERROR),
]


def a_run_waits(at: Scenario, errno: int) -> None:
    refusing(at, "INSERT ON bytemark_order_items", "TRUE", errno)
    process = at.start("--json")
    wait_for(lambda: hits(at) >= 3, 60, "the run tries again", every=0.02)
    at.portal.execute("DELETE FROM failing")
    done = finish(process)
    assert (done.status, done.json["status"], done.json["orders_synced"]) == (0, "succeeded", 10), (errno, done.stderr)
    at.settle()


def the_end_of_a_run_waits(at: Scenario) -> None:
    refusing(at, "UPDATE ON bytemark_sync_run", "NEW.status <> OLD.status", 1290)
    process = at.start("--json")
    wait_for(lambda: hits(at) >= 1, 60, "the run is about to end", every=0.02)
    time.sleep(8)
    assert process.poll() is None
    at.portal.execute("DELETE FROM failing")
    done = finish(process)
    assert (done.status, done.json["status"]) == (0, "succeeded"), done.stderr
    at.assert_exact()


def a_request_for_a_run_waits(at: Scenario, command: str) -> None:
    refusing(at, "INSERT ON bytemark_sync_run", "TRUE", 1290)
    process = start_manage(command, "--enqueue", "--json", database_url=at.url, env=at.env())
    wait_for(lambda: hits(at) >= 2 or process.poll() is not None, 60, "it is tried again", every=0.02)
    at.portal.execute("DELETE FROM failing")
    done = finish(process)
    assert (done.status, done.json["status"]) == (0, "queued"), done.stderr
    assert [run["status"] for run in at.portal.runs()] == ["queued"]


@pytest.mark.server
def test_a_server_that_takes_nothing_for_a_while_is_waited_for(mariadb_scenario: MakeScenario) -> None:
    def at(users: int, orders: int) -> Scenario:
        return mariadb_scenario(simple_world(users=users, orders=orders))

    side_by_side(
        *(partial(a_run_waits, at(5, 2), errno) for errno in (*READ_ONLY_AND_THE_LIKE, ER.CHECKREAD)),
        partial(the_end_of_a_run_waits, at(2, 1)),
        *(partial(a_request_for_a_run_waits, at(2, 1), f"{kind}_order_items") for kind in ("sync", "audit")),
    )


@pytest.mark.server
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


# --- The table of errors, without a server ----------------------------------------------------------------------------


def failing(*errors: Exception) -> Callable[[], str]:
    """Work that fails with each of these in turn, and then is done."""
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


DEADLOCK = OperationalError(ER.LOCK_DEADLOCK, "Deadlock found")


@pytest.mark.django_db(transaction=True)
def test_what_passes_is_repeated_and_what_is_written_in_between_is_taken_back() -> None:
    fail = failing(DEADLOCK, OperationalError("database is locked"), OperationalError(ER.LOCK_WAIT_TIMEOUT, "waited"))

    def work() -> str:
        OrderToken.objects.create(user_id=7, token="made-up")
        return fail()

    assert in_transaction(work) == "done"
    assert OrderToken.objects.count() == 1


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (DEADLOCK, DatabaseAway),  # here without patience
        (OperationalError(ER.CHECKREAD, "Record has changed since last read"), DatabaseAway),
        (OperationalError("database is locked"), DatabaseAway),
        (IntegrityError("CHECK constraint failed: kind"), RowRefused),
        (DataError(ER.DATA_TOO_LONG, "Data too long for column 'pass_uuid' at row 1"), RowRefused),
        (OperationalError(ER.NET_PACKET_TOO_LARGE, "packet"), RowRefused),
        (OperationalError(ER.TABLEACCESS_DENIED_ERROR, "denied"), DatabaseGone),
        (OperationalError("no such table: bytemark_tokens"), DatabaseGone),
        (ProgrammingError("wrong SQL"), DatabaseGone),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_follows_an_error(error: Exception, raised: type[Exception]) -> None:
    with pytest.raises(raised) as caught:
        retrying(failing(*[error] * 3), patience=-1.0)
    assert type(caught.value) is raised


@pytest.mark.django_db
def test_within_a_transaction_nothing_is_repeated_since_the_whole_of_it_must_be() -> None:
    with pytest.raises(OperationalError):
        retrying(failing(DEADLOCK))
    with pytest.raises(InterfaceError):
        retrying(failing(InterfaceError(0, "")))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (IntegrityError(ER.DUP_ENTRY, "Duplicate entry 'secret' for key 'one'"), "error 1062"),
        (DataError(ER.DATA_TOO_LONG, "Data too long for column 'pass_uuid' at row 1: 'secret'"), "column pass_uuid"),
        (OperationalError(ER.SIGNAL_EXCEPTION, "not with token secret"), "a trigger"),
        (OperationalError(30001, "no 'secret'"), "(30001): no '...'"),
        (OperationalError(CR.SERVER_LOST, "Lost connection"), "(2013): Lost connection"),
        (OperationalError("no such table: bytemark_tokens"), "run manage.py migrate"),
        (ValueError("secret"), "ValueError"),
        (DatabaseGone("in our words"), "in our words"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_an_error_is_told_without_a_rows_value(error: Exception, told: str) -> None:
    assert told in explain(error)
    assert "secret" not in explain(error)
