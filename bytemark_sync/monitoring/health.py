"""The health of the job, for `/healthz`, `manage.py sync_status`, `/metrics` and the Slack message about a silence.

One look costs at most 3 queries. Each process counts pending orders at most once every `PENDING_FOR` seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, TypeVar

from django.db import DatabaseError, InterfaceError
from django.db.models import Count, Min, Subquery
from django.utils import timezone
from django_q.models import Schedule

from bytemark_sync.models import ClusterBeat, NamedLock, OrderOutcome, RunStatus, SyncRun
from bytemark_sync.queue import broker, schedules
from bytemark_sync.queue.locks import CLOCK_SKEW
from bytemark_sync.storage.pending import pending_orders, still_pending
from bytemark_sync.times import dated, hours

T = TypeVar("T")

Part = Literal["database", "schedule", "cluster", "broker", "due run", "last run"]
"""What may be unwell. Monitors read these words."""

CLUSTER_SILENCE = timedelta(seconds=90)
"""After this long without a heartbeat a cluster counts as dead. It sends one every 15 s."""
OVERDUE = timedelta(minutes=15)
PENDING_FOR = 20.0
"""Seconds for which a count is kept, at least."""
PENDING_SHARE = 50.0
"""A count is kept for at least this many times as long as it took, so counting uses at most 2 % of the time."""
WORKED = (RunStatus.SUCCEEDED, RunStatus.PARTIAL)
"""A partial run counts too. Otherwise a few rejected tokens would keep the alarm on and hide a job that has stopped."""


@dataclass(frozen=True, slots=True)
class Pending:
    """How many orders are pending, and the lowest key among them."""

    orders: int
    oldest_order: int | None


@dataclass(slots=True)
class Health:
    """The answer to a monitor. `problems` is written for people, and empty when all is well. Holds no secrets.

    `unwell` names the part that each problem is about.
    """

    healthy: bool = True
    problems: list[str] = field(default_factory=list)
    database: str = "ok"
    last_run: int | None = None
    last_run_status: str | None = None
    last_run_at: datetime | None = None
    last_run_age_seconds: int | None = None
    pending_orders: int | None = None
    oldest_pending_order: int | None = None
    oldest_pending_since: datetime | None = None
    broker: str = "ok"
    cluster_alive: bool = False
    cluster_seen_at: datetime | None = None
    next_scheduled_run: datetime | None = None
    unwell: list[Part] = field(default_factory=list)

    def add(self, part: Part, problem: str) -> None:
        self.healthy = False
        self.problems.append(problem)
        if part not in self.unwell:
            self.unwell.append(part)

    def in_full(self) -> dict[str, Any]:
        """For whoever may know of runs and orders."""
        return {name: value for name, value in asdict(self).items() if name != "unwell"}

    def in_brief(self) -> dict[str, Any]:
        """For everybody: which parts are not well. No count, id or time (docs/contract.md#http)."""
        return {
            "healthy": self.healthy,
            "problems": self.unwell,
            "database": self.database,
            "broker": self.broker,
            "cluster_alive": self.cluster_alive,
        }


def look() -> Health:
    """The health at this moment. A database that cannot be reached is reported as a problem and never raises."""
    health = Health()
    try:
        _look(health, timezone.now())
    except (DatabaseError, InterfaceError):
        health.database = "unreachable"
        health.add("database", "The database cannot be reached, or `migrate` has not been run.")
    return health


def _look(health: Health, now: datetime) -> None:
    vital = _vital_signs(now)
    if vital is None:
        health.add("schedule", "`migrate` has not created the schedules yet.")
        return
    health.cluster_seen_at = vital["beat"]
    health.cluster_alive = bool(vital["beat"] and now - vital["beat"] < CLUSTER_SILENCE)
    if not health.cluster_alive:
        health.add("cluster", "No cluster is alive: start `manage.py qcluster`.")
    if broker.is_away():
        health.broker = "unreachable"
        health.add("broker", f"{broker.AWAY}: runs wait for it.")
    plans = schedules.sync_schedules()
    _look_at_schedules(health, now, plans)
    if vital["waiting_since"] and now - vital["waiting_since"] > OVERDUE:
        waiting = f"Run {vital['waiting']} was due at {dated(vital['waiting_since'])} and has not begun."
        health.add("due run", waiting)
    _look_at_last_run(health, now, vital, schedules.longest_silence(plans))
    pending = count_pending()
    health.pending_orders = pending.orders
    health.oldest_pending_order = pending.oldest_order
    # When a run first failed to store one of them. None if no run has tried any of them.
    health.oldest_pending_since = vital["oldest"] if pending.orders else None


def _vital_signs(now: datetime) -> dict[str, Any] | None:
    """Read several facts with one query: when the schedule was created, the last heartbeat of any cluster, the due
    run that has waited longest, the last whole run that worked, and the oldest outcome of a pending order.

    Times more than `CLOCK_SKEW` in the future come from a wrong clock and are ignored.
    """
    beat = ClusterBeat.objects.filter(heartbeat_at__lt=now + CLOCK_SKEW).order_by("-heartbeat_at")
    # The last run over all users that worked, whoever started it.
    last = SyncRun.objects.filter(whole=True, status__in=WORKED, finished_at__lt=now + CLOCK_SKEW).order_by("-pk")
    waiting = SyncRun.objects.filter(status=RunStatus.QUEUED, due_at__isnull=False).order_by("due_at")
    signs = {
        "waiting": Subquery(waiting.values("pk")[:1]),
        "waiting_since": Subquery(waiting.values("due_at")[:1]),
        "beat": Subquery(beat.values("heartbeat_at")[:1]),
        "last_run": Subquery(last.values("pk")[:1]),
        "last_run_status": Subquery(last.values("status")[:1]),
        "last_run_at": Subquery(last.values("finished_at")[:1]),
        "oldest": Subquery(OrderOutcome.objects.filter(still_pending()).order_by("first_at").values("first_at")[:1]),
    }
    found: Any = (
        NamedLock.objects.filter(name=schedules.SYNC_SCHEDULE_LOCK).annotate(**signs).values("created_at", *signs)
    )
    vital: dict[str, Any] | None = found.first()
    return vital


def _look_at_schedules(health: Health, now: datetime, plans: list[Schedule]) -> None:
    health.next_scheduled_run = plans[0].next_run if plans else None
    if health.next_scheduled_run is None:
        health.add("schedule", "The schedule of the daily run is missing, or has no repeats left: no run will start.")
    elif health.cluster_alive and health.broker == "ok" and now - health.next_scheduled_run > OVERDUE:
        health.add(
            "schedule", "The daily run is overdue although a cluster is alive: one of the schedules is malformed."
        )


def _look_at_last_run(health: Health, now: datetime, vital: dict[str, Any], longest: timedelta) -> None:
    health.last_run, health.last_run_status = vital["last_run"], vital["last_run_status"]
    health.last_run_at = vital["last_run_at"]
    if health.last_run_at:
        health.last_run_age_seconds = int((now - health.last_run_at).total_seconds())
    if now - (health.last_run_at or vital["created_at"]) > longest:
        health.add("last run", f"No run has worked for {hours(longest)}: neither as a whole nor in part.")


class Kept(Generic[T]):
    """A cached count: recounted at most every `PENDING_FOR` seconds in this process, less often if counting is slow.

    The caller waits for the count and sees its errors. The admin's pages do neither: they use `Watched`
    (admin/background_counts.py).
    """

    def __init__(self, count: Callable[[], T]) -> None:
        self._count = count
        self._lock = threading.Lock()
        self._kept: tuple[float, T] | None = None

    def __call__(self, *, fresh: bool = False) -> T:
        with self._lock:
            began = time.monotonic()
            if not fresh and self._kept and began < self._kept[0]:
                return self._kept[1]
            counted = self._count()
            ended = time.monotonic()
            self._kept = (ended + max(PENDING_FOR, PENDING_SHARE * (ended - began)), counted)
            return counted


def _count_pending() -> Pending:
    return Pending(**pending_orders().aggregate(orders=Count("pk"), oldest_order=Min("pk")))


def _count_left() -> dict[str, int]:
    left = OrderOutcome.objects.filter(still_pending()).order_by()
    return dict(left.values_list("reason").annotate(Count("pk")))


count_pending = Kept(_count_pending)
count_left = Kept(_count_left)
"""Pending orders that a run has tried before, by reason."""
