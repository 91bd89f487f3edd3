"""The list of attempts: which orders each run left pending, and why."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.filters import SimpleListFilter
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.contrib.filters.forms import SearchForm

from bytemark_sync.admin.labels import moment, page_of, reason_badge, rider_link, run_link
from bytemark_sync.admin.read_only import ReadOnlyAdmin, user_id_of, uuids_of
from bytemark_sync.models import Order, OrderAttempt


class NumberFilter(SimpleListFilter):
    """A filter with a text field for a number, which must match exactly."""

    template = "unfold/filters/filters_field.html"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("", "")]  # if this were empty, Django would hide the field

    def choices(self, changelist: Any) -> Any:
        yield {
            "form": SearchForm(
                label=f"By {self.title}", name=self.parameter_name, data={self.parameter_name: self.value()}
            )
        }

    def narrow(self, queryset: QuerySet[Any], number: int) -> QuerySet[Any]:
        return queryset.filter(**{str(self.parameter_name): number})

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = (self.value() or "").strip()
        if not value:
            return queryset
        number = user_id_of(value)
        return queryset.none() if number is None else self.narrow(queryset, number)


class RunFilter(NumberFilter):
    title = "run"
    parameter_name = "run"


@admin.register(OrderAttempt)
class OrderAttemptAdmin(ReadOnlyAdmin):
    """One row for each run that left an order pending."""

    list_display = ("name", "user", "why", "detail", "when", "by")
    list_filter = (RunFilter, ("reason", ChoicesDropdownFilter))
    extra_lookups = ("reason", "reason__exact")
    search_fields = ("order__order_uuid__exact",)
    search_help_text = "order uuid or user id, whole"
    list_display_links = None
    when_empty = "No run has left an order pending."
    ordering = ("-pk",)

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        user_id = user_id_of(term)
        orders = Order.objects.order_by()
        orders = orders.filter(order_uuid__in=uuids_of(term)) if user_id is None else orders.filter(user_id=user_id)
        return queryset.filter(order_id__in=list(orders.values_list("pk", flat=True)[:1000]))

    def prepare(self, rows: list[Any]) -> None:
        """Add the orders' uuids and users. No join, because the portal may have deleted the order of an attempt."""
        orders = Order.objects.filter(pk__in={row.order_id for row in rows}).values_list("pk", "order_uuid", "user_id")
        found = {pk: (uuid, user_id) for pk, uuid, user_id in orders}
        for row in rows:
            row.order_uuid, row.order_user = found.get(row.order_id, (None, None))

    @admin.display(description="Order")
    def name(self, attempt: Any) -> SafeString:
        return page_of("order", attempt.order_id, attempt.order_uuid or f"order {attempt.order_id}")

    @admin.display(description="Rider")
    def user(self, attempt: Any) -> SafeString | str:
        return rider_link(attempt.order_user)

    @admin.display(description="Reason")
    def why(self, attempt: OrderAttempt) -> SafeString:
        return reason_badge(attempt.reason)

    @admin.display(description="When")
    def when(self, attempt: OrderAttempt) -> SafeString | str:
        return moment(attempt.at)

    @admin.display(description="Run")
    def by(self, attempt: OrderAttempt) -> SafeString | str:
        return run_link(attempt.run_id)
