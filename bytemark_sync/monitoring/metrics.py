"""Prometheus text for `/metrics`. It is read from the database at each scrape, so all web processes give the same."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.db import DatabaseError, InterfaceError
from django.db.models import Case, Count, F, When
from django.utils import timezone
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from bytemark_sync import __version__
from bytemark_sync.bytemark.stats import Histogram
from bytemark_sync.domain.counters import Counts
from bytemark_sync.models import RunKind, SyncRun
from bytemark_sync.monitoring import bytemark_limit, health, renewal

QUANTILES = (0.5, 0.95)


def text() -> bytes:
    """All metrics of the job. If the database is away, only the version and the health."""
    registry = CollectorRegistry()
    registry.register(_Job())
    return generate_latest(registry)


class _Job(Collector):
    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("bytemark_sync", "The product's version.", {"version": __version__})
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
            yield from _limit()
            yield from _outages()
            yield from _logins()
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
    by_kind = [kind for kind in RunKind if not kind.record.names_trigger]
    label = Case(When(kind__in=by_kind, then=F("kind")), default=F("trigger"))
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


def _limit() -> Iterator[Metric]:
    refused = CounterMetricFamily("bytemark_sync_rate_limited", "Requests that Bytemark refused (429).")
    refused.add_metric([], bytemark_limit.refused_in_all())
    yield refused
    pace = bytemark_limit.look_at_pace()
    yield _gauge("pace_known", "1 where the shared pace can be read, 0 where Redis is away.", pace is not None)
    if pace is None:
        return
    rates = {
        "pace_requests_per_second": ("What all processes may ask for together; absent: no limit is known.", pace.rate),
        "pace_ceiling_requests_per_second": ("Where the learnt pace was refused last.", pace.ceiling),
        "pace_fixed_requests_per_second": ("BYTEMARK_REQUESTS_PER_SECOND, where it is set.", pace.fixed),
    }
    for name, (what, rate) in rates.items():
        if rate is not None:
            yield _gauge(name, what, rate)
    yield _gauge("pace_holders", "Processes that share the pace now.", len(pace.sharers))
    yield _gauge("pace_pause_seconds", "For how long Bytemark lets nobody ask.", _seconds_until(pace.paused_until))


def _outages() -> Iterator[Metric]:
    since = bytemark_limit.silent_since()
    silence = (timezone.now() - since).total_seconds() if since else 0
    yield _gauge("outage_seconds", "How long Bytemark has not answered a run that is under way.", silence)
    last = bytemark_limit.last_outage()
    if last is None:
        return
    yield _gauge("last_outage_start_timestamp_seconds", "Begin of the last outage.", last.began_at.timestamp())
    if last.ended_at:
        end = last.ended_at.timestamp()
        yield _gauge("last_outage_end_timestamp_seconds", "Its end; absent: not before its run ended.", end)


def _logins() -> Iterator[Metric]:
    logins = renewal.look_at_logins()
    renewed = CounterMetricFamily("bytemark_sync_tokens_renewed", "Tokens that logins have renewed.")
    renewed.add_metric([], logins.renewed)
    yield renewed
    refused = GaugeMetricFamily(
        "bytemark_sync_refused_logins", "Riders whose last login was refused, by cause.", labels=["cause"]
    )
    for cause, riders in sorted(logins.refused.items()):
        refused.add_metric([cause], riders)
    yield refused
    yield _gauge(
        "logins_stopped",
        "1 where a run logs nobody in any more, or the last whole one ended so.",
        renewal.logins_are_stopped(),
    )


def _seconds_until(at: datetime | None) -> float:
    return max(0.0, (at - timezone.now()).total_seconds()) if at else 0.0


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(f"bytemark_sync_{name}", what, value=float(value))
