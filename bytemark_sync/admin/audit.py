"""What audits found: stored items that differ from Bytemark's list, and their CSV export."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, StreamingHttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import BooleanRadioFilter, ChoicesDropdownFilter

from bytemark_sync.admin.attempts import RunFilter
from bytemark_sync.admin.base import ReadOnlyAdmin, user_id_of, uuids_of
from bytemark_sync.admin.csvfile import export
from bytemark_sync.admin.words import badge, link, moment, page_of, run_link, short
from bytemark_sync.models import AuditFinding, Order

HEADER = (
    "finding_id",
    "run_id",
    "found_at",
    "kind",
    "order_id",
    "order_uuid",
    "user_id",
    "pass_uuid",
    "detail",
    "repaired",
)
FIELDS = ("pk", "run_id", "at", "kind", "order_id", "order_uuid", "user_id", "pass_uuid", "detail", "repaired")


@admin.register(AuditFinding)
class AuditFindingAdmin(ReadOnlyAdmin):
    """One row a finding of `manage.py audit_order_items`."""

    list_display = ("what", "order_link", "user", "passed", "detail", "state", "when", "by")
    list_filter = (RunFilter, ("kind", ChoicesDropdownFilter), ("repaired", BooleanRadioFilter))
    list_before_template = "bytemark_sync/audit_before.html"
    search_fields = ("pass_uuid__exact",)
    search_help_text = "order uuid, pass uuid or user id, whole"
    list_display_links = None
    ordering = ("-pk",)

    def get_urls(self) -> list[URLPattern]:
        own = path("export/", self.admin_site.admin_view(self.export_view), name="bytemark_sync_auditfinding_export")
        urls: list[URLPattern] = [own, *super().get_urls()]
        return urls

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

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        query = request.GET.urlencode()
        context = dict(extra_context or {})
        context["export_url"] = reverse("admin:bytemark_sync_auditfinding_export") + (f"?{query}" if query else "")
        response: HttpResponse = super().changelist_view(request, context)
        return response

    def export_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """What the list shows under the same query string, as CSV."""
        if request.method != "GET":
            return HttpResponseNotAllowed(["GET"])
        if not self.has_view_permission(request):
            raise PermissionDenied
        self.request = request
        found = self.get_changelist_instance(request).get_queryset(request)
        # A subquery, for a join would drop the findings of orders that the portal has deleted since.
        order = Order.objects.filter(pk=OuterRef("order_id")).values("order_uuid")
        found = found.annotate(order_uuid=Subquery(order))
        return export(found, name="audit-findings", header=HEADER, fields=FIELDS)

    @admin.display(description="Finding")
    def what(self, finding: AuditFinding) -> SafeString:
        return badge(finding.get_kind_display(), "warning")

    @admin.display(description="Order")
    def order_link(self, finding: Any) -> SafeString:
        return page_of("order", finding.order_id, short(finding.uuid or "") or finding.order_id)

    @admin.display(description="User")
    def user(self, finding: AuditFinding) -> SafeString:
        return link(f"{reverse('admin:bytemark_sync_portaluser_changelist')}?q={finding.user_id}", finding.user_id)

    @admin.display(description="Pass")
    def passed(self, finding: AuditFinding) -> SafeString | str:
        return short(finding.pass_uuid) or "-"

    @admin.display(description="State")
    def state(self, finding: AuditFinding) -> SafeString:
        return badge("repaired", "success") if finding.repaired else badge("open", "default")

    @admin.display(description="When")
    def when(self, finding: AuditFinding) -> SafeString | str:
        return moment(finding.at)

    @admin.display(description="Run")
    def by(self, finding: AuditFinding) -> SafeString | str:
        return run_link(finding.run_id)
