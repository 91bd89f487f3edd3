"""What the page of a run shows. It is collected again for each update of the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from bytemark_sync.admin.background_counts import WatchedEach
from bytemark_sync.admin.labels import (
    ago,
    duration,
    link,
    moment,
    reason_advice,
    reason_badge,
    run_percent,
    run_seconds,
    scope_words,
    status_badge,
)
from bytemark_sync.admin.limit_page import refused_table
from bytemark_sync.admin.outages import outages_table
from bytemark_sync.admin.run_results import findings_table
from bytemark_sync.bytemark.stats import Histogram
from bytemark_sync.domain.counters import many
from bytemark_sync.domain.drift import Change
from bytemark_sync.domain.run_kinds import Figures
from bytemark_sync.models import OrderAttempt, RunStatus, SyncRun
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.queue import broker
from bytemark_sync.slack.reporter import BUDGET, SENDING
from bytemark_sync.storage.finding_counts import found_of
from bytemark_sync.storage.portal_schema import renews_tokens
from bytemark_sync.times import dated

END_MESSAGES: dict[str, str] = {RunStatus.SUCCEEDED: "success", RunStatus.FAILED: "error"}

MAX_OUTAGES = 20
MAX_RUNS = 100
"""How many runs' figures are kept."""
TAKEN_WITHIN = timedelta(minutes=1)
"""If the broker has not taken a run's task after this time, the page says so. A healthy broker takes it at once."""


Answered = tuple[dict[str, int], Histogram]
"""The number of requests by kind of answer, and their latency."""
LEFT: WatchedEach[list[tuple[str, int]]] = WatchedEach(MAX_RUNS)
ANSWERED: WatchedEach[Answered] = WatchedEach(MAX_RUNS)


@dataclass(frozen=True, slots=True)
class RunPage:
    """The fields that the templates run_*.html show. A url is empty if the page does not need it.

    While the figures of an ended run are being counted, the page asks `figures_url` for them.
    """

    run: SyncRun
    state: SafeString
    headline: str
    percent: int | None
    times: list[tuple[str, object]]
    counts: list[tuple[str, str]]
    reasons: dict[str, Any]
    answers: dict[str, Any]
    latency: list[tuple[str, str]]
    drift: dict[str, Any]
    outages: dict[str, Any]
    refused: dict[str, Any]
    request: list[tuple[str, object]]
    end: str
    end_template: str
    live_url: str
    slack_url: str
    figures_url: str
    stop_url: str
    retry_url: str


def run_page(run: SyncRun, *, live_url: str, stop_url: str, retry_url: str) -> RunPage:
    """Collect everything with five queries, six if requests were refused. The page does not wait for slow figures."""
    has_findings = run.kind_record.has_findings
    answered, left = _answered(run), [] if has_findings else _left_by_reason(run)
    answers, latency = answered or ({}, Histogram())
    is_counting = run.status not in ALIVE and (answered is None or left is None)  # a live run's page updates anyway
    figures_url = reverse("admin:bytemark_sync_syncrun_change", args=[run.pk]) if is_counting else ""
    figures = Figures.of(run, found_of(run))
    return RunPage(
        run=run,
        state=status_badge(run),
        headline=_headline(run, figures),
        percent=run_percent(run),
        times=_times(run),
        counts=_counts(run, figures),
        reasons=findings_table(run, figures.found) if has_findings else _reasons(run, left or []),
        answers=_answers(answers),
        latency=_latency(latency),
        drift=_drift(run),
        outages=outages_table(run.outages.order_by("pk")[:MAX_OUTAGES]),
        refused=refused_table(run.limited_minutes.all()) if run.rate_limited else {},
        request=_request(run),
        end=f"{str(run).capitalize()} has ended: {run.get_status_display()}.",
        end_template=f"unfold/helpers/messages/{END_MESSAGES.get(run.status, 'warning')}.html",
        live_url=live_url if run.status in ALIVE else "",
        slack_url=f"{live_url}?part=request" if _awaits_slack(run) else "",
        figures_url=figures_url,
        stop_url=stop_url,
        retry_url=retry_url,
    )


def _headline(run: SyncRun, figures: Figures) -> str:
    """The run in one sentence."""
    if run.status == RunStatus.QUEUED and broker.is_away():
        return f"{broker.AWAY}. The run waits for it, and begins by itself once the broker is back."
    if run.status == RunStatus.QUEUED and run.planner_at is None and timezone.now() - run.created_at > TAKEN_WITHIN:
        return "The broker has not taken a task for this run yet; it is asked again every half minute."
    if run.status == RunStatus.QUEUED:
        return "Waiting for a cluster to take it. If this lasts, no cluster is running: start manage.py qcluster."
    if run.status == RunStatus.RUNNING and run.stop_requested:
        return "Stopping: what is fetched is being stored."
    if run.status == RunStatus.RUNNING and run.silent_since:
        return f"Bytemark has not answered since {dated(run.silent_since)}. {run.kind_record.headline(figures)}"
    if run.status == RunStatus.RUNNING and not (run.users_planned or run.users):
        return "Looking for the users to ask Bytemark about."
    return run.kind_record.headline(figures)


