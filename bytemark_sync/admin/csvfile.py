"""Rows as CSV, streamed in pages by key: a million rows in flat memory."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

HEADER = ("item_id", "order_id", "order_uuid", "user_id", "product_uuid", "pass_uuid", "stored_at", "run_id")
FIELDS = (
    *("pk", "order_id", "order_uuid", "order__user_id", "product_uuid", "pass_uuid"),
    *("order__stored__stored_at", "order__stored__run_id"),
)
ROWS_A_PAGE = 2000


# A formula begins a cell, or stands behind what a spreadsheet of another language takes for the end of one.
_FORMULA = re.compile(r"(^|[;,|\t\r\n\"])(?=[-=+@\uff0d\uff1d\uff0b\uff20])")


class _Line:
    """What `csv.writer` writes to: hands the line back."""

    def write(self, line: str) -> str:
        return line


def export(
    rows: QuerySet[Any], *, name: str = "order-items", header: Sequence[str] = HEADER, fields: Sequence[str] = FIELDS
) -> StreamingHttpResponse:
    """A download of `rows`, newest first; of order items without more. The first of `fields` is the key."""
    file = f"{name}-{timezone.localtime():%Y-%m-%d-%H%M}.csv"
    return StreamingHttpResponse(
        lines(rows, header, fields),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{file}"', "Cache-Control": "no-store"},
    )


def lines(items: QuerySet[Any], header: Sequence[str] = HEADER, fields: Sequence[str] = FIELDS) -> Iterator[str]:
    """The lines of the file, a page of rows at a time: Django has no server-side cursor on MySQL."""
    writer = csv.writer(_Line())
    yield writer.writerow(header)
    rows = items.order_by("-pk").values_list(*fields)
    page = list(rows[:ROWS_A_PAGE])
    while page:
        yield "".join(writer.writerow(_cells(row)) for row in page)
        if len(page) < ROWS_A_PAGE:
            return
        page = list(rows.filter(pk__lt=page[-1][0])[:ROWS_A_PAGE])


def _cells(row: Sequence[Any]) -> list[str]:
    return [_cell(value) for value in row]


def _cell(value: Any) -> str:
    """Text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    text = value.isoformat(timespec="seconds") if hasattr(value, "isoformat") else str(value)
    if isinstance(value, int):
        return text
    guarded = _FORMULA.sub(r"\1'", text)
    return f"'{guarded}" if text[:1] in ("\t", "\r", "\n") else guarded
