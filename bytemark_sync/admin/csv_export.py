"""Exports the rows of a list as CSV. They are streamed in pages by key, so a million rows need little memory."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone

from bytemark_sync.admin.read_only import ReadOnlyAdmin

ROWS_PER_PAGE = 2000


# A formula starts a cell. It may also follow a character that a spreadsheet in another locale takes for a separator.
_FORMULA = re.compile(r"(^|[;,|\t\r\n\"])(?=[-=+@\uff0d\uff1d\uff0b\uff20])")


class _Line:
    """The file that `csv.writer` writes to. It returns each line instead of storing it."""

    def write(self, line: str) -> str:
        return line


class ExportedAdmin(ReadOnlyAdmin):
    """A list that can be downloaded. The file has the same rows as the list: the same query and the same `prepare`."""

    export_name = ""
    export_header: tuple[str, ...] = ()
    list_before_template = "bytemark_sync/export_before.html"

    def export_cells(self, row: Any) -> Sequence[Any]:
        """The cells of a row after `prepare`, in the order of `export_header`."""
        raise NotImplementedError

    def get_urls(self) -> list[URLPattern]:
        own = path("export/", self.admin_site.admin_view(self.export_view), name=self._export_route())
        urls: list[URLPattern] = [own, *super().get_urls()]
        return urls

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        query = request.GET.urlencode()
        context = dict(extra_context or {})
        context["export_url"] = reverse(f"admin:{self._export_route()}") + (f"?{query}" if query else "")
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def export_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """All pages of the list with the same query string, newest first."""
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        self.request = request
        rows = self.get_changelist_instance(request).get_queryset(request)
        file = f"{self.export_name}-{timezone.localtime():%Y-%m-%d-%H%M}.csv"
        return StreamingHttpResponse(
            _lines(self.export_header, self._export_pages(rows), self.export_cells),
            content_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": f'attachment; filename="{file}"', "Cache-Control": "no-store"},
        )

    def _export_route(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_export"

    def _export_pages(self, rows: QuerySet[Any]) -> Iterator[list[Any]]:
        """Pages of rows by falling key, because Django has no server-side cursor on MySQL."""
        rows = rows.order_by("-pk")
        page = list(rows[:ROWS_PER_PAGE])
        while page:
            self.prepare(page)
            yield page
            if len(page) < ROWS_PER_PAGE:
                return
            page = list(rows.filter(pk__lt=page[-1].pk)[:ROWS_PER_PAGE])


def _lines(header: Sequence[str], pages: Iterator[list[Any]], cells: Callable[[Any], Sequence[Any]]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield writer.writerow(header)
    for page in pages:
        yield "".join(writer.writerow([_cell(value) for value in cells(row)]) for row in page)


def _cell(value: Any) -> str:
    """The value as text that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    text = value.isoformat(timespec="seconds") if hasattr(value, "isoformat") else str(value)
    if isinstance(value, int):
        return text
    guarded = _FORMULA.sub(r"\1'", text)
    return f"'{guarded}" if text[:1] in ("\t", "\r", "\n") else guarded
