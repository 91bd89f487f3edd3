"""INSERTs cut by rows and by bytes, because MySQL limits the size of a statement (`max_allowed_packet`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connection
from django.db.models import Model

from bytemark_sync.storage.database_retry import too_large

ROWS_PER_INSERT = 1000
STATEMENT_OVERHEAD_BYTES = 2048
"""Bytes of a statement besides its rows: the names of its table and columns."""


def insert(rows: Sequence[Model]) -> None:
    """Insert rows of one model, inside the caller's transaction.

    Raises `RowRefused` for a row that is too large for any statement. Such a row is not sent, because the server would
    close the connection, which looks like a restart.
    """
    for part in _statements(rows):
        type(part[0])._default_manager.bulk_create(part, batch_size=ROWS_PER_INSERT)


def _statements(rows: Sequence[Model]) -> Iterator[Sequence[Model]]:
    if connection.vendor != "mysql":
        if rows:
            yield rows
        return
    room = _packet() - STATEMENT_OVERHEAD_BYTES
    part: list[Model] = []
    size = 0
    for row in rows:
        needs = _bytes(row)
        if needs > room:
            raise too_large()
        if part and (size + needs > room or len(part) == ROWS_PER_INSERT):
            yield part
            part, size = [], 0
        part.append(row)
        size += needs
    if part:
        yield part


def _packet() -> int:
    """The most bytes of a statement. A connection keeps the limit that was set when it was opened."""
    connection.ensure_connection()
    raw: Any = connection.connection
    if not hasattr(raw, "max_allowed_packet"):
        with connection.cursor() as cursor:
            cursor.execute("SELECT @@max_allowed_packet")
            raw.max_allowed_packet = int(cursor.fetchone()[0])
    limit: int = raw.max_allowed_packet
    return limit


def _bytes(row: Model) -> int:
    """Bytes of the row as the driver writes it: quoted, escaped, with a comma after each value."""
    raw: Any = connection.connection
    fields = row._meta.local_concrete_fields
    values = tuple(field.get_db_prep_save(getattr(row, str(field.attname)), connection) for field in fields)
    return len(raw.literal(values)) + 2 * len(values)
