"""The list of order items (passes), with charts by product and by day, and CSV export."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Count, QuerySet, Sum
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter

from bytemark_sync.admin.attempts import NumberFilter
from bytemark_sync.admin.background_counts import Watched, WatchedEach
from bytemark_sync.admin.charts import Chart, bar_chart, day_chart
from bytemark_sync.admin.csv_export import ExportedAdmin
from bytemark_sync.admin.days import begin, by_day, last_days, minute_of
from bytemark_sync.admin.labels import link, moment, page_of, rider_link, run_link, short
from bytemark_sync.admin.read_only import uuids_of
from bytemark_sync.models import Order, OrderItem, StoredOrder

MAX_PRODUCTS = 200
SHOWN_PRODUCTS = 8


def count_products() -> Iterator[list[tuple[str, int]]]:
    """The number of items of each product, largest first."""
    rows = OrderItem.objects.order_by().values_list("product_uuid").annotate(n=Count("pk")).order_by("-n")
    yield list(rows)


def count_days(product: str) -> Iterator[dict[date, int]]:
    """The number of items stored on each day, of one product or of all."""
    orders = StoredOrder.objects.filter(stored_at__gte=begin(last_days()[0])).annotate(minute=minute_of("stored_at"))
    counted = orders.order_by().values_list("minute")
    if product:
        counted = counted.filter(order__items__product_uuid=product)
    yield by_day(counted.annotate(n=Count("order__items") if product else Sum("items")))


PRODUCTS = Watched(count_products)
DAYS: WatchedEach[dict[date, int]] = WatchedEach(MAX_PRODUCTS)


class OrderFilter(NumberFilter):
    title = "order number"
    parameter_name = "order"


class ProductFilter(DropdownFilter):  # type: ignore[misc]
    title = "product"
    parameter_name = "product"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        named = OrderItem.objects.order_by("product_uuid").values_list("product_uuid", flat=True).distinct()
        return [(uuid, uuid) for uuid in named[:MAX_PRODUCTS]] or [("", "none")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(product_uuid=self.value()) if self.value() else queryset


class DayFilter(DropdownFilter):  # type: ignore[misc]
    """Filters by the day on which the sync stored the order. Orders that another program stored have no day."""

    title = "stored on"
    parameter_name = "day"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(day.isoformat(), f"{day:%a} {day}") for day in reversed(last_days())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        day = next((day for day in last_days() if day.isoformat() == self.value()), None)
        if day is None:
            return queryset
        of_day = StoredOrder.objects.filter(stored_at__gte=begin(day), stored_at__lt=begin(day + timedelta(days=1)))
        return queryset.filter(order_id__in=of_day.values("order_id"))  # no join, because the order may be deleted


@admin.register(OrderItem)
class OrderItemAdmin(ExportedAdmin):
    """One row for each pass."""

    export_name = "order-items"
    export_header = ("item_id", "order_id", "order_uuid", "user_id", "product_uuid", "pass_uuid", "stored_at", "run_id")
    tokens = ("oauth_token",)
    list_display = ("name", "product", "order_link", "user", "stored_at", "stored_by")
    list_filter = (ProductFilter, DayFilter, OrderFilter)
    list_before_template = "bytemark_sync/items_before.html"
    search_fields = ("pass_uuid__exact",)
    search_help_text = "pass uuid, whole"
    when_empty = "Items appear when a run stores the first order."
    ordering = ("-pk",)
    sortable_by = ("name",)
    fieldsets = ((None, {"fields": ("pass_uuid", "product", "order_link", "user", "stored_at", "stored_by")}),)
    readonly_fields = ("product", "order_link", "user", "stored_at", "stored_by")

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        return queryset.filter(pass_uuid__in=uuids_of(term))

    def prepare(self, rows: list[Any]) -> None:
        orders = Order.objects.filter(pk__in={row.order_id for row in rows}).values_list("pk", "user_id")
        users = dict(orders)
        stored = StoredOrder.objects.in_bulk([row.order_id for row in rows])
        for row in rows:
            row.order_user = users.get(row.order_id)
            row.stored_order = stored.get(row.order_id)

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> OrderItem | None:
        item: OrderItem | None = super().get_object(request, object_id, from_field)
        if item is not None:
            self.prepare([item])
        return item

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = dict(extra_context or {})
        product = request.GET.get("product", "")
        PRODUCTS.begin()
        DAYS.of(product, lambda: count_days(product)).begin()
        response: HttpResponse = super().changelist_view(request, context)
        if isinstance(response, TemplateResponse) and response.context_data is not None:
            # Last, so that they are counted while the list is read.
            response.context_data["charts"] = (by_day_chart(product), by_product_chart())
        return response

    def export_cells(self, row: Any) -> Sequence[Any]:
        order, stored = (row.order_id, row.order_uuid, row.order_user), row.stored_order
        by = (stored.stored_at, stored.run_id) if stored else (None, None)
        return (row.pk, *order, row.product_uuid, row.pass_uuid, *by)

    @admin.display(description="Pass", ordering="pk")
    def name(self, item: OrderItem) -> SafeString:
        return format_html('<span class="whitespace-nowrap">{}</span>', item.pass_uuid)

    @admin.display(description="Product")
    def product(self, item: OrderItem) -> SafeString:
        query = urlencode({"product": item.product_uuid})
        return link(f"{reverse('admin:bytemark_sync_orderitem_changelist')}?{query}", short(item.product_uuid))

    @admin.display(description="Order")
    def order_link(self, item: OrderItem) -> SafeString:
        return page_of("order", item.order_id, short(item.order_uuid) or item.order_id)

    @admin.display(description="Rider")
    def user(self, item: Any) -> SafeString | str:
        return rider_link(item.order_user)

    @admin.display(description="Stored")
    def stored_at(self, item: Any) -> SafeString | str:
        return moment(item.stored_order.stored_at if item.stored_order else None, "stored by the previous job")

    @admin.display(description="By")
    def stored_by(self, item: Any) -> SafeString | str:
        return run_link(item.stored_order.run_id if item.stored_order else None)


def by_day_chart(product: str) -> Chart:
    """The chart of items stored per day, of one product or of all."""
    counted = DAYS.of(product, lambda: count_days(product)).latest()
    days = last_days()
    title = "Items stored per day" + (f", product {product}" if product else "")
    return day_chart(title, days, None if counted is None else [counted.get(day, 0) for day in days], "item")


def by_product_chart() -> Chart:
    counted = PRODUCTS.latest()
    if counted is None:
        return bar_chart("Items by product", None, "item")
    shown = [(uuid if len(uuid) <= 16 else f"{uuid[:13]}…", n) for uuid, n in counted[:SHOWN_PRODUCTS]]
    rest = sum(n for _, n in counted[SHOWN_PRODUCTS:])
    return bar_chart("Items by product", [*shown, *([("others", rest)] if rest else [])], "item")
