"""When Slack is told: of a run that failed or was partial, of the end of a failing series, of a long silence.

A Slack that is down, slow or refuses costs a run at most `BUDGET` seconds and never its result; what became of the
message is shown on the run. Nothing here raises.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from bytemark_sync.models import RunStatus, SyncRun
from bytemark_sync.slack import messages

logger = logging.getLogger(__name__)

BUDGET = 28.0
"""Seconds for one message with all its retries; a run waits no longer (30 s with the database's part)."""

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
    """Tell about ended runs whose process died before it told, ten at a time; the number of runs.

    It does not matter how long ago they ended. A process that died while it sent may have sent: the message then comes
    a second time.
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
        return send(messages.digest(run))
    if run.status == RunStatus.SUCCEEDED and (series := _series_before(run)):
        return send(messages.recovery(run, series))
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