def _times(run: SyncRun) -> list[tuple[str, object]]:
    times: list[tuple[str, object]] = [("Started", moment(run.started_at, "not yet"))]
    if run.status in ALIVE:
        times += [("Running for", duration(run_seconds(run))), ("Last sign of life", ago(run.heartbeat_at))]
    else:
        times += [("Ended", moment(run.finished_at)), ("Took", duration(run_seconds(run)))]
    if run.stopped_by:
        times.append(("Stopped by", run.stopped_by))
    return times


def _request(run: SyncRun) -> list[tuple[str, object]]:
    return [
        ("Trigger", run.get_trigger_display()),
        ("Requested by", run.requested_by or "-"),
        ("Requested at", moment(run.created_at)),
        ("Scope", scope_words(run)),
        ("Host", run.host or "-"),
        ("Slack result", run.slack or "-"),
    ]


def _awaits_slack(run: SyncRun) -> bool:
    """Whether the message to Slack may still be on its way: it is sent after the run ends, within half a minute."""
    if run.status in ALIVE or run.slack not in ("", SENDING) or run.finished_at is None:
        return False
    return timezone.now() - run.finished_at < timedelta(seconds=2 * BUDGET)


def _counts(run: SyncRun, figures: Figures) -> list[tuple[str, str]]:
    counts = [
        *run.kind_record.counts(figures),
        ("Users failed", run.users_failed),
        ("Requests", run.api_requests),
        ("Retries", run.retries),
        ("Refused (429)", run.rate_limited),
    ]
    if run.tokens_renewed or renews_tokens():
        counts.append(("Tokens renewed", run.tokens_renewed))
    return [(label, f"{count:,}") for label, count in counts]


def _left_by_reason(run: SyncRun) -> list[tuple[str, int]] | None:
    """The number of orders that this run left pending, by reason, largest first. None if it is not ready yet."""

    def count() -> Iterator[list[tuple[str, int]]]:
        rows = OrderAttempt.objects.filter(run_id=run.pk).order_by().values_list("reason").annotate(n=Count("pk"))
        yield sorted(rows, key=lambda row: -row[1])

    return LEFT.of((run.pk, run.status), count).latest()


def _reasons(run: SyncRun, left: list[tuple[str, int]]) -> dict[str, Any]:
    """The table of orders that this run left pending, by reason, with links to the orders."""
    orders = reverse("admin:bytemark_sync_orderattempt_changelist")
    return {
        "title": "Left pending, by reason",
        "headers": ["Reason", "Orders", "What to do"],
        "rows": [
            [
                reason_badge(reason),
                link(f"{orders}?run={run.pk}&reason={reason}", many(n, "order")),
                SafeString(f'<span class="whitespace-normal">{reason_advice()[reason].todo}</span>'),
            ]
            for reason, n in left
        ],
    }


def _answered(run: SyncRun) -> Answered | None:
    """The run's answers and latency. For a live run, added up from its batches; None if that is not ready yet."""
    if run.answers or run.status not in ALIVE:
        return run.answers, Histogram.from_json(run.latency)

    def add_up() -> Iterator[Answered]:
        answers: Counter[str] = Counter()
        latency = Histogram()
        for batch_answers, batch_latency in run.batches.values_list("answers", "latency").iterator(chunk_size=500):
            answers.update(batch_answers)
            latency.merge(Histogram.from_json(batch_latency))
        yield dict(answers), latency

    return ANSWERED.of(run.pk, add_up).latest()


def _answers(answers: dict[str, int]) -> dict[str, Any]:
    total = sum(answers.values())
    rows = sorted(answers.items(), key=lambda row: -row[1])
    return {
        "headers": ["Answer", "Requests", "Share"],
        "rows": [[kind.replace("_", " "), f"{n:,}", f"{n / total:.1%}"] for kind, n in rows],
    }


def _drift(run: SyncRun) -> dict[str, Any]:
    """The table of changes in the shape of the answers since an earlier run. It has no rows if there are none."""
    changes = [Change.from_json(each) for each in run.drift.get("changes", [])]
    return {
        "title": f"Bytemark's answers have another shape than in run {run.drift.get('since_run')}",
        "headers": ["Member", "Change", "Was", "Is"],
        "rows": [[each.path, each.word, ", ".join(each.was) or "-", ", ".join(each.is_now) or "-"] for each in changes],
    }


def _latency(latency: Histogram) -> list[tuple[str, str]]:
    if not latency.count:
        return []
    values = [
        ("Median", latency.quantile(0.5)),
        ("95th percentile", latency.quantile(0.95)),
        ("Slowest", latency.maximum),
    ]
    return [(label, f"{seconds * 1000:,.0f} ms" if seconds < 1 else f"{seconds:.2f} s") for label, seconds in values]
