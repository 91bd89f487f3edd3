"""Keeps a cluster from working on a database that is older than its code.

It would fail runs for a column that is not there yet, while an older cluster works them well
(docs/decisions/0017-two-versions-side-by-side.md). A database that is newer than the code is fine.
"""

from __future__ import annotations

from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError, connection
from django.db.migrations.executor import MigrationExecutor

from bytemark_sync import __version__

MOST_NAMES = 3


def refuse_old_tables() -> None:
    """Raises `CommandError` with status 1 if a migration of this version is missing.

    A database that does not answer now is not looked at. No connection is left open: the caller forks.
    """
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (DatabaseError, InterfaceError):
        return
    finally:
        connection.close()
    if plan:
        missing = ", ".join(str(migration) for migration, _ in plan[:MOST_NAMES])
        more = f" and {len(plan) - MOST_NAMES} more" if len(plan) > MOST_NAMES else ""
        words = f"Run `manage.py migrate` first: version {__version__} needs {missing}{more}."
        raise CommandError(words, returncode=1)
