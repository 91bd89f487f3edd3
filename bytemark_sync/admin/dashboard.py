"""The first page of the admin: pending orders and why, whether the sync is alive, and how the last 30 days went."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from bytemark_sync.admin.cards import Card
from bytemark_sync.admin.charts import Chart, bar_chart, day_chart, level_chart
from bytemark_sync.admin.days import begin, last_days
from bytemark_sync.admin.labels import (
    ago,
    away,
    duration,
    moment,
    page_of,
    progress,
    reason_words,
    run_seconds,
    status_badge,
)
from bytemark_sync.admin.limit_page import limit_card, minutes_chart
from bytemark_sync.admin.pending_figures import PENDING_FIGURES, PendingFigures
from bytemark_sync.admin.pending_filters import YES
from bytemark_sync.admin.riders import NEEDED
from bytemark_sync.admin.run_results import results
from bytemark_sync.domain.counters import many
from bytemark_sync.domain.reasons import RETRIED
from bytemark_sync.models import ClusterBeat, RunKind, RunStatus, SyncRun
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.monitoring.health import CLUSTER_SILENCE
from bytemark_sync.queue.schedules import daily_schedule
from bytemark_sync.times import dated

LAST_RUNS = 10
ITEMS = "admin:bytemark_sync_orderitem_changelist"
RIDERS = "admin:bytemark_sync_portaluser_changelist"
ENDED = [status for status in RunStatus if status not in ALIVE and status != RunStatus.SKIPPED]


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Fill the index page. django-unfold calls this."""
    context["title"] = "Dashboard"
    if not request.user.has_perm("bytemark_sync.view_syncrun"):
        return context
    figures = PENDING_FIGURES.latest()
    runs = list(SyncRun.objects.order_by("-pk")[:LAST_RUNS])
    last = next((run for run in runs if run.status in ENDED and run.kind == RunKind.SYNC), None)
    if last is None:
        last = SyncRun.objects.filter(kind=RunKind.SYNC, status__in=ENDED).order_by("-pk").first()
    stored, left = _history()
    today = Card("Items stored today", f"{list(stored.values())[-1]:,}", href=reverse(ITEMS))
    cards = [*_pending_cards(figures), _last_run(last), today, _next_run(), _cluster()]
    return context | {
        "cards": cards,
        "charts": _charts(figures, stored, left),
        "limit": limit_card(),
        "minutes": minutes_chart(),
        "runs": _runs_table(runs),
        "counted_at": moment(figures.counted_at) if figures else None,
        "is_new": not runs,
        "may_resync": request.user.has_perm("bytemark_sync.resync"),
        "figures": figures,
    }


def _pending_cards(figures: PendingFigures | None) -> list[Card]:
    pending = reverse("admin:bytemark_sync_pendingorder_changelist")
    if figures is None:
        names = ("Pending orders", "Riders waiting", "Riders who need a new token", "Deferred orders")
        return [Card(name, "…", "being counted", pending) for name in names]
    oldest = format_html("oldest first tried {}", ago(figures.oldest)) if figures.oldest else ""
    return [
        Card("Pending orders", f"{figures.orders:,}", oldest or ("none tried yet" if figures.orders else ""), pending),
        Card("Riders waiting", f"{figures.users:,}", "with a pending order", pending),
        Card(
            "Riders who need a new token",
            f"{figures.tokenless_users:,}",
            "rejected by Bytemark, or none at all" if figures.tokenless_users else "",
            f"{reverse(RIDERS)}?token_is={NEEDED}",
            warn=bool(figures.tokenless_users),
        ),
        Card(
            "Deferred orders",
            f"{figures.deferred:,}",
            RETRIED,
            f"{pending}?deferred={YES}",
        ),
    ]


def _last_run(run: SyncRun | None) -> Card:
    if run is None:
        return Card("Last run", "-", "none yet")
    took, stored = duration(run_seconds(run)), f"{many(run.items_created, 'item')} stored"
    note = format_html("{}, took {}, {}", ago(run.finished_at or run.created_at), took, stored)
    url = reverse("admin:bytemark_sync_syncrun_change", args=[run.pk])
    return Card(
        "Last run", run.get_status_display(), note, url, warn=run.status in (RunStatus.FAILED, RunStatus.PARTIAL)
    )


def _next_run() -> Card:
    schedule = daily_schedule()
    if schedule is None or schedule.next_run is None:
        return Card("Next daily run", "never", "the schedule was deleted", warn=True)
    late = schedule.next_run < timezone.now() - timedelta(minutes=5)
    note = f"{dated(schedule.next_run)}{', overdue' if late else ''}"
    return Card("Next daily run", away(schedule.next_run), note, warn=late)


def _cluster() -> Card:
    newest = ClusterBeat.objects.order_by("-heartbeat_at").first()
    if newest is None:
        return Card("Cluster", "not running", "start manage.py qcluster", warn=True)
    since = timezone.now() - CLUSTER_SILENCE
    seen = format_html("last sign of life {}", ago(newest.heartbeat_at))
    if newest.heartbeat_at < since:
        return Card("Cluster", "not running", seen, warn=True)
    alive = ClusterBeat.objects.filter(heartbeat_at__gte=since).count()
    return Card(
        "Cluster",
        "alive",
        f"{alive} running" if alive > 1 else seen,
    )


def _history() -> tuple[dict[date, int], dict[date, int | None]]:
    """Items stored and orders left pending, by day.

    Added up from the runs' counts: 30 days of runs are few rows, however many orders there are.
    """
    days = last_days()
    stored: dict[date, int] = dict.fromkeys(days, 0)
    left: dict[date, int | None] = dict.fromkeys(days)
    runs = SyncRun.objects.filter(created_at__gte=begin(days[0]), status__in=ENDED).order_by("finished_at")
    fields = ("finished_at", "items_created", "orders", "orders_synced", "orders_deferred", "whole")
    for finished_at, items, orders, synced, deferred, whole in runs.values_list(*fields):
        day = timezone.localdate(finished_at) if finished_at else None
        if day not in stored:
            continue
        stored[day] += items
        if whole:
            left[day] = orders - synced + deferred
    return stored, left


def _charts(figures: PendingFigures | None, stored: dict[date, int], left: dict[date, int | None]) -> list[Chart]:
    days = list(stored)
    reasons = [(reason_words()[reason], n) for reason, n in figures.reasons] if figures else None
    return [
        day_chart("Items stored per day", days, list(stored.values()), "item"),
        level_chart("Orders left pending per day", days, list(left.values()), "order"),
        bar_chart("Pending orders by reason", reasons, "order"),
    ]


def _runs_table(runs: list[SyncRun]) -> dict[str, Any]:
    found = results(runs)
    return {
        "headers": ["Run", "Trigger", "Status", "Progress", "Requested at", "Took", "Result", "Remaining"],
        "rows": [
            [
                page_of("syncrun", run.pk, run),
                run.get_trigger_display() + (f", {run.requested_by}" if run.requested_by else ""),
                status_badge(run),
                progress(run),
                moment(run.created_at),
                duration(run_seconds(run)),
                found[run.pk].done,
                found[run.pk].remaining,
            ]
            for run in runs
        ],
    }
