"""Read-only screens for tables that may be very big and may hold riders' tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from django.contrib.admin import ShowFacets
from django.contrib.admin.filters import SimpleListFilter
from django.contrib.admin.views.main import PAGE_VAR
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.text import capfirst
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from bytemark_sync.admin.pagination import MAX_COUNTED, CountedPaginator, KeyedPaginator

BIGINT_MAX = 2**63 - 1
RESYNC = "bytemark_sync.resync"


class PlainChangeList(ChangeList):  # type: ignore[misc]
    """A list that shows its total once, and lets a screen add to the rows of a page (`prepare`)."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        unfiltered = not self.query and not self.has_active_filters
        if unfiltered or self.result_count > MAX_COUNTED:
            self.full_result_count = self.result_count  # otherwise "show all" appears when all rows are shown
        page = self.paginator.page(self.page_num if self.multi_page else 1)
        rows: list[Any] = list(page.object_list)
        self.model_admin.prepare(rows)
        self.result_list = rows


class Screen(ModelAdmin):  # type: ignore[misc]
    """A list and the pages of its rows. Sidebar, titles and breadcrumb use the same names for them.

    `thing` and `things` are the names of one row and of several. The default is the model's names.
    """

    thing = ""
    things = ""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.thing = self.thing or str(self.opts.verbose_name).lower()
        self.things = self.things or str(self.opts.verbose_name_plural).lower()

    def title_of(self, row: Any) -> str:
        """The title of a row's page."""
        return f"{capfirst(self.thing)} {row}"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {"title": capfirst(self.things), "subtitle": None} | (extra_context or {})
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        context |= {"title": self.title_of(obj) if obj else f"Add {self.thing}", "subtitle": None}
        response: HttpResponse = super().render_change_form(request, context, add, change, form_url, obj)
        return response


class ReadOnlyAdmin(Screen):
    """A screen where nothing can be added, changed or deleted.

    The columns in `tokens` are never loaded. A query string can use only the screen's own filters: otherwise
    `?oauth_token__startswith=` would reveal a token letter by letter. It can sort only by the sortable columns.
    """

    tokens: Iterable[str] = ()
    extra_lookups: Iterable[str] = ()
    paginator = CountedPaginator
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # the page would wait until each choice of each filter is counted
    list_per_page = 50
    list_max_show_all = 0
    list_disable_select_all = True
    list_filter_submit = True
    compressed_fields = True
    actions_on_bottom = False
    sortable_by: Iterable[str] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request).defer(*self.tokens)
        return rows

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PlainChangeList

    def get_paginator(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        paginator = super().get_paginator(request, *args, **kwargs)
        if isinstance(paginator, KeyedPaginator):
            query = sorted((name, request.GET[name]) for name in request.GET if name != PAGE_VAR)
            paginator.list_key = (self.opts.label, *query)
        return paginator

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return self.fieldsets or []  # Django's default is every column, including tokens

    def get_exclude(self, request: HttpRequest, obj: Model | None = None) -> Any:
        return list(self.tokens)

    def prepare(self, rows: list[Any]) -> None:
        """Add data to the rows of a page, for all rows at once instead of with a query for each."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_resync_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return request.user.has_perm(RESYNC)

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        allowed = set(self.extra_lookups)
        for each in self.get_list_filter(request):
            if isinstance(each, type) and issubclass(each, SimpleListFilter):
                allowed.add(str(each.parameter_name))
            else:
                name = each[0] if isinstance(each, tuple | list) else each
                allowed.update({name, f"{name}__exact"})
        return lookup in allowed

    def to_field_allowed(self, request: HttpRequest, to_field: str) -> bool:
        return bool(to_field == self.opts.pk.name)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        return (self.search(queryset, term) if term else queryset), False

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """The rows that match the term exactly. Uses an index."""
        return queryset.none()


def came_from(request: HttpRequest, path: str) -> str:
    """`path` with the filters that the list had, if the browser comes from that list. Otherwise only `path`."""
    referrer = request.headers.get("referer", "")
    if not url_has_allowed_host_and_scheme(referrer, {request.get_host()}, require_https=request.is_secure()):
        return path
    parts = urlsplit(referrer)
    return f"{path}?{parts.query}" if parts.path == path and parts.query else path


def user_id_of(term: str) -> int | None:
    """`term` as a user id that the database can hold, or None."""
    if term.isascii() and term.isdigit() and len(term) <= 19 and int(term) <= BIGINT_MAX:
        return int(term)
    return None


def uuids_of(term: str) -> list[str]:
    """The spellings of `term` to look for, because columns may be case-sensitive. Empty if it cannot be a uuid.

    Text outside ASCII is never a uuid, and MySQL cannot compare it with a latin1 column.
    """
    return list({term, term.lower(), term.upper()}) if term.isascii() and len(term) <= 255 and "\0" not in term else []
