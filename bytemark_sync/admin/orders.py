"""The list of all orders of the portal, and the page of one order with its history."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from bytemark_sync.admin.labels import link, rider_link
from bytemark_sync.admin.order_history import tell
from bytemark_sync.admin.order_states import state_of
from bytemark_sync.admin.read_only import ReadOnlyAdmin, user_id_of, uuids_of
from bytemark_sync.models import Order, OrderItem, OrderToken


class StoryAdmin(ReadOnlyAdmin):
    """Shows the history of an order on its page. Both lists of orders have such pages."""

    tokens = ("oauth_token",)
    search_fields = ("order_uuid__exact", "user_id__exact")
    search_help_text = "order uuid or user id, whole"
    change_form_outer_before_template = "bytemark_sync/story.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Order]:
        rows: QuerySet[Order] = super().get_queryset(request).select_related("outcome")
        return rows

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        user_id = user_id_of(term)
        return queryset.filter(order_uuid__in=uuids_of(term)) if user_id is None else queryset.filter(user_id=user_id)

    def title_of(self, row: Order) -> str:
        return f"Order {row.order_uuid or row.pk}"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        order = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if order is not None and self.has_view_permission(request):
            story = tell(order)
            context["story"] = story
            if story.state.pending and self.has_resync_permission(request):
                context["resync_url"] = f"{reverse('admin:bytemark_sync_resync')}?user={order.user_id}"
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    @admin.display(description="Order", ordering="pk")
    def uuid(self, order: Order) -> SafeString:
        return format_html('<span class="whitespace-nowrap">{}</span>', order)

    @admin.display(description="Rider")
    def user(self, order: Order) -> SafeString | str:
        return rider_link(order.user_id)


@admin.register(Order)
class OrderAdmin(StoryAdmin):
    """All orders: stored, pending, and those that the sync does not handle."""

    list_display = ("uuid", "user", "amount", "state", "items")
    when_empty = "The portal's order table is empty."
    ordering = ("-pk",)
    sortable_by = ("uuid",)

    def prepare(self, rows: list[Any]) -> None:
        counted = OrderItem.objects.filter(order_id__in=[order.pk for order in rows]).values("order_id")
        counts = {each["order_id"]: each["n"] for each in counted.annotate(n=Count("pk")).order_by()}
        token_rows = OrderToken.objects.filter(user_id__in={order.user_id for order in rows} - {None})
        users = set(token_rows.order_by().values_list("user_id", flat=True).distinct())
        for order in rows:
            order.item_count = counts.get(order.pk, 0)
            order.state = state_of(order, has_items=order.item_count > 0, has_token_row=order.user_id in users)

    @admin.display(description="State")
    def state(self, order: Any) -> SafeString:
        badge: SafeString = order.state.badge
        return badge

    @admin.display(description="Items")
    def items(self, order: Any) -> SafeString | str:
        if not order.item_count:
            return "-"
        return link(f"{reverse('admin:bytemark_sync_orderitem_changelist')}?order={order.pk}", order.item_count)
