"""`manage.py migrate` of a next version while clusters write (bytemark_sync/storage/table_changes.py)."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import MySQLdb
import pytest
from MySQLdb.constants import ER

from tests.support.harness import Portal, finish, manage, start_manage
from tests.support.servers import Databases, wait_for

ROWS = """
from bytemark_sync.models import SyncBatch, SyncRun
SyncBatch.objects.create(run=SyncRun.objects.create(trigger="admin"), number=1)
"""


def changes_waiting(server: Databases) -> bool:
    """Whether a statement that changes a table of runs is under way."""
    with closing(server.connect("information_schema")) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT COUNT(*) FROM processlist WHERE info LIKE 'ALTER TABLE `bytemark_sync_run`%'")
        return bool(cursor.fetchone()[0])


@pytest.mark.slow
def test_a_change_of_a_table_does_not_wait_for_a_transaction_that_waits_for_it(
    server: Databases, server_url: str, newer: Path
) -> None:
    """The transaction has a batch's row and wants its run's, as a cluster's have. The change has the runs' table."""
    portal = Portal(server_url)
    assert manage("shell", "-v0", "-c", ROWS, database_url=server_url).status == 0
    with closing(portal.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        cursor.execute("UPDATE bytemark_sync_batch SET tries = tries")
        migrate = start_manage("migrate", "-v0", database_url=server_url, tree=newer)
        wait_for(lambda: changes_waiting(server), 60, "the table of runs is about to be changed", every=0.01)
        try:
            cursor.execute("UPDATE bytemark_sync_run SET error = ''")
        except MySQLdb.OperationalError as error:  # MySQL sees it; a cluster repeats its transaction
            if error.args[0] != ER.LOCK_DEADLOCK:
                raise
        cursor.execute("COMMIT")
    done = finish(migrate)
    assert done.status == 0, done.stderr
    assert "note" in {row["Field"] for row in portal.rows("SHOW COLUMNS FROM bytemark_sync_run")}
