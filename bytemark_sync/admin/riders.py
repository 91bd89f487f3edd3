"""The list of riders: the users of the portal's token table. It shows whether they have tokens, but loads none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib import admin
from django.db.models import Case, Count, Exists, IntegerField, Max, Min, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.functions import Trim
from django.db.models.lookups import Exact
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import action

from bytemark_sync.admin.csv_export import ExportedAdmin
from bytemark_sync.admin.labels import NEVER, badge, link, moment, reason_badge, reason_words, run_link
from bytemark_sync.admin.logins import has_account, login_of, login_story
from bytemark_sync.admin.pagination import KeyedPaginator
from bytemark_sync.admin.read_only import came_from, user_id_of
from bytemark_sync.admin.resync import confirm
from bytemark_sync.domain.reasons import token_reasons
from bytemark_sync.models import Order, OrderOutcome, OrderToken, PortalUser, StoredOrder
from bytemark_sync.models.portal import CREDENTIALS
from bytemark_sync.queue.requests import under_way
from bytemark_sync.storage.pending import pending_orders, pending_row_by_row
from bytemark_sync.storage.portal_schema import is_indexed, renews_tokens

PRESENT, MISSING, NEEDED = "present", "missing", "needed"
HAS_TOKEN = Q(token__isnull=False) & ~Q(Exact(Trim("token"), Value("")))
"""The row has a token. Blanks alone are not one; the sync reads them the same way."""


def one_row_a_user(tokens: QuerySet[Any]) -> QuerySet[Any]:
    """The newest row of each user among `tokens` (all rows of the token table), and every row without a user."""
    if not is_indexed(OrderToken, "user_id"):
        newest = OrderToken.objects.order_by().values("user_id").annotate(newest=Max("pk")).values("newest")
        return tokens.filter(Q(user_id__isnull=True) | Q(pk__in=newest))
    newer = OrderToken.objects.filter(user_id=OuterRef("user_id"), pk__gt=OuterRef("pk")).order_by("pk").values("pk")
    rows: QuerySet[Any] = tokens.alias(newer=Subquery(newer[:1])).filter(newer__isnull=True)
    return rows


def left_for(reasons: Iterable[str]) -> QuerySet[Any]:
    """The users with an order that is pending for one of these reasons."""
    return pending_row_by_row(Order.objects.order_by().filter(outcome__reason__in=list(reasons))).values("user_id")


class TokenFilter(DropdownFilter):  # type: ignore[misc]
    title = "token"
    parameter_name = "token_is"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(PRESENT, "Present"), (MISSING, "Missing"), (NEEDED, "Needs a new token (rejected or none)")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == NEEDED:
            return queryset.filter(user_id__in=left_for(token_reasons()))
        in_any_row = HAS_TOKEN | Q(Exists(OrderToken.objects.filter(HAS_TOKEN, user_id=OuterRef("user_id"))))
        chosen = {PRESENT: in_any_row, MISSING: ~in_any_row}.get(str(self.value()))
        return queryset if chosen is None else queryset.filter(chosen)


class OutcomeFilter(DropdownFilter):  # type: ignore[misc]
    title = "reason"
    parameter_name = "reason"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(reason, word) for reason, word in reason_words().items() if reason != NEVER]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not self.value():
            return queryset
        return queryset.filter(user_id__in=left_for([str(self.value())]))


@admin.register(PortalUser)
class PortalUserAdmin(ExportedAdmin):
    """One row for each rider, however many rows the token table has. A token row without a user is a row of its own."""

    export_name = "riders"
    export_header = (
        *("user_id", "token", "token_rows", "status", "pending_orders", "stored_orders"),
        *("last_outcome", "waiting_since", "last_try"),
    )
    tokens = ("token", *CREDENTIALS)
    list_display = ("name", "has_token", "status_words", "pending", "stored", "last_outcome", "last_try", "resync_run")
    list_filter = (TokenFilter, OutcomeFilter)
    search_fields = ("user_id__exact",)
    search_help_text = "user id, whole"
    when_empty = "The portal's token table is empty."
    ordering = ("-pk",)
    paginator = KeyedPaginator
    sortable_by = ("name",)
    actions = ("resync_users",)
    actions_row = ("resync_row",)
    actions_detail = ("resync_row",)
    change_form_outer_before_template = "bytemark_sync/user.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[PortalUser]:
        rows: QuerySet[PortalUser] = one_row_a_user(super().get_queryset(request))
        return rows

    def search(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        user_id = user_id_of(term)
        return queryset.none() if user_id is None else queryset.filter(user_id=user_id)

    def prepare(self, rows: list[Any]) -> None:
        users = {row.user_id for row in rows if row.user_id is not None}
        tokens = _tokens(users, [row.pk for row in rows if row.user_id is None])
        mine = pending_orders().filter(user_id__in=users)
        pending = _by_user(mine, n=Count("pk"), since=Min("outcome__first_at"))
        stored = _by_user(StoredOrder.objects.filter(user_id__in=users), n=Count("pk"), at=Max("stored_at"))
        left = OrderOutcome.objects.filter(user_id__in=users)
        tried = _by_user(left, at=Max("last_at"))
        newest = left.filter(last_at__in={each["at"] for each in tried.values()})
        reasons = {(each.user_id, each.last_at): each.reason for each in newest}
        runs = under_way(users)
        for row in rows:
            row.token_rows = tokens.get(row.user_id or f"row {row.pk}", [])
            row.pending_orders = pending.get(row.user_id, {}).get("n", 0)
            row.stored_orders = stored.get(row.user_id, {}).get("n", 0)
            tried_at, stored_at = tried.get(row.user_id, {}).get("at"), stored.get(row.user_id, {}).get("at")
            row.waiting_since = pending.get(row.user_id, {}).get("since")
            row.last_reason = reasons.get((row.user_id, tried_at), "") if tried_at else ""
            row.last_at = max((at for at in (tried_at, stored_at) if at), default=None)
            row.last_was_stored = stored_at is not None and row.last_at == stored_at
            row.live_run = runs.get(row.user_id)

    def export_cells(self, row: Any) -> Sequence[Any]:
        token = PRESENT if _has_token(row) else MISSING
        last = "stored" if row.last_was_stored else row.last_reason
        figures = (sum(each["rows"] for each in row.token_rows), _statuses(row), row.pending_orders, row.stored_orders)
        return (row.user_id, token, *figures, last, row.waiting_since, row.last_at)

    def title_of(self, row: PortalUser) -> str:
        return capfirst(str(row))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        user = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if user is not None and self.has_view_permission(request):
            self.prepare([user])
            context["facts"] = self._facts(user)
            if login := login_of(user.user_id):
                context["login"] = login_story(login)
        response: HttpResponse = super().change_view(request, object_id, form_url, context)
        return response

    def _facts(self, user: Any) -> list[tuple[str, object]]:
        orders = reverse("admin:bytemark_sync_order_changelist")
        account = [("E-mail and password", _presence(has_account(user.user_id)))] if renews_tokens() else []
        return [
            ("Token", self.has_token(user)),
            *account,
            ("Status", self.status_words(user)),
            ("Rows in bytemark_tokens", sum(each["rows"] for each in user.token_rows)),
            ("Pending orders", self.pending(user)),
            ("Orders stored by the sync", self.stored(user)),
            ("Last outcome", self.last_outcome(user)),
            ("Last try", self.last_try(user)),
            ("Under way in", self.resync_run(user)),
            ("All orders", "-" if user.user_id is None else link(f"{orders}?q={user.user_id}", "show")),
        ]

    @admin.action(description="Resync the selected riders", permissions=["resync"])
    def resync_users(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        users = queryset.order_by().values_list("user_id", flat=True).distinct()
        return confirm(request, users[: self.list_per_page], back=request.get_full_path())

    @action(description="Resync", icon="sync", permissions=["resync"], url_path="resync")  # type: ignore[untyped-decorator]
    def resync_row(self, request: HttpRequest, object_id: str) -> HttpResponse:
        user = self.get_object(request, object_id)
        back = came_from(request, reverse("admin:bytemark_sync_portaluser_changelist"))
        return confirm(request, [user.user_id] if user else [], back=back)

    @admin.display(description="Rider", ordering="user_id")
    def name(self, user: Any) -> str:
        return str(user)

    @admin.display(description="Token")
    def has_token(self, user: Any) -> SafeString:
        return _presence(_has_token(user))

    @admin.display(description="Status")
    def status_words(self, user: Any) -> str:
        return _statuses(user) or "-"

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


def _tokens(users: Iterable[int], rows_of_nobody: Iterable[int]) -> dict[int | str, list[dict[str, Any]]]:
    """What the token table has for each user, by status. A row without a user is under the key "row <id>"."""
    present = Max(Case(When(HAS_TOKEN, then=Value(1)), default=Value(0), output_field=IntegerField()))
    found: dict[int | str, list[dict[str, Any]]] = {}
    rows: QuerySet[Any] = OrderToken.objects.order_by("status")
    for each in rows.filter(user_id__in=users).values("user_id", "status").annotate(rows=Count("pk"), present=present):
        found.setdefault(each["user_id"], []).append(each)
    for each in rows.filter(pk__in=rows_of_nobody).values("pk", "status").annotate(rows=Count("pk"), present=present):
        found[f"row {each['pk']}"] = [each]
    return found


def _presence(is_there: bool) -> SafeString:
    return badge("Present", "success") if is_there else badge("Missing", "danger")


def _has_token(user: Any) -> bool:
    return any(each["present"] for each in user.token_rows)


def _statuses(user: Any) -> str:
    return ", ".join(each["status"] for each in user.token_rows if each["status"])
