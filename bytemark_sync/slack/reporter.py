"""One message to Slack for a run that failed or was partial, one when a failing series ends, one for a long silence.

A Slack that is down, slow or refuses costs a run at most `BUDGET` seconds and never its result; what became of the
message is shown on the run. Nothing here raises.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db.models import Count
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from bytemark_sync.domain.counters import many
from bytemark_sync.domain.reasons import REASON_LABELS, USER_FAILURES, Reason
from bytemark_sync.models import OrderOutcome, RunKind, RunStatus, SyncRun
from bytemark_sync.storage.finding_counts import found_by
from bytemark_sync.times import dated

logger = logging.getLogger(__name__)
ORIGIN = "bytemark_sync/sync_order_items"

BUDGET = 28.0
"""Seconds for one message with all its retries; a run waits no longer (30 s with the database's part)."""
USERS_PER_REASON = 5
LATE = timedelta(hours=1)
"""A message that comes later than this says when the run ended."""

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
    """Tell about ended runs whose process died before it told, ten at a time; how many it were.

    However long ago they ended: a message may come twice, never not at all.
    """
    now = timezone.now()
    ended = SyncRun.objects.filter(finished_at__lt=now - timedelta(minutes=3))
    ended.filter(slack=SENDING).update(slack="")
    forgotten = list(ended.filter(slack="").order_by("pk")[:10])
    for run in forgotten:
        report_run(run)
    return len(forgotten)


def _is_set() -> bool:
    if settings.SLACK_BOT_TOKEN and settings.SLACK_CHANNEL_ID:
        return True
    if not _said_not_set.is_set():
        _said_not_set.set()
        logger.info("No messages go to Slack: SLACK_BOT_TOKEN or SLACK_CHANNEL_ID is not set.")
    return False


def _report(run: SyncRun) -> str:
    _is_set()  # says so where it is not, whether or not this run is to be told
    if run.status in _BAD:
        return send(digest(run))
    if run.status == RunStatus.SUCCEEDED and (series := _series_before(run)):
        bad = many(series, f"bad {run.get_kind_display()}")
        return send(f"{_head(run, ':white_check_mark:')} succeeded again after {bad}.\n{_counts(run)}")
    return NOT_NEEDED


def send(text: str) -> str:
    """Post `text` to the channel; "sent", or why not, in at most `BUDGET` seconds. Never raises."""
    if not _is_set():
        return NOT_SET
    from bytemark_sync.slack.delivery import post  # its library costs 20 ms that most runs do not need

    results: list[str] = []
    # In a thread, for no timeout of the client bounds a whole answer that drips in.
    sender = threading.Thread(
        target=lambda: results.append(post(text, seconds=BUDGET) or SENT), name="slack", daemon=True
    )
    sender.start()
    sender.join(BUDGET)
    result = results[0] if results else f"failed: no answer within {BUDGET:.0f} s"
    if result != SENT:
        logger.warning("The message to Slack was not sent: %s", result)
    return result


# --- The text ---------------------------------------------------------------------------------------------------------


def digest(run: SyncRun) -> str:
    """What went wrong, for a channel: counts, and failures by reason with a few users each. No token, ever."""
    lines = [f"{_head(run, ':x:' if run.status == RunStatus.FAILED else ':warning:')} {_words(run)}", _counts(run)]
    if run.error:
        lines.append(f"Why: {escape(run.error[:500])}")
    lines += _reasons(run)
    if link := run_link(run):
        lines.append(link)
    return "\n".join(lines)


def escape(text: str) -> str:
    """Slack's three control characters, so that no value becomes a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def place() -> str:
    return f"*{escape(settings.PROJECT_NAME)}* {escape(settings.PROJECT_STAGE)} `{ORIGIN}`"


def run_link(run: SyncRun) -> str:
    """A link to the run in the admin; empty where `SITE_URL` is not set."""
    if not settings.SITE_URL:
        return ""
    try:
        path = reverse("admin:bytemark_sync_syncrun_change", args=[run.pk])
    except NoReverseMatch:
        return ""
    return f"<{settings.SITE_URL}{path}|{str(run).capitalize()} in the admin>"


def _head(run: SyncRun, sign: str) -> str:
    """Which run; and when it ended, where the message comes late."""
    ended = run.finished_at
    late = f", ended {dated(ended)}," if ended and timezone.now() - ended > LATE else ""
    return f"{sign} {place()}: {name_of(run)}{late}"


def name_of(run: SyncRun) -> str:
    """ "run 7 (schedule)", "audit 8"."""
    return str(run) if run.kind == RunKind.AUDIT else f"{run} ({run.trigger})"


def _words(run: SyncRun) -> str:
    return "failed" if run.status == RunStatus.FAILED else "was partial: some of it failed"


def _counts(run: SyncRun) -> str:
    parts = [
        f"{many(run.users, 'user')}, {run.users_failed:,} failed",
        *(_audited(run) if run.kind == RunKind.AUDIT else _synced(run)),
        f"{many(run.api_requests, 'request')}, {run.retries:,} repeated",
    ]
    return " · ".join(parts)


def _audited(run: SyncRun) -> list[str]:
    found = found_by([run.pk])[run.pk]
    return [
        f"{many(run.orders, 'order')} audited",
        f"{many(found.total, 'finding')}, {found.repaired:,} repaired",
        f"{run.orders_invalid:,} malformed",
    ]


def _synced(run: SyncRun) -> list[str]:
    return [
        f"{run.orders_synced:,} of {many(run.orders, 'order')} stored",
        f"{run.orders_not_found:,} not listed",
        f"{run.orders_without_passes:,} without passes",
        f"{run.orders_invalid:,} malformed",
        f"{run.orders_deferred:,} deferred",
        f"{many(run.items_created, 'item')}",
    ]


def _reasons(run: SyncRun) -> Iterator[str]:
    """One line a reason, those that fail a whole user first."""
    left = OrderOutcome.objects.filter(last_run=run)
    groups = left.order_by().values_list("reason").annotate(Count("user_id", distinct=True), Count("pk"))
    found = {reason: (users, orders) for reason, users, orders in groups}
    for reason in sorted(Reason, key=lambda reason: reason not in USER_FAILURES):
        if reason.value in found:
            users, orders = found[reason.value]
            some = left.filter(reason=reason).order_by("user_id").values_list("user_id", flat=True).distinct()
            ids = ", ".join(str(user_id) for user_id in some[:USERS_PER_REASON])
            more = ", ..." if users > USERS_PER_REASON else ""
            noun = "user" if users == 1 else "users"
            label = REASON_LABELS[reason]
            # Bytemark's form and the database's refusal share this reason: the words of one order tell which it is.
            why = (
                left.filter(reason=reason).values_list("detail", flat=True).first()
                if reason is Reason.MALFORMED
                else ""
            )
            example = f". For example: {escape(why or '')}" if why else ""
            yield f"• {label}: {many(users, 'user')}, {many(orders, 'order')} ({noun} {ids}{more}){example}"


def _series_before(run: SyncRun) -> int:
    """How many bad runs this good one ends. A run of some users or orders ends only a series of the very same ones."""
    ended = SyncRun.objects.filter(kind=run.kind, status__in=_ENDED, pk__lt=run.pk).order_by("-pk")
    if run.whole:
        good = ended.filter(whole=True, status=RunStatus.SUCCEEDED).values_list("pk", flat=True).first()
        return ended.filter(status__in=_BAD, pk__gt=good or 0).count()
    bad = 0
    for status, scope in ended.filter(whole=False).values_list("status", "scope")[:200]:
        if scope == run.scope:
            if status == RunStatus.SUCCEEDED:
                break
            bad += 1
    return bad
