"""What is known of Bytemark's limit and its outages, for the admin and `/metrics`.

The shared pace is read as any process reads it, and never written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet, Sum
from django.utils import timezone

from bytemark_sync.bytemark.pace import HOLDER_SECONDS
from bytemark_sync.domain.counters import many
from bytemark_sync.models import LimitedMinute, RunOutage, RunStatus, SyncRun
from bytemark_sync.queue import broker
from bytemark_sync.storage.pace_store import is_of_redis, pace_store
from bytemark_sync.times import dated


@dataclass(frozen=True, slots=True)
class Sharer:
    """A process that has a part of the pace: its host and pid, and the requests a second that it wants."""

    name: str
    wanted: float
    seen_at: datetime


@dataclass(frozen=True, slots=True)
class Pace:
    """Rates are requests a second, of all processes together."""

    learnt: float | None
    """None: Bytemark has refused nothing yet."""
    ceiling: float | None
    """Where the learnt pace was refused last; None while it is still searched for."""
    fixed: float | None
    """`BYTEMARK_REQUESTS_PER_SECOND`."""
    paused_until: datetime | None
    sharers: Sequence[Sharer]

    @property
    def rate(self) -> float | None:
        """What all may ask for now. None: there is no limit."""
        return min((rate for rate in (self.learnt, self.fixed) if rate is not None), default=None)


def words_of(pace: Pace) -> tuple[str, str]:
    """The pace, and what is to be said of it."""
    if pace.rate is None:
        return "none known", "nothing was refused so far"
    notes = [f"ceiling {number(pace.ceiling)}"] if pace.ceiling is not None else []
    notes += [f"never above {number(pace.fixed)}"] if pace.fixed is not None else []
    notes += [f"paused until {dated(pace.paused_until)}"] if pace.paused_until else []
    sharing = f"shared by {many(len(pace.sharers), 'process', 'processes')} now"
    notes.append(sharing if pace.sharers else "nobody asks now")
    return f"{number(pace.rate)} requests a second", ", ".join(notes)


def number(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.1f}" if rate < 10 else f"{rate:,.0f}"


def look_at_pace() -> Pace | None:
    """The pace at this moment. None where it is kept in Redis, and Redis cannot be reached."""
    if settings.REDIS_URL and broker.is_away():
        return None
    try:
        state, store_now = pace_store().state()
    except Exception as error:
        if not is_of_redis(error):
            raise
        return None
    now = timezone.now()

    def here(at: float) -> datetime:
        """A time of the store's clock, by this machine's."""
        return now + timedelta(seconds=at - store_now)

    return Pace(
        learnt=state.rate,
        ceiling=state.ceiling,
        fixed=settings.BYTEMARK_REQUESTS_PER_SECOND,
        paused_until=here(state.paused_until) if state.paused_until > store_now else None,
        sharers=[
            Sharer(name.rpartition(":")[0] or name, each.demand, here(each.seen_at))
            for name, each in sorted(state.holders.items())
            if abs(store_now - each.seen_at) <= HOLDER_SECONDS
        ],
    )


@dataclass(frozen=True, slots=True)
class Minute:
    """The requests of a minute, and how many of them Bytemark refused. Only of processes that knew of a limit."""

    at: datetime
    requests: int
    refused: int


def minutes_of(rows: QuerySet[LimitedMinute]) -> list[Minute]:
    """Added up over the processes, oldest first. `rows` chooses the minutes."""
    sums = rows.order_by("minute").values_list("minute").annotate(Sum("requests"), Sum("refused"))
    return [Minute(*row) for row in sums]


def refused_in_all() -> int:
    """Refused requests since the product was installed. Never falls."""
    return LimitedMinute.objects.aggregate(all=Sum("refused"))["all"] or 0


def silent_since() -> datetime | None:
    """Since when Bytemark has not answered a run that is under way. None where it does, or there is none."""
    silent = SyncRun.objects.filter(status=RunStatus.RUNNING, silent_since__isnull=False)
    return silent.order_by("silent_since").values_list("silent_since", flat=True).first()


def last_outage() -> RunOutage | None:
    return RunOutage.objects.order_by("-began_at", "-pk").first()
