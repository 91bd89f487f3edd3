"""The list of audit findings: stored items that differ from Bytemark's list. With CSV export."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter

from bytemark_sync.admin.attempts import RunFilter
from bytemark_sync.admin.csv_export import ExportedAdmin
from bytemark_sync.admin.labels import badge, moment, page_of, rider_link, run_link, short
from bytemark_sync.admin.read_only import user_id_of, uuids_of
from bytemark_sync.models import AuditFinding, Order


class AuditFilter(RunFilter):
    title = "audit"


@admin.register(AuditFinding)
class AuditFindingAdmin(ExportedAdmin):
    """One row for each finding of `manage.py audit_order_items`."""

    export_name = "audit-findings"
    export_header = (
        *("finding_id", "run_id", "found_at", "kind", "order_id", "order_uuid", "user_id"),
        *("pass_uuid", "detail", "repaired"),
    )
    list_display = ("what", "order_link", "user", "passed", "detail", "state", "when", "by")
    list_filter = (AuditFilter, ("kind", ChoicesDropdownFilter), ("repaired", BooleanRadioFilter))
    search_fields = ("pass_uuid__exact",)
    search_help_text = "order uuid, pass uuid or user id, whole"
    list_display_links = None
    when_empty = "No audit has found a difference. manage.py audit_order_items starts an audit."
    ordering = ("-pk",)

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        user_id = user_id_of(term)
        if user_id is not None:
            return queryset.filter(user_id=user_id)
        named = Order.objects.order_by().filter(order_uuid__in=uuids_of(term)).values_list("pk", flat=True)
        return queryset.filter(pass_uuid__in=uuids_of(term)) | queryset.filter(order_id__in=list(named[:1000]))

    def prepare(self, rows: list[Any]) -> None:
        orders = Order.objects.filter(pk__in={row.order_id for row in rows}).values_list("pk", "order_uuid")
        uuids = dict(orders)
        for row in rows:
            row.uuid = uuids.get(row.order_id)

    def export_cells(self, row: Any) -> Sequence[Any]:
        order = (row.order_id, row.uuid, row.user_id)
        return (row.pk, row.run_id, row.at, row.kind, *order, row.pass_uuid, row.detail, row.repaired)

    @admin.display(description="Finding")
    def what(self, finding: AuditFinding) -> SafeString:
        return badge(finding.get_kind_display(), "warning")

    @admin.display(description="Order")
    def order_link(self, finding: Any) -> SafeString:
        return page_of("order", finding.order_id, short(finding.uuid or "") or finding.order_id)

    @admin.display(description="Rider")
    def user(self, finding: AuditFinding) -> SafeString | str:
        return rider_link(finding.user_id)

    @admin.display(description="Pass")
    def passed(self, finding: AuditFinding) -> SafeString | str:
        return short(finding.pass_uuid) or "-"

    @admin.display(description="State")
    def state(self, finding: AuditFinding) -> SafeString:
        return badge("repaired", "success") if finding.repaired else badge("open", "default")

    @admin.display(description="When")
    def when(self, finding: AuditFinding) -> SafeString | str:
        return moment(finding.at)

    @admin.display(description="Audit")
    def by(self, finding: AuditFinding) -> SafeString | str:
        return run_link(finding.run_id, "audit")
