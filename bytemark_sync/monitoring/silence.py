"""Watches for a silence: no scheduled run has worked for 36 hours, or for longer if the schedule has longer gaps."""

from __future__ import annotations

from django.utils import timezone

from bytemark_sync.models import NamedLock, SyncRun, Trigger
from bytemark_sync.monitoring import health
from bytemark_sync.queue import schedules
from bytemark_sync.queue.locks import take_turn
from bytemark_sync.slack import messages, reporter

SECONDS_BETWEEN_MESSAGES = 24 * 3600.0
TOLD = "silence told"


def check() -> str:
    """Tell Slack if no scheduled run has worked for too long: at once, then once a day. Return what was done.

    A partial run has worked too.
    """
    now = timezone.now()
    NamedLock.objects.filter(name="silence").update(at=now)
    last = SyncRun.objects.filter(trigger=Trigger.SCHEDULE, status__in=health.WORKED).order_by("-pk").first()
    since = last.finished_at if last else schedules.installed_at()
    longest = schedules.longest_silence(schedules.sync_schedules())
    if since is None or now - since <= longest:
        NamedLock.objects.filter(name=TOLD).delete()
        return "no silence"
    if not take_turn(TOLD, SECONDS_BETWEEN_MESSAGES):
        return "told before"
    state = health.look()
    result = reporter.send(messages.silence(now - since, last, state.problems, state.next_scheduled_run))
    if result.startswith("failed"):
        NamedLock.objects.filter(name=TOLD).delete()
    return result
