"""One message to Slack for a run that failed or was partial, one when a failing series ends, one for a long silence.

A Slack that is down, slow or refuses costs a run at most `BUDGET` seconds and never its result; what became of the
message is shown on the run. Nothing here raises.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.error import URLError

from django.conf import settings
from django.db.models import Count
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry import (
    BackoffRetryIntervalCalculator,
    ConnectionErrorRetryHandler,
    FixedValueRetryIntervalCalculator,
    RateLimitErrorRetryHandler,
    RetryHandler,
)
from slack_sdk.http_retry.builtin_handlers import ServerErrorRetryHandler

from bytemark_sync.models import OrderOutcome, RunStatus, SyncRun
from bytemark_sync.reasons import REASON_LABELS, USER_FAILURES, Reason
from bytemark_sync.scope import Scope

logger = logging.getLogger(__name__)
ORIGIN = "bytemark_sync/sync_order_items"

BUDGET = 28.0
"""Seconds for one message with all its retries; a run waits no longer (30 s with the database's part)."""
ATTEMPT = 8
"""Seconds for one request to Slack."""
USERS_A_REASON = 5
LONGEST_TEXT = 3500

NOT_NEEDED, SENT, NOT_SET, SENDING = "not needed", "sent", "no token or channel set", "being sent"
_BAD = (RunStatus.FAILED, RunStatus.PARTIAL)
_ENDED = (*_BAD, RunStatus.SUCCEEDED)
_said_not_set = threading.Event()


def report_run(run: SyncRun) -> None:
    """Tell about a run that has ended, where there is something to tell, and note on the run what became of it.

    A run is told once, whoever asks: the first to change its empty `slack` sends.
    """
    try:
        if not SyncRun.objects.filter(pk=run.pk, slack="").update(slack=SENDING):
            return
        run.slack = _report(run)
        SyncRun.objects.filter(pk=run.pk).update(slack=run.slack[:255])
    except Exception as error:  # noqa: BLE001 - a message never costs the run its result
        logger.error("run %s: the message to Slack failed (%s)", run.pk, type(error).__name__)


def report_forgotten() -> int:
    """Tell about ended runs whose process died before it told; how many. A message may come twice, never not at all."""
    now = timezone.now()
    ended = SyncRun.objects.filter(finished_at__range=(now - timedelta(days=1), now - timedelta(minutes=3)))
    ended.filter(slack=SENDING).update(slack="")
    forgotten = list(ended.filter(slack="")[:10])
    for run in forgotten:
        report_run(run)
    return len(forgotten)


def _report(run: SyncRun) -> str:
    if run.status in _BAD:
        return send(digest(run))
    if run.status == RunStatus.SUCCEEDED and (series := _series_before(run)):
        return send(
            f"{_head(run, ':white_check_mark:')} succeeded again after {_many(series, 'bad run')}.\n{_counts(run)}"
        )
    return NOT_NEEDED


def send(text: str) -> str:
    """Post `text` to the channel; "sent", or why not, in at most `BUDGET` seconds. Never raises."""
    if not settings.SLACK_BOT_TOKEN or not settings.SLACK_CHANNEL_ID:
        if not _said_not_set.is_set():
            _said_not_set.set()
            logger.warning("No messages go to Slack: SLACK_BOT_TOKEN or SLACK_CHANNEL_ID is not set.")
        return NOT_SET
    results: list[str] = []
    # In a thread, for no timeout of the client bounds a whole answer that drips in.
    sender = threading.Thread(target=lambda: results.append(_post(text)), name="slack", daemon=True)
    sender.start()
    sender.join(BUDGET)
    result = results[0] if results else f"failed: no answer within {BUDGET:.0f} s"
    if result != SENT:
        logger.warning("The message to Slack was not sent: %s", result)
    return result


def _post(text: str) -> str:
    quiet = logging.getLogger("bytemark_sync.slack.client")
    quiet.setLevel(logging.CRITICAL)  # its debug log repeats requests and answers whole
    client = WebClient(
        token=settings.SLACK_BOT_TOKEN,
        base_url=settings.SLACK_API_URL,
        timeout=ATTEMPT,
        logger=quiet,
        retry_handlers=_retries(time.monotonic() + BUDGET),
    )
    try:
        client.chat_postMessage(channel=settings.SLACK_CHANNEL_ID, text=text[:LONGEST_TEXT], unfurl_links=False)
    except SlackApiError as error:
        return f"failed: Slack answered {_answer(error)}"[:255]
    except URLError as error:
        return f"failed: {error.reason}"[:255]
    except (SlackClientError, OSError, ValueError) as error:
        return f"failed: {type(error).__name__}"
    except Exception as error:  # noqa: BLE001 - http.client has classes of its own
        return f"failed: {type(error).__name__}"
    return SENT


def _answer(error: SlackApiError) -> str:
    status = getattr(error.response, "status_code", None)
    told = error.response.get("error") if hasattr(error.response, "get") else None
    return f"HTTP {status}" if told is None or status != 200 else str(told)[:100]


def _retries(deadline: float) -> list[RetryHandler]:
    soon = BackoffRetryIntervalCalculator(backoff_factor=0.5)
    return [
        ConnectionErrorRetryHandler(max_retry_count=2, interval_calculator=soon),
        ServerErrorRetryHandler(max_retry_count=2, interval_calculator=FixedValueRetryIntervalCalculator(1.0)),
        _RateLimit(deadline),
    ]


class _RateLimit(RateLimitErrorRetryHandler):
    """Waits as long as Slack asks, unless that is longer than the message may take."""

    def __init__(self, deadline: float) -> None:
        super().__init__(max_retry_count=5)
        self._deadline = deadline

    def _can_retry(self, *, state: Any, request: Any, response: Any = None, error: Any = None) -> bool:
        if not super()._can_retry(state=state, request=request, response=response, error=error):
            return False
        asked = next((value for name, value in response.headers.items() if name.lower() == "retry-after"), ["1"])
        try:
            seconds = int(asked[0])
        except ValueError:
            return False
        return seconds >= 0 and time.monotonic() + seconds + 2 < self._deadline


# --- The text ---------------------------------------------------------------------------------------------------------


def digest(run: SyncRun) -> str:
    """What went wrong, for a channel: counts, and failures by reason with a few users each. No token, ever."""
    lines = [f"{_head(run, ':x:' if run.status == RunStatus.FAILED else ':warning:')} {_words(run)}", _counts(run)]
    if run.error:
        lines.append(f"Why: {escape(run.error[:500])}")
    lines += _reasons(run)
    if link := run_link(run.pk):
        lines.append(link)
    return "\n".join(lines)


def escape(text: str) -> str:
    """Slack's three control characters, so that no value becomes a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def place() -> str:
    return f"*{escape(settings.PROJECT_NAME)}* {escape(settings.PROJECT_STAGE)} `{ORIGIN}`"


def run_link(run_id: int) -> str:
    """A link to the run in the admin; empty where `SITE_URL` is not set."""
    if not settings.SITE_URL:
        return ""
    try:
        path = reverse("admin:bytemark_sync_syncrun_change", args=[run_id])
    except NoReverseMatch:
        return ""
    return f"<{settings.SITE_URL}{path}|Run {run_id} in the admin>"


def _head(run: SyncRun, sign: str) -> str:
    return f"{sign} {place()}: run {run.pk} ({run.trigger})"


def _words(run: SyncRun) -> str:
    return "failed" if run.status == RunStatus.FAILED else "was partial: some of it failed"


def _counts(run: SyncRun) -> str:
    parts = [
        f"{_many(run.users, 'user')}, {run.users_failed:,} failed",
        f"{run.orders_synced:,} of {_many(run.orders, 'order')} stored",
        f"{run.orders_not_found:,} not listed",
        f"{run.orders_without_passes:,} without passes",
        f"{run.orders_invalid:,} malformed",
        f"{run.orders_deferred:,} deferred",
        f"{_many(run.items_created, 'item')}",
        f"{_many(run.api_requests, 'request')}, {run.retries:,} repeated",
    ]
    return " · ".join(parts)


def _reasons(run: SyncRun) -> Iterator[str]:
    """One line a reason, those that fail a whole user first."""
    left = OrderOutcome.objects.filter(last_run=run)
    groups = left.order_by().values_list("reason").annotate(Count("user_id", distinct=True), Count("pk"))
    found = {reason: (users, orders) for reason, users, orders in groups}
    for reason in sorted(Reason, key=lambda reason: reason not in USER_FAILURES):
        if reason.value in found:
            users, orders = found[reason.value]
            some = left.filter(reason=reason).order_by("user_id").values_list("user_id", flat=True).distinct()
            ids = ", ".join(str(user_id) for user_id in some[:USERS_A_REASON])
            more = ", ..." if users > USERS_A_REASON else ""
            label = REASON_LABELS[reason]
            yield f"• {label}: {_many(users, 'user')}, {_many(orders, 'order')} (user {ids}{more})"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _series_before(run: SyncRun) -> int:
    """How many bad runs this good one ends. A run of some users or orders ends only a series of the very same ones."""
    ended = SyncRun.objects.filter(status__in=_ENDED, pk__lt=run.pk).order_by("-pk")
    wide = Scope.from_json(run.scope).is_everything
    bad = 0
    for status, scope in ended.values_list("status", "scope")[:200]:
        if not wide and scope != run.scope:
            continue
        bad += status in _BAD
        if status == RunStatus.SUCCEEDED and (not wide or Scope.from_json(scope).is_everything):
            break
    return bad
