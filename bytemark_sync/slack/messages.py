"""Every text that is sent to Slack. None contains a token, e-mail or password. Names and errors are escaped.

What a reason and a kind of run are called is in their records (domain/reasons.py, domain/run_kinds.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from bytemark_sync.domain.counters import many
from bytemark_sync.domain.drift import Change
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.domain.run_kinds import Figures
from bytemark_sync.models import OrderOutcome, RunStatus, SyncRun
from bytemark_sync.storage.finding_counts import found_of
from bytemark_sync.times import dated, hours

ORIGIN = "bytemark_sync/sync_order_items"
USERS_PER_REASON = 5
MAX_CHANGES = 15
LATE = timedelta(hours=1)
"""A message that is sent later than this after the run's end says when that was."""


def digest(run: SyncRun) -> str:
    """Says what went wrong in a failed or partial run: the counts, and the failures by reason with a few users each."""
    lines = [f"{_head(run, ':x:' if run.status == RunStatus.FAILED else ':warning:')} {_words(run)}", _counts(run)]
    if run.error:
        lines.append(f"Why: {_escape(run.error[:500])}")
    if run.logins_stopped:
        lines.append(_escape(run.logins_stopped[:500]))
    lines += _reasons(run)
    if link := _run_link(run):
        lines.append(link)
    return "\n".join(lines)


def recovery(run: SyncRun, bad_runs: int) -> str:
    """Says that a good run has ended a series of `bad_runs`."""
    bad = many(bad_runs, f"bad {run.get_kind_display()}")
    return f"{_head(run, ':white_check_mark:')} succeeded again after {bad}.\n{_counts(run)}"


def drift(run: SyncRun) -> str:
    """Says what has changed in the shape of Bytemark's answers and was not reported before. "" if nothing has."""
    new = [Change.from_json(each) for each in run.drift.get("changes", []) if not each["is_told"]]
    if not new:
        return ""
    lines = [f"{_head(run, ':mag:')}: Bytemark's answers have another shape than in run {run.drift['since_run']}."]
    lines += [f"• {_change(each)}" for each in new[:MAX_CHANGES]]
    if len(new) > MAX_CHANGES:
        lines.append(f"• and {len(new) - MAX_CHANGES} more")
    return "\n".join([*lines, *filter(None, [_run_link(run)])])


def _change(change: Change) -> str:
    was, is_now = ", ".join(change.was), ", ".join(change.is_now)
    types = f"was {was}, is {is_now}" if was and is_now else was or is_now
    return f"{change.word}: `{_escape(change.path)}` ({types})"


def silence(lasted: timedelta, last: SyncRun | None, problems: Iterable[str], next_run: datetime | None) -> str:
    """Says that no scheduled run has succeeded, or was partial, since `last`. `problems` are those of /healthz."""
    lines = [f":mute: {_place()}: no scheduled run has worked for {hours(lasted)}."]
    if last:
        lines.append(f"The last one that did: {_run_link(last) or f'run {last.pk}'}.")
    lines += [f"• {_escape(problem)}" for problem in problems]
    if next_run:
        lines.append(f"Next daily run: {dated(next_run)}.")
    return "\n".join(lines)


def _escape(text: str) -> str:
    """Escape Slack's three control characters, so that no value becomes a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _place() -> str:
    return f"*{_escape(settings.PROJECT_NAME)}* {_escape(settings.PROJECT_STAGE)} `{ORIGIN}`"


def _run_link(run: SyncRun) -> str:
    """A link to the run in the admin. Empty if `SITE_URL` is not set."""
    if not settings.SITE_URL:
        return ""
    try:
        path = reverse("admin:bytemark_sync_syncrun_change", args=[run.pk])
    except NoReverseMatch:
        return ""
    return f"<{settings.SITE_URL}{path}|{str(run).capitalize()} in the admin>"


def _head(run: SyncRun, sign: str) -> str:
    """Which run it is, and when it ended if the message comes late."""
    ended = run.finished_at
    late = f", ended {dated(ended)}," if ended and timezone.now() - ended > LATE else ""
    return f"{sign} {_place()}: {name_of(run)}{late}"


def name_of(run: SyncRun) -> str:
    """ "run 7 (schedule)", "audit 8"."""
    return f"{run} ({run.trigger})" if run.kind_record.names_trigger else str(run)


def _words(run: SyncRun) -> str:
    return "failed" if run.status == RunStatus.FAILED else "was partial: not all of it worked"


def _counts(run: SyncRun) -> str:
    parts = [
        f"{many(run.users, 'user')}, {run.users_failed:,} failed",
        *run.kind_record.summary(Figures.of(run, found_of(run))),
        *([f"{many(run.tokens_renewed, 'token')} renewed"] if run.tokens_renewed else []),
        f"{many(run.api_requests, 'request')}, {run.retries:,} repeated",
    ]
    return " · ".join(parts)


def _reasons(run: SyncRun) -> Iterator[str]:
    """One line for each reason. Reasons that fail a whole user come first."""
    left = OrderOutcome.objects.filter(last_run=run)
    groups = left.order_by().values_list("reason").annotate(Count("user_id", distinct=True), Count("pk"))
    found = {reason: (users, orders) for reason, users, orders in groups}
    for reason in sorted(Reason, key=lambda reason: not reason.record.fails_user):
        if reason.value in found:
            users, orders = found[reason.value]
            some = left.filter(reason=reason).order_by("user_id").values_list("user_id", flat=True).distinct()
            ids = ", ".join(str(user_id) for user_id in some[:USERS_PER_REASON])
            more = ", ..." if users > USERS_PER_REASON else ""
            noun = "user" if users == 1 else "users"
            why = (
                left.filter(reason=reason).values_list("detail", flat=True).first()
                if reason.record.shows_detail
                else ""
            )
            example = f". For example: {_escape(why or '')}" if why else ""
            counts = f"{many(users, 'user')}, {many(orders, 'order')}"
            yield f"• {reason.record.label}: {counts} ({noun} {ids}{more}){example}"
