"""The admin's first page: what is stuck and why, whether the sync is alive, and how the last 30 days went."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Min, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from bytemark_sync.admin.charts import bar_chart, day_chart, level_chart
from bytemark_sync.admin.counting import remembered
from bytemark_sync.admin.days import begin, last_days
from bytemark_sync.admin.words import (
    NEVER,
    away,
    duration,
    moment,
    page_of,
    progress,
    reason_label,
    run_seconds,
    status_badge,
)
from bytemark_sync.health import CLUSTER_SILENCE
from bytemark_sync.models import ClusterBeat, RunStatus, SyncRun, Trigger
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.pending import pending_orders
from bytemark_sync.reasons import Reason
from bytemark_sync.schedules import daily_schedule

LAST_RUNS = 10
ENDED = [status for status in RunStatus if status not in ALIVE and status != RunStatus.SKIPPED]


@dataclass(frozen=True, slots=True)
class Card:
    title: str
    value: object
    note: object = ""
    href: str = ""
    warn: bool = False


@dataclass(frozen=True, slots=True)
class Stuck:
    """What is pending now. `oldest` is the first try of the order that waits longest, of those tried at all."""

    orders: int
    users: int
    deferred: int
    rejected_users: int
    oldest: datetime | None
    reasons: tuple[tuple[str, int], ...]
    counted_at: datetime


def count_stuck() -> Stuck:
    """One pass over the pending orders, a group for each reason; one more for the users, who may be in several."""
    now = timezone.now()
    groups = list(
        pending_orders()
        .order_by()
        .values_list("outcome__reason")
        .annotate(
            orders=Count("pk"),
            users=Count("user_id", distinct=True),
            deferred=Count("pk", filter=Q(outcome__next_at__gt=now)),
            oldest=Min("outcome__first_at"),
        )
    )
    if len(groups) > 1:
        users = pending_orders().aggregate(users=Count("user_id", distinct=True))["users"]
    else:
        users = sum(group[2] for group in groups)
    return Stuck(
        orders=sum(group[1] for group in groups),
        users=users,
        deferred=sum(group[3] for group in groups),
        rejected_users=sum(group[2] for group in groups if group[0] == Reason.TOKEN_REJECTED),
        oldest=min((group[4] for group in groups if group[4]), default=None),
        reasons=tuple(sorted(((group[0] or NEVER, group[1]) for group in groups), key=lambda pair: -pair[1])),
        counted_at=now,
    )


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """django-unfold's callback for the index page."""
    context["title"] = "Dashboard"
    if not request.user.has_perm("bytemark_sync.view_syncrun"):
        return context
    stuck: Stuck = remembered("stuck", count_stuck)
    runs = list(SyncRun.objects.order_by("-pk")[:LAST_RUNS])
    last = next((run for run in runs if run.status in ENDED), None)
    if last is None:
        last = SyncRun.objects.filter(status__in=ENDED).order_by("-pk").first()
    cards = [*_stuck_cards(stuck), _last_run(last), _next_run(), _cluster()]
    return context | {
        "cards": cards,
        "charts": _charts(stuck),
        "runs": _runs_table(runs),
        "counted_at": moment(stuck.counted_at),
        "is_new": not runs,
        "may_resync": request.user.has_perm("bytemark_sync.resync"),
        "stuck": stuck,
    }


def _stuck_cards(stuck: Stuck) -> list[Card]:
    pending = reverse("admin:bytemark_sync_pendingorder_changelist")
    oldest = f"oldest first tried {away(stuck.oldest)}" if stuck.oldest else ""
    return [
        Card("Pending orders", f"{stuck.orders:,}", oldest or ("none tried yet" if stuck.orders else ""), pending),
        Card("Users waiting", f"{stuck.users:,}", "with a pending order", pending),
        Card(
            "Users with a rejected token",
            f"{stuck.rejected_users:,}",
            "they have to log in again" if stuck.rejected_users else "",
            f"{pending}?reason={Reason.TOKEN_REJECTED}",
            warn=bool(stuck.rejected_users),
        ),
        Card("Deferred orders", f"{stuck.deferred:,}", "tried again by themselves, later", pending),
    ]


def _last_run(run: SyncRun | None) -> Card:
    if run is None:
        return Card("Last run", "-", "none yet")
    took, stored = duration(run_seconds(run)), f"{run.items_created:,} items stored"
    note = f"{away(run.finished_at or run.created_at)}, took {took}, {stored}"
    url = reverse("admin:bytemark_sync_syncrun_change", args=[run.pk])
    return Card(
        "Last run", run.get_status_display(), note, url, warn=run.status in (RunStatus.FAILED, RunStatus.PARTIAL)
    )


def _next_run() -> Card:
    schedule = daily_schedule()
    if schedule is None or schedule.next_run is None:
        return Card("Next scheduled run", "never", "the schedule was deleted", warn=True)
    local = timezone.localtime(schedule.next_run)
    late = schedule.next_run < timezone.now() - timedelta(minutes=5)
    note = f"{away(schedule.next_run)}{': overdue' if late else ''}"
    return Card("Next scheduled run", f"{local:%a %H:%M}", note, warn=late)


def _cluster() -> Card:
    newest = ClusterBeat.objects.order_by("-heartbeat_at").first()
    if newest is None:
        return Card("Cluster", "not running", "start manage.py qcluster", warn=True)
    since = timezone.now() - CLUSTER_SILENCE
    if newest.heartbeat_at < since:
        return Card("Cluster", "not running", f"last sign of life {away(newest.heartbeat_at)}", warn=True)
    alive = ClusterBeat.objects.filter(heartbeat_at__gte=since).count()
    return Card(
        "Cluster", "alive", f"{alive} running" if alive > 1 else f"last sign of life {away(newest.heartbeat_at)}"
    )


def _charts(stuck: Stuck) -> list[Any]:
    """From the runs' own counts: 30 days of them are few rows, whatever the number of orders."""
    days = last_days()
    since = begin(days[0])
    runs = SyncRun.objects.filter(created_at__gte=since, status__in=ENDED).order_by("finished_at")
    stored, left = dict.fromkeys(days, 0), dict.fromkeys(days, None)
    fields = ("finished_at", "items_created", "orders", "orders_synced", "orders_deferred", "trigger", "scope")
    for finished_at, items, orders, synced, deferred, trigger, scope in runs.values_list(*fields):
        day = timezone.localdate(finished_at) if finished_at else None
        if day not in stored:
            continue
        stored[day] += items
        if trigger == Trigger.SCHEDULE or not scope:  # it looked at everything
            left[day] = orders - synced + deferred
    reasons = [(reason_label(reason), n) for reason, n in stuck.reasons if reason != NEVER]
    return [
        day_chart("Items stored a day", days, list(stored.values()), "items"),
        level_chart("Orders left pending a day", days, list(left.values()), "orders"),
        bar_chart("Pending orders by reason", reasons, "orders"),
    ]


def _runs_table(runs: list[SyncRun]) -> dict[str, Any]:
    return {
        "headers": ["Run", "Trigger", "Status", "Progress", "When", "Took", "Items stored", "Users failed"],
        "rows": [
            [
                page_of("syncrun", run.pk, run),
                run.get_trigger_display() + (f", {run.requested_by}" if run.requested_by else ""),
                status_badge(run),
                progress(run),
                moment(run.created_at),
                duration(run_seconds(run)),
                f"{run.items_created:,}",
                f"{run.users_failed:,}",
            ]
            for run in runs
        ],
    }
