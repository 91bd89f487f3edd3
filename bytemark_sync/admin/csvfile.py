"""Order items as CSV, streamed in pages by key: a million rows in flat memory."""

from __future__ import annotations

import csv
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


class _Line:
    """What `csv.writer` writes to: hands the line back."""

    def write(self, line: str) -> str:
        return line


def export(items: QuerySet[Any]) -> StreamingHttpResponse:
    """A download of `items`, newest first."""
    name = f"order-items-{timezone.localtime():%Y-%m-%d-%H%M}.csv"
    return StreamingHttpResponse(
        lines(items),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


def lines(items: QuerySet[Any]) -> Iterator[str]:
    """The lines of the file, a page of rows at a time: Django has no server-side cursor on MySQL."""
    writer = csv.writer(_Line())
    yield writer.writerow(HEADER)
    rows = items.order_by("-pk").values_list(*FIELDS)
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
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not isinstance(value, int) else text
