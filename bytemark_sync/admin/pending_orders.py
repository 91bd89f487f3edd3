"""The list of pending orders, with the reason why each is pending."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import action

from bytemark_sync.admin.labels import moment, not_before, page_of
from bytemark_sync.admin.order_states import outcome_of, state_of, waits_until
from bytemark_sync.admin.orders import StoryAdmin
from bytemark_sync.admin.pagination import KeyedPaginator
from bytemark_sync.admin.pending_filters import AgeFilter, DeferredFilter, ReasonFilter
from bytemark_sync.admin.read_only import came_from
from bytemark_sync.admin.resync import Wanted, confirm, resync_view
from bytemark_sync.models import PendingOrder
from bytemark_sync.storage.pending import pending_row_by_row

NEXT_RUN = format_html('<span class="whitespace-nowrap">{}</span>', "next run")


@admin.register(PendingOrder)
class PendingOrderAdmin(StoryAdmin):
    """The list of pending orders, the history of each, and the ways to request a resync."""

    list_display = ("uuid", "user", "reason", "attempts", "last_try", "next_try")
    list_filter = (ReasonFilter, AgeFilter, DeferredFilter)
    list_before_template = "bytemark_sync/pending_before.html"
    when_empty = "Every order that the sync takes is stored."
    ordering = ("-pk",)
    sortable_by = ("uuid",)
    paginator = KeyedPaginator
    actions = ("resync_users",)
    actions_row = ("resync_row",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return pending_row_by_row(super().get_queryset(request))

    def get_urls(self) -> list[URLPattern]:
        own = path("resync/", self.admin_site.admin_view(resync_view), name="bytemark_sync_resync")
        urls: list[URLPattern] = [own, *super().get_urls()]
        return urls

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = dict(extra_context or {})
        if self.has_resync_permission(request):
            context["resync_all_url"] = Wanted.of_list(request.GET).url()
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def prepare(self, rows: list[Any]) -> None:
        waiting = waits_until(rows)
        for row in rows:
            row.waits_until = waiting.get(row.pk)

    @admin.action(description="Resync the riders of the selected orders", permissions=["resync"])
    def resync_users(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        users = queryset.order_by().values_list("user_id", flat=True).distinct()
        return confirm(request, users[: self.list_per_page], back=request.get_full_path())

    # With a full permission name, django-unfold's system check would query the database before its tables exist.
    @action(description="Resync the rider", icon="sync", permissions=["resync"], url_path="resync")  # type: ignore[untyped-decorator]
    def resync_row(self, request: HttpRequest, object_id: str) -> HttpResponse:
        order = self.get_object(request, object_id)
        back = came_from(request, reverse("admin:bytemark_sync_pendingorder_changelist"))
        return confirm(request, [order.user_id] if order else [], back=back)

    @admin.display(description="Reason")
    def reason(self, order: PendingOrder) -> SafeString:
        return state_of(order, has_items=False, has_token_row=True).badge

    @admin.display(description="Attempts")
    def attempts(self, order: PendingOrder) -> int:
        outcome = outcome_of(order)
        return outcome.attempts if outcome else 0

    @admin.display(description="Last try")
    def last_try(self, order: PendingOrder) -> SafeString | str:
        """When the order was last tried, with a link to the run."""
        outcome = outcome_of(order)
        at = moment(outcome.last_at if outcome else None)
        return page_of("syncrun", outcome.last_run_id, at) if outcome and outcome.last_run_id else at

    @admin.display(description="Next try")
    def next_try(self, order: Any) -> SafeString:
        return not_before(order.waits_until) if order.waits_until else NEXT_RUN
