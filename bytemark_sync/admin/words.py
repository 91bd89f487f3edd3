"""What a person reads: badges, times, and what each reason asks of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from bytemark_sync.models import RunStatus, SyncRun
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.reasons import Reason
from bytemark_sync.totals import many

NEVER = "never_tried"
NEVER_LABEL = "never tried"
REASON_WORDS: dict[str, str] = {
    NEVER: NEVER_LABEL,
    Reason.NOT_FOUND: "not found",
    Reason.NO_PASSES: "no passes",
    Reason.MALFORMED: "malformed",
    Reason.TOKEN_REJECTED: "token rejected",
    Reason.NO_TOKEN: "no token",
    Reason.API_ERROR: "API error",
}
"""Short enough for a badge; `ADVICE` says what each means."""
REASON_VARIANTS: dict[str, str] = {
    NEVER: "info",
    Reason.NOT_FOUND: "warning",
    Reason.NO_PASSES: "warning",
    Reason.MALFORMED: "danger",
    Reason.TOKEN_REJECTED: "danger",
    Reason.NO_TOKEN: "danger",
    Reason.API_ERROR: "danger",
}
STATUS_VARIANTS: dict[str, str] = {
    RunStatus.QUEUED: "info",
    RunStatus.RUNNING: "info",
    RunStatus.SUCCEEDED: "success",
    RunStatus.PARTIAL: "warning",
    RunStatus.FAILED: "danger",
    RunStatus.INTERRUPTED: "warning",
    RunStatus.SKIPPED: "default",
}


@dataclass(frozen=True, slots=True)
class Advice:
    """What a reason means, and what to do about it."""

    meaning: str
    todo: str


ADVICE: dict[str, Advice] = {
    NEVER: Advice(
        "No run has asked Bytemark for this order yet.",
        "Nothing, as long as the daily run works: it takes the order. To have it now, resync the user.",
    ),
    Reason.NOT_FOUND: Advice(
        "Bytemark answered, and its list of the user's orders does not hold this one.",
        "Look the order up in Bytemark's console: it may belong to another account of the rider, or was never placed. "
        "Until then it is tried again by itself, more and more seldom.",
    ),
    Reason.NO_PASSES: Advice(
        "Bytemark lists the order, but no pass in it.",
        "The passes may still be in the making. If it stays so for days, ask Bytemark to issue them.",
    ),
    Reason.MALFORMED: Advice(
        "Bytemark lists the order in a form that cannot be read.",
        "Show the detail to a developer: Bytemark may have changed its answers.",
    ),
    Reason.TOKEN_REJECTED: Advice(
        "Bytemark refused every key of this user.",
        "The rider has to log in to the app again; the new key is noticed by itself.",
    ),
    Reason.NO_TOKEN: Advice(
        "The portal holds no key for this user.",
        "The rider has to log in to the app once.",
    ),
    Reason.API_ERROR: Advice(
        "Bytemark could not be reached, or answered with errors, until the attempts were used up.",
        "If many users have it, Bytemark is in trouble: wait. The next run tries again. For one user alone, resync.",
    ),
}


def badge(text: str, variant: str, href: str = "") -> SafeString:
    """The library's label."""
    return SafeString(
        render_to_string("unfold/helpers/label.html", {"text": text, "variant": variant, "href": href}).strip()
    )


def reason_badge(reason: str) -> SafeString:
    return badge(REASON_WORDS[reason], REASON_VARIANTS[reason])


def status_badge(run: SyncRun) -> SafeString:
    if run.stop_requested and run.status in ALIVE:
        return badge("stopping", "warning")
    return badge(run.get_status_display(), STATUS_VARIANTS[run.status])


def link(url: str, text: object) -> SafeString:
    return format_html('<a href="{}" class="text-link whitespace-nowrap">{}</a>', url, text)


def short(text: str, most: int = 13) -> SafeString | str:
    """The beginning of a long uuid; the whole of it in its title."""
    return text if len(text) <= most + 3 else format_html('<span title="{}">{}…</span>', text, text[:most])


def page_of(model: str, key: object, text: object) -> SafeString:
    """A link to the page of one row."""
    return link(reverse(f"admin:bytemark_sync_{model}_change", args=[key]), text)


