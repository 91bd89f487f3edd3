"""Decides when a run is reported to Slack: if it failed or was partial, if it ends a series of such runs, or if
Bytemark's answers had another shape than before.

If Slack is down or slow, or refuses the message, a run loses at most `BUDGET` seconds and never its result. The run
shows what became of the message. Nothing here raises.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from bytemark_sync.log_fields import carried, log_fields
from bytemark_sync.models import RunStatus, SyncRun
from bytemark_sync.slack import messages

logger = logging.getLogger(__name__)

BUDGET = 28.0
"""Seconds for one message with all its retries. A run waits no longer than this (30 s with the database's part)."""

NOT_NEEDED, SENT, NOT_SET, SENDING = "not needed", "sent", "no token or channel set", "being sent"
_BAD = (RunStatus.FAILED, RunStatus.PARTIAL)
_ENDED = (*_BAD, RunStatus.SUCCEEDED)
_said_not_set = threading.Event()


def report_run(run: SyncRun) -> None:
    """Send a message about an ended run, if one is needed, and record the result in the run's `slack`.

    Each run is reported once: only the caller that changes its empty `slack` sends the message.
    """
    with log_fields(run=run.pk):
        try:
            if not SyncRun.objects.filter(pk=run.pk, slack="").update(slack=SENDING):
                return
            run.slack = _report(run)
            SyncRun.objects.filter(pk=run.pk).update(slack=run.slack[:255])
        except Exception as error:  # noqa: BLE001 - a message must never cost the run its result
            logger.error("run %s: the message to Slack failed (%s)", run.pk, type(error).__name__)


def report_forgotten() -> int:
    """Report ended runs whose process died before it reported them, at most ten. Return how many.

    It does not matter how long ago they ended. If the process died while it was sending, the message may come twice.
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
    _is_set()  # logs once if it is not set, even if this run needs no message
    text = "\n".join(filter(None, (_words(run), messages.drift(run))))
    return send(text) if text else NOT_NEEDED


def _words(run: SyncRun) -> str:
    if run.status in _BAD:
        return messages.digest(run)
    if run.status == RunStatus.SUCCEEDED and (series := _series_before(run)):
        return messages.recovery(run, series)
    return ""


def send(text: str) -> str:
    """Post `text` to the channel in at most `BUDGET` seconds. Return "sent" or why it was not. Never raises."""
    if not _is_set():
        return NOT_SET
    from bytemark_sync.slack.delivery import post  # importing its library takes 20 ms; most runs do not need it

    results: list[str] = []
    # In a thread, because the client's timeouts do not limit an answer that arrives very slowly.
    say = carried(lambda: results.append(post(text, seconds=BUDGET) or SENT))
    sender = threading.Thread(target=say, name="slack", daemon=True)
    sender.start()
    sender.join(BUDGET)
    result = results[0] if results else f"failed: no answer within {BUDGET:.0f} s"
    if result != SENT:
        logger.warning("The message to Slack was not sent: %s", result)
    return result


def _series_before(run: SyncRun) -> int:
    """The number of bad runs in a row before this good one. A run of some users or orders counts only runs of those."""
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
