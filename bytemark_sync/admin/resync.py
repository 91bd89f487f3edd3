"""The resync: a page that shows what would be synced, and a POST that queues it. The run never works in the request."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from bytemark_sync.admin.background_counts import WatchedEach
from bytemark_sync.admin.labels import page_of, reason_words, scope_words
from bytemark_sync.admin.pagination import MAX_LISTS
from bytemark_sync.admin.pending_figures import PENDING_FIGURES
from bytemark_sync.admin.pending_filters import AGES, filter_of, this_minute
from bytemark_sync.admin.read_only import RESYNC, came_from, user_id_of, uuids_of
from bytemark_sync.domain.pending_filter import PendingFilter
from bytemark_sync.domain.reasons import user_failures
from bytemark_sync.domain.run_kinds import EVERYTHING
from bytemark_sync.models import Order, OrderOutcome, SyncRun, Trigger
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.queue import broker
from bytemark_sync.queue.requests import RunRequest, request_run, under_way
from bytemark_sync.storage.pending import matching, pending_row_by_row
from bytemark_sync.storage.portal_schema import renews_tokens

MAX_USERS = 10_000
"""How many users one run may name. More are requested by a filter on their reasons instead."""
NAMES = {"user", "failed_of", "reason", "age", "deferred", "q"}
"""Parameters of the confirmation page (`Wanted.url`)."""
MAX_LISTED = 10
"""How many user ids a sentence lists."""
NOBODY_LEFT = "Nothing was queued: what was selected is not pending any more, or has no user."


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a resync should take: named users, a run's failed users, or all that match the list's filters and search."""

    users: tuple[int, ...] = ()
    failed_of: int | None = None
    reason: str = ""
    age: str = ""
    deferred: str = ""
    search: str = ""
    nobody: bool = False
    """The request names something that cannot exist. This must never be treated as "all"."""

    @classmethod
    def of_list(cls, query: QueryDict) -> Wanted:
        """Everything that the list of pending orders shows with this query string."""
        reason, age, put_off = query.get("reason", ""), query.get("age", ""), query.get("deferred", "")
        try:
            filter_of(reason=reason, age=age, deferred=put_off)
        except ValueError:
            return cls(nobody=True)
        return cls(reason=reason, age=age, deferred=put_off, search=query.get("q", "").strip())

    @classmethod
    def of_page(cls, query: QueryDict) -> Wanted:
        """What the query string of the confirmation page names."""
        if set(query) - NAMES:
            return cls(nobody=True)
        if "user" in query:
            users = {user_id for text in query.getlist("user") if (user_id := user_id_of(text)) is not None}
            return cls(users=tuple(sorted(users)), nobody=not users)
        if "failed_of" in query:
            run_id = user_id_of(query.get("failed_of", ""))
            return cls(failed_of=run_id, nobody=run_id is None)
        return cls.of_list(query)

    def url(self) -> str:
        named: list[tuple[str, object]] = [("user", user) for user in self.users]
        if self.nobody:
            named = [("user", "")]
        if self.failed_of is not None:
            named.append(("failed_of", self.failed_of))
        filters = [("reason", self.reason), ("age", self.age), ("deferred", self.deferred), ("q", self.search)]
        query = urlencode([*named, *(pair for pair in filters if pair[1])])
        return reverse("admin:bytemark_sync_resync") + (f"?{query}" if query else "")

    def words(self) -> str:
        """What the resync takes, in a few words, for the page's title line."""
        if self.nobody:
            return "nobody known"
        if self.users:
            return "the selected users" if len(self.users) > 1 else f"user {self.users[0]}"
        if self.failed_of is not None:
            return f"the users that failed in run {self.failed_of}"
        parts = [reason_words().get(self.reason, ""), AGES[self.age].label if self.age else ""]
        parts += ["deferred" if self.deferred else "", self.search]
        matched = ", ".join(part for part in parts if part)
        return f"pending orders ({matched})" if matched else EVERYTHING

    def nothing(self) -> str:
        """The message if there are no such pending orders."""
        if self.users:
            return "This user has no pending orders" if len(self.users) == 1 else "These users have no pending orders"
        if self.failed_of is not None:
            return f"No user that failed in run {self.failed_of} has pending orders"
        return "There are no pending orders" if self == Wanted() else "No pending order matches"

    def rows(self) -> QuerySet[Order]:
        """The pending orders that the resync takes."""
        if self.nobody:
            return Order.objects.none()
        rows = pending_row_by_row(Order.objects.all())
        if self.users:
            return rows.filter(user_id__in=self.users)
        if self.failed_of is not None:
            return rows.filter(outcome__last_run_id=self.failed_of, outcome__reason__in=user_failures())
        orders, filters = self._filters()
        rows = matching(rows, filters)
        return rows.filter(order_uuid__in=uuids_of(self.search)) if orders else rows

    def named_users(self) -> Sequence[int]:
        """The named users, or those that failed in the run: of these at most one more than `MAX_USERS`."""
        if self.failed_of is None:
            return self.users
        return list(
            failures_of(self.failed_of).order_by().values_list("user_id", flat=True).distinct()[: MAX_USERS + 1]
        )

    def ask(self, requested_by: str) -> RunRequest:
        """Queue the run."""
        if self.users:
            return request_run(trigger=Trigger.ADMIN, requested_by=requested_by, users=self.users)
        if self.failed_of is not None:
            users = self.named_users()
            if not users:
                return RunRequest(None)
            if len(users) <= MAX_USERS:
                return request_run(trigger=Trigger.ADMIN, requested_by=requested_by, users=users)
            failures = PendingFilter(reasons=tuple(sorted(user_failures())))
            return request_run(trigger=Trigger.ADMIN, requested_by=requested_by, filters=failures)
        orders, filters = self._filters()
        return request_run(
            trigger=Trigger.ADMIN,
            requested_by=requested_by,
            orders=orders,
            filters=filters,
            include_deferred=not (orders or filters),
        )

    def _filters(self) -> tuple[list[str], PendingFilter]:
        """The order that the search names, if it is an order, and the filter."""
        filters = filter_of(reason=self.reason, age=self.age, deferred=self.deferred)
        if not self.search:
            return [], filters
        user_id = user_id_of(self.search)
        return ([self.search], filters) if user_id is None else ([], replace(filters, user=user_id))