def rider_link(user_id: int | None) -> SafeString | str:
    if user_id is None:
        return "-"
    return link(f"{reverse('admin:bytemark_sync_portaluser_changelist')}?q={user_id}", user_id)


def run_link(run_id: int | None, kind: str = "run") -> SafeString | str:
    """`kind` is "audit" where the run is one, as in `str` of it."""
    return page_of("syncrun", run_id, f"{kind} {run_id}") if run_id else "-"


def moment(at: datetime | None, empty: SafeString | str = "-") -> SafeString | str:
    """A point in time, short, with how far away it is in its title."""
    if at is None:
        return empty
    local = timezone.localtime(at)
    shown = "j M, H:i" if local.year == timezone.localtime().year else "j M Y, H:i"
    iso = local.isoformat(timespec="seconds")
    return format_html(
        '<time datetime="{}" title="{}" class="whitespace-nowrap">{}</time>', iso, away(at), date_format(local, shown)
    )


def dated(at: datetime) -> str:
    """A point in time in full, with its zone, for sentences and forms."""
    local = timezone.localtime(at)
    return f"{date_format(local, 'j M Y, H:i')} {local.tzname()}"


def not_before(at: datetime) -> SafeString:
    """For a list: the day before which no scheduled run tries; when exactly in its title."""
    local = timezone.localtime(at)
    shown = date_format(local, "j M" if local.year == timezone.localtime().year else "j M Y")
    words = f"{dated(at)}, {away(at)}"
    iso = local.isoformat(timespec="seconds")
    return format_html(
        '<time datetime="{}" title="{}" class="whitespace-nowrap">not before {}</time>', iso, words, shown
    )


def away(at: datetime) -> str:
    """ "3 days ago", "in 2 hours"."""
    now = timezone.now()
    gap = abs(now - at)
    if gap < timedelta(minutes=1):
        return "now"
    text = timesince(min(at, now), max(at, now), depth=1).replace("\xa0", " ")
    return f"in {text}" if at > now else f"{text} ago"


def duration(seconds: float | None) -> str:
    """ "48 s", "3 min 20 s", "2 h 5 min"."""
    if seconds is None or seconds < 0:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def run_seconds(run: SyncRun) -> float | None:
    """How long the run has worked, or worked."""
    if run.started_at is None:
        return None
    return ((run.finished_at or timezone.now()) - run.started_at).total_seconds()


def run_percent(run: SyncRun) -> int | None:
    """How far a run is, by users; None while that is not known."""
    if run.status in (RunStatus.SUCCEEDED, RunStatus.PARTIAL):
        return 100
    if not run.users_planned:
        return None
    return min(100, run.users * 100 // run.users_planned)


def progress(run: SyncRun) -> SafeString | str:
    percent = run_percent(run)
    if percent is None:
        return (many(run.users, "user") if run.users else "planning") if run.status in ALIVE else "-"
    bar: dict[str, Any] = {"value": str(percent), "title": f"{run.users:,} users", "description": f"{percent} %"}
    return SafeString(render_to_string("unfold/components/progress.html", bar))


def scope_words(run: SyncRun) -> str:
    """What the run was asked to work."""
    scope: dict[str, Any] = run.scope or {}
    users, orders, filters = scope.get("users", []), scope.get("orders", []), dict(scope.get("filters", {}))
    parts = []
    if scope.get("audit"):
        parts.append("audit of stored orders" + (", missing passes repaired" if scope.get("repair") else ""))
    if "order_ids" in scope:
        parts.append(f"{len(scope['order_ids']):,} of them")
    if scope.get("since"):
        parts.append(f"stored since {scope['since'][:16].replace('T', ' ')}")
    if users:
        parts.append(_some("user", users))
    if orders:
        parts.append(_some("order", orders))
    if filters.pop("next_after", None):
        parts.append("deferred orders")
    if filters:
        parts.append("orders with " + ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in filters.items()))
    if scope.get("limit") is not None:
        parts.append(f"at most {scope['limit']} users")
    if scope.get("include_deferred"):
        parts.append("deferred orders too")
    return "; ".join(parts) or "all that is due"


def _some(name: str, values: list[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:5])
    return f"{name}{'s' if len(values) > 1 else ''} {shown}" + (
        f" and {len(values) - 5} more" if len(values) > 5 else ""
    )
