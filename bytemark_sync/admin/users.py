"""Users of the portal's token table. Whether a token is there is said; the token itself is never loaded."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Case, CharField, Count, Max, QuerySet, Value, When
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import action

from bytemark_sync.admin.base import ReadOnlyAdmin, came_from, user_id_of
from bytemark_sync.admin.resync import confirm
from bytemark_sync.admin.words import NEVER, REASON_WORDS, badge, link, moment, reason_badge, run_link
from bytemark_sync.models import OrderOutcome, PortalUser, StoredOrder
from bytemark_sync.pending import pending_orders
from bytemark_sync.tasks import under_way

THERE, MISSING = "there", "missing"


class TokenFilter(DropdownFilter):  # type: ignore[misc]
    title = "token"
    parameter_name = "token_is"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(THERE, "there"), (MISSING, "missing")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(token_is=self.value()) if self.value() in (THERE, MISSING) else queryset


class OutcomeFilter(DropdownFilter):  # type: ignore[misc]
    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(reason, word) for reason, word in REASON_WORDS.items() if reason != NEVER]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        return queryset.filter(user_id__in=OrderOutcome.objects.filter(reason=self.value()).values("user_id"))


@admin.register(PortalUser)
class PortalUserAdmin(ReadOnlyAdmin):
    """One row for each row of the token table; a user may have several."""

    tokens = ("token",)
    list_display = ("name", "has_token", "status", "pending", "stored", "last_outcome", "last_try", "resync_run")
    list_filter = (TokenFilter, OutcomeFilter)
    search_fields = ("user_id__exact",)
    search_help_text = "user id, whole"
    when_empty = "The portal's token table is empty."
    ordering = ("-pk",)
    sortable_by = ("name",)
    actions = ("resync_users",)
    actions_row = ("resync_row",)
    actions_detail = ("resync_row",)
    change_form_outer_before_template = "bytemark_sync/user.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PortalUser]:
        rows: QuerySet[PortalUser] = super().get_queryset(request)
        missing = When(token__isnull=True, then=Value(MISSING)), When(token="", then=Value(MISSING))
        return rows.annotate(token_is=Case(*missing, default=Value(THERE), output_field=CharField()))

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        user_id = user_id_of(term)
        return queryset.none() if user_id is None else queryset.filter(user_id=user_id)

    def prepare(self, rows: list[Any]) -> None:
        users = {row.user_id for row in rows if row.user_id is not None}
        pending = _by_user(pending_orders().filter(user_id__in=users), n=Count("pk"))
        stored = _by_user(StoredOrder.objects.filter(user_id__in=users), n=Count("pk"), at=Max("stored_at"))
        tried = _by_user(OrderOutcome.objects.filter(user_id__in=users), at=Max("last_at"))
        newest = OrderOutcome.objects.filter(user_id__in=users, last_at__in={each["at"] for each in tried.values()})
        reasons = {(each.user_id, each.last_at): each.reason for each in newest}
        runs = under_way(users)
        for row in rows:
            row.pending_orders = pending.get(row.user_id, {}).get("n", 0)
            row.stored_orders = stored.get(row.user_id, {}).get("n", 0)
            tried_at, stored_at = tried.get(row.user_id, {}).get("at"), stored.get(row.user_id, {}).get("at")
            row.last_reason = reasons.get((row.user_id, tried_at), "") if tried_at else ""
            row.last_at = max((at for at in (tried_at, stored_at) if at), default=None)
            row.last_was_stored = stored_at is not None and row.last_at == stored_at
            row.live_run = runs.get(row.user_id)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        user = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if user is not None and self.has_view_permission(request):
            self.prepare([user])
            context |= {"facts": self._facts(user), "title": str(user).capitalize(), "subtitle": None}
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    def _facts(self, user: Any) -> list[tuple[str, object]]:
        orders = reverse("admin:bytemark_sync_order_changelist")
        return [
            ("Token", self.has_token(user)),
            ("Status", user.status or "-"),
            ("Pending orders", self.pending(user)),
            ("Orders stored by the sync", self.stored(user)),
            ("Last outcome", self.last_outcome(user)),
            ("Last try", self.last_try(user)),
            ("Under way in", self.resync_run(user)),
            ("All orders", link(f"{orders}?q={user.user_id}", "show")),
        ]

    @admin.action(description="Resync the selected users", permissions=["resync"])
    def resync_users(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        users = queryset.order_by().values_list("user_id", flat=True).distinct()
        return confirm(request, users[: self.list_per_page], back=request.get_full_path())

    @action(description="Resync", icon="sync", permissions=["resync"], url_path="resync")  # type: ignore[untyped-decorator]
    def resync_row(self, request: HttpRequest, object_id: str) -> HttpResponse:
        user = self.get_object(request, object_id)
        back = came_from(request, reverse("admin:bytemark_sync_portaluser_changelist"))
        return confirm(request, [user.user_id] if user else [], back=back)

    @admin.display(description="User", ordering="user_id")
    def name(self, user: Any) -> str:
        return str(user)

    @admin.display(description="Token")
    def has_token(self, user: Any) -> SafeString:
        return badge("there", "success") if user.token_is == THERE else badge("missing", "danger")

    @admin.display(description="Pending")
    def pending(self, user: Any) -> SafeString | str:
        if not user.pending_orders:
            return "0"
        return link(f"{reverse('admin:bytemark_sync_pendingorder_changelist')}?q={user.user_id}", user.pending_orders)

    @admin.display(description="Stored")
    def stored(self, user: Any) -> int:
        return int(user.stored_orders)

    @admin.display(description="Last outcome")
    def last_outcome(self, user: Any) -> SafeString | str:
        if user.last_was_stored:
            return badge("stored", "success")
        return reason_badge(user.last_reason) if user.last_reason else "-"

    @admin.display(description="Last try")
    def last_try(self, user: Any) -> SafeString | str:
        return moment(user.last_at)

    @admin.display(description="Under way")
    def resync_run(self, user: Any) -> SafeString | str:
        return run_link(user.live_run.pk if user.live_run else None)


def _by_user(rows: QuerySet[Any], **figures: Any) -> dict[int, dict[str, Any]]:
    return {each["user_id"]: each for each in rows.order_by().values("user_id").annotate(**figures)}