@dataclass(frozen=True, slots=True)
class Counts:
    """How many orders and users a resync takes."""

    orders: int
    users: int


_counts: WatchedEach[Counts] = WatchedEach(MAX_LISTS)


def resync_url(users: Iterable[int | None]) -> str:
    """The confirmation page for these users."""
    named = tuple(sorted({user for user in users if user is not None}))
    return Wanted(users=named, nobody=not named).url()


def confirm(request: HttpRequest, users: Iterable[int | None], *, back: str) -> HttpResponse:
    """Redirect to the confirmation page for these users, or to `back` with a warning if there are none."""
    named = [user for user in users if user is not None]
    if named:
        return redirect(resync_url(named))
    messages.warning(request, NOBODY_LEFT)
    return redirect(back)


def failures_of(run_id: int) -> QuerySet[OrderOutcome]:
    """The outcomes of the users that failed in the run."""
    return OrderOutcome.objects.filter(last_run_id=run_id, reason__in=user_failures())


def live_runs() -> list[SyncRun]:
    """The runs that have not ended, newest first."""
    return list(SyncRun.objects.filter(status__in=ALIVE).order_by("-pk"))


@require_http_methods(["GET", "POST"])
def resync_view(request: HttpRequest) -> HttpResponse:
    """GET shows how many users and orders there are. POST queues them and redirects to the run."""
    if not request.user.has_perm(RESYNC):
        raise PermissionDenied
    wanted = Wanted.of_page(request.GET)
    if request.method == "POST":
        return _ask(request, wanted)
    alive = live_runs()
    context = {
        **admin.site.each_context(request),
        "title": "Resync",
        "above": [("Pending orders", reverse("admin:bytemark_sync_pendingorder_changelist"))],
        "wanted": wanted.words(),
        "nothing": wanted.nothing(),
        "counts": _counted(wanted),
        "renews": renews_tokens(),
        "skipped": skipped(under_way(wanted.named_users())),
        "live_runs": [(page_of("syncrun", run.pk, run), scope_words(run)) for run in alive],
        "back_url": came_from(request, reverse("admin:bytemark_sync_pendingorder_changelist")),
    }
    return TemplateResponse(request, "bytemark_sync/resync.html", context)


def _counted(wanted: Wanted) -> Counts | None:
    """The counts as of this minute. A thread counts them; None if they are not ready yet."""
    figures = PENDING_FIGURES.latest() if wanted == Wanted() else None
    if figures and figures.orders:
        return Counts(figures.orders, figures.users)

    def count() -> Iterator[Counts]:
        yield Counts(**wanted.rows().aggregate(orders=Count("pk"), users=Count("user_id", distinct=True)))

    return _counts.of((wanted, this_minute()), count).latest()


def _ask(request: HttpRequest, wanted: Wanted) -> HttpResponse:
    counts = _counted(wanted)
    if counts and not counts.orders:  # if the counts are not ready, the run finds out
        messages.warning(request, f"{wanted.nothing()}: no run was queued.")
        return redirect("admin:bytemark_sync_pendingorder_changelist")
    asked = wanted.ask(request.user.get_username())
    for each in skipped(under_way(asked.users_under_way)):
        messages.warning(request, each)
    if asked.same is not None:
        same = page_of("syncrun", asked.same.pk, f"run {asked.same.pk}")
        messages.warning(
            request, format_html("{} is already running or queued for the same orders; nothing was queued again.", same)
        )
        return redirect("admin:bytemark_sync_syncrun_change", asked.same.pk)
    if asked.run is None:
        return redirect("admin:bytemark_sync_syncrun_changelist")
    name = page_of("syncrun", asked.run.pk, str(asked.run).capitalize())
    if asked.waits_for_broker:
        messages.warning(request, format_html("{} is queued. {}: the run waits for it.", name, broker.AWAY))
    else:
        messages.success(request, format_html("{} is queued.", name))
    return redirect("admin:bytemark_sync_syncrun_change", asked.run.pk)


def skipped(taken: Mapping[int, SyncRun]) -> list[SafeString]:
    """A sentence for each run that already works some of the users. `taken` comes from `under_way`."""
    runs: dict[int, list[int]] = {}
    for user, run in sorted(taken.items()):
        runs.setdefault(run.pk, []).append(user)
    return [
        format_html(
            "{} already being synced by {}; skipped{}.",
            f"User {users[0]} is" if len(users) == 1 else f"{len(users):,} users are",
            page_of("syncrun", pk, f"run {pk}"),
            f": {_listed(users)}" if len(users) > 1 else "",
        )
        for pk, users in runs.items()
    ]


def _listed(users: Sequence[int]) -> str:
    shown = ", ".join(str(user) for user in users[:MAX_LISTED])
    return shown + (f" and {len(users) - MAX_LISTED:,} more" if len(users) > MAX_LISTED else "")
