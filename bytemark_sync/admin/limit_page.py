"""Bytemark's limit: the pace that all processes share, what was refused, and when Bytemark did not answer.

The page has all of it. The dashboard has a card and a chart of it, the page of a run what concerns the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_safe

from bytemark_sync.admin.cards import Card
from bytemark_sync.admin.charts import PRIMARY, WARNING, Chart, minute_chart
from bytemark_sync.admin.labels import ago, moment
from bytemark_sync.admin.outages import outages_table
from bytemark_sync.domain.counters import many
from bytemark_sync.models import LimitedMinute, RunOutage, SyncRun
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.monitoring.bytemark_limit import (
    Minute,
    Pace,
    Sharer,
    look_at_pace,
    minutes_of,
    number,
    silent_since,
    words_of,
)
from bytemark_sync.times import dated

CHART_MINUTES = 60
TABLE_DAYS = 7
MAX_ROWS = 20
NO_STORE = "Redis, which keeps the shared pace, cannot be reached. Each process goes on at its part of the last pace."
TITLE = "Bytemark's limit"


@require_safe
def limit_view(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm("bytemark_sync.view_syncrun"):
        raise PermissionDenied
    outages = RunOutage.objects.select_related("run").order_by("-began_at", "-pk")[:MAX_ROWS]
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        **_live(),
        "title": TITLE,
        "chart": minutes_chart(),
        "refused": refused_table(_since(timedelta(days=TABLE_DAYS))),
        "outages": outages_table(outages, names_run=True),
    }
    return TemplateResponse(request, "bytemark_sync/limit.html", context)


@require_safe
def limit_live_view(request: HttpRequest) -> HttpResponse:
    """The part of the page that changes. Once no run is under way, it no longer asks for updates."""
    if not admin.site.has_permission(request):  # logged out: reload the whole page, not only this part
        return HttpResponse(headers={"HX-Refresh": "true"})
    if not request.user.has_perm("bytemark_sync.view_syncrun"):
        raise PermissionDenied
    return TemplateResponse(request, "bytemark_sync/limit_live.html", _live())


def _live() -> dict[str, Any]:
    pace = look_at_pace()
    is_live = SyncRun.objects.filter(status__in=ALIVE).exists()
    return {
        "live_url": reverse("admin:bytemark_sync_syncrun_limit_live") if is_live else "",
        "silent_since": silent_since(),
        "store": "" if pace else NO_STORE,
        "facts": _facts(pace) if pace else [],
        "sharers": _sharers(pace.sharers if pace else ()),
    }


def limit_card() -> Card:
    """For the dashboard."""
    url = reverse("admin:bytemark_sync_syncrun_limit")
    if since := silent_since():
        return Card("Bytemark", "not answering", f"since {dated(since)}", url, warn=True)
    pace = look_at_pace()
    if pace is None:
        return Card(TITLE, "unknown", "Redis, which keeps the pace, cannot be reached", url, warn=True)
    value, note = words_of(pace)
    return Card(TITLE, value, note, url)


def minutes_chart() -> Chart:
    """The requests of each of the last `CHART_MINUTES` minutes, answered and refused."""
    now = timezone.now().replace(second=0, microsecond=0)
    minutes = [now - timedelta(minutes=back) for back in reversed(range(CHART_MINUTES))]
    found = {each.at: each for each in minutes_of(_since(timedelta(minutes=CHART_MINUTES)))}
    in_order = [found.get(at, Minute(at, 0, 0)) for at in minutes]
    bars = [
        ("answered", PRIMARY, [each.requests - each.refused for each in in_order]),
        ("refused", WARNING, [each.refused for each in in_order]),
    ]
    return minute_chart("Requests per minute", minutes, bars, _words(in_order))


def refused_table(rows: QuerySet[LimitedMinute]) -> dict[str, Any]:
    """The newest minutes in which something was refused."""
    minutes = [each for each in minutes_of(rows) if each.refused]
    shown = minutes[: -MAX_ROWS - 1 : -1]
    return {
        "title": "Refused requests by minute",
        "headers": ["Minute", "Requests", "Refused", "Share"],
        "rows": [[moment(each.at), f"{each.requests:,}", f"{each.refused:,}", _share(each)] for each in shown],
        "more": f"{many(len(minutes) - len(shown), 'earlier minute')} not shown." if len(minutes) > len(shown) else "",
    }


def _since(span: timedelta) -> QuerySet[LimitedMinute]:
    return LimitedMinute.objects.filter(minute__gt=timezone.now() - span)


def _words(minutes: Sequence[Minute]) -> str:
    all_of_them = Minute(minutes[0].at, sum(each.requests for each in minutes), sum(each.refused for each in minutes))
    if not all_of_them.requests:
        return "No request was made under a limit in the last hour."
    requests = many(all_of_them.requests, "request")
    return f"{requests} in the last hour, {all_of_them.refused:,} of them refused ({_share(all_of_them)})."


def _share(minute: Minute) -> str:
    return f"{minute.refused / minute.requests:.1%}"


def _facts(pace: Pace) -> list[tuple[str, object]]:
    learnt = "nothing was refused so far" if pace.learnt is None else _a_second(pace.learnt)
    ceiling = "-" if pace.learnt is None else "still searched for"
    return [
        ("Pace now", "no limit" if pace.rate is None else _a_second(pace.rate)),
        ("Learnt", learnt),
        ("Ceiling", ceiling if pace.ceiling is None else _a_second(pace.ceiling)),
        ("Fixed limit", "not set" if pace.fixed is None else _a_second(pace.fixed)),
        ("Paused until", moment(pace.paused_until, "not paused")),
        ("Processes that share it", f"{len(pace.sharers):,}"),
    ]


def _sharers(sharers: Sequence[Sharer]) -> dict[str, Any]:
    return {
        "headers": ["Process", "Wants", "Last seen"],
        "rows": [[each.name, _a_second(each.wanted), ago(each.seen_at)] for each in sharers[:MAX_ROWS]],
        "more": f"{len(sharers) - MAX_ROWS:,} more are not shown." if len(sharers) > MAX_ROWS else "",
    }


def _a_second(rate: float) -> str:
    return f"{number(rate)} a second"
