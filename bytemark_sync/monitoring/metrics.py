"""Prometheus text for `/metrics`. It is read from the database at each scrape, so all web processes give the same."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import DatabaseError, InterfaceError
from django.db.models import Case, Count, F, When
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bytemark_sync.bytemark.stats import Histogram
from bytemark_sync.domain.counters import Counts
from bytemark_sync.models import RunKind, SyncRun
from bytemark_sync.monitoring import health

QUANTILES = (0.5, 0.95)


def text() -> bytes:
    """All metrics of the job. If the database is away, only the health."""
    registry = CollectorRegistry()
    registry.register(_Job())
    return generate_latest(registry)


class _Job(Collector):
    def collect(self) -> Iterator[Metric]:
        now = health.look()
        yield _gauge("healthy", "1 if /healthz answers 200, else 0.", now.healthy)
        yield _gauge("cluster_alive", "1 if a cluster is alive, else 0.", now.cluster_alive)
        if now.last_run_at:
            yield _gauge(
                "last_success_timestamp_seconds",
                "End of the last whole run that succeeded or was partial.",
                now.last_run_at.timestamp(),
            )
        if now.pending_orders is not None:
            yield _gauge("pending_orders", "Orders whose items are not stored yet.", now.pending_orders)
        if now.oldest_pending_since:
            yield _gauge(
                "oldest_pending_timestamp_seconds",
                "First try of the order that has been tried for the longest time.",
                now.oldest_pending_since.timestamp(),
            )
        try:
            yield from _outcomes()
            yield from _last_run()
        except (DatabaseError, InterfaceError):
            return


def _outcomes() -> Iterator[Metric]:
    reasons = GaugeMetricFamily(
        "bytemark_sync_left_orders", "Pending orders that a run has left, by reason.", labels=["reason"]
    )
    for reason, count in sorted(health.count_left().items()):
        reasons.add_metric([reason], count)
    yield reasons


def _last_run() -> Iterator[Metric]:
    runs = GaugeMetricFamily(
        "bytemark_sync_runs", "Runs on record, by trigger and status.", labels=["trigger", "status"]
    )
    # The trigger label of audits is "audit", as it was before runs had a kind.
    label = Case(When(kind=RunKind.AUDIT, then=F("kind")), default=F("trigger"))
    counted = SyncRun.objects.order_by().values_list(label, "status").annotate(Count("pk"))
    for trigger, status, count in counted:
        runs.add_metric([trigger, status], count)
    yield runs
    ended = SyncRun.objects.filter(finished_at__isnull=False, started_at__isnull=False)
    run = ended.filter(kind=RunKind.SYNC).order_by("-pk").first()
    if run is None or run.finished_at is None or run.started_at is None:
        return
    counts = GaugeMetricFamily("bytemark_sync_last_run", "Counts of the last run that ended.", labels=["count"])
    for name in (*Counts().as_dict(), "orders_deferred"):
        counts.add_metric([name], getattr(run, name))
    yield counts
    seconds = (run.finished_at - run.started_at).total_seconds()
    yield _gauge("last_run_seconds", "Duration of the last run that ended.", seconds)
    answers = GaugeMetricFamily("bytemark_sync_last_run_requests", "Its requests by kind of answer.", labels=["kind"])
    for kind, count in sorted(run.answers.items()):
        answers.add_metric([kind], count)
    yield answers
    latency = Histogram.from_json(run.latency)
    times = GaugeMetricFamily("bytemark_sync_last_run_latency_seconds", "Its requests' durations.", labels=["quantile"])
    for quantile in QUANTILES:
        times.add_metric([str(quantile)], latency.quantile(quantile))
    times.add_metric(["1"], latency.maximum)
    yield times


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"bytemark_sync_{name}", what, value=float(value))
