"""Words, badges, links and times that the admin shows, and the advice for each reason.

Lists, columns and advice say "rider" for a person of the portal. Sentences about a run say "user", like the command's
`--user` option and the counts in its summary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any, TypeVar

from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from bytemark_sync.domain.counters import many
from bytemark_sync.domain.pending_filter import NEVER_TRIED
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import RunStatus, SyncRun
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.storage.portal_schema import renews_tokens
from bytemark_sync.times import dated, dated_text

T = TypeVar("T")
NEVER = NEVER_TRIED
NEVER_LABEL = "never tried"
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


OF_NEWER = Advice("A newer version of this product has left it so.", "See the detail, or the newer version's pages.")


class Known(dict[str, T]):
    """What this version knows of words in columns. One that only a newer version knows gets what `unknown` makes of it.

    Such rows are met while two versions work side by side, and after going back
    (docs/decisions/0017-two-versions-side-by-side.md).
    """

    def __init__(self, known: Mapping[str, T], unknown: Callable[[str], T]) -> None:
        super().__init__(known)
        self._unknown = unknown

    def __missing__(self, word: str) -> T:
        return self._unknown(word)


def in_words(name: str) -> str:
    """A word of a column, for a person who is to read it where there is no label."""
    return name.replace("_", " ")


@cache
def reason_words() -> dict[str, str]:
    """Short enough for a badge. `reason_advice` says what each one means."""
    return Known({NEVER: NEVER_LABEL, **{reason: reason.record.badge for reason in Reason}}, in_words)


@cache
def reason_variants() -> dict[str, str]:
    return Known({NEVER: "info", **{reason: reason.record.colour for reason in Reason}}, lambda _: "warning")


def reason_advice() -> dict[str, Advice]:
    """The advice is another where tokens are renewed."""
    return _reason_advice(renews_tokens())


@cache
def _reason_advice(renews: bool) -> dict[str, Advice]:
    never = Advice(
        "No run has asked Bytemark for this order yet.",
        "Nothing: the next daily run takes it. To have it now, resync the rider.",
    )
    records = {reason: reason.record for reason in Reason}
    known = {reason.value: Advice(each.meaning, each.todo_where(renews=renews)) for reason, each in records.items()}
    return Known({NEVER: never, **known}, lambda _: OF_NEWER)


def badge(text: str, variant: str, href: str = "") -> SafeString:
    """django-unfold's label."""
    return SafeString(
        render_to_string("unfold/helpers/label.html", {"text": text, "variant": variant, "href": href}).strip()
    )


def reason_badge(reason: str) -> SafeString:
    return badge(reason_words()[reason], reason_variants()[reason])


def status_badge(run: SyncRun) -> SafeString:
    if run.stop_requested and run.status in ALIVE:
        return badge("stopping", "warning")
    return badge(run.get_status_display(), STATUS_VARIANTS[run.status])


def link(url: str, text: object) -> SafeString:
    return format_html('<a href="{}" class="text-link whitespace-nowrap">{}</a>', url, text)


def short(text: str, most: int = 13) -> SafeString | str:
    """The beginning of a long uuid, with the whole uuid as its title."""
    return text if len(text) <= most + 3 else format_html('<span title="{}">{}…</span>', text, text[:most])


def page_of(model: str, key: object, text: object) -> SafeString:
    """A link to the page of one row."""
    return link(reverse(f"admin:bytemark_sync_{model}_change", args=[key]), text)


def rider_link(user_id: int | None) -> SafeString | str:
    if user_id is None:
        return "-"
    return link(f"{reverse('admin:bytemark_sync_portaluser_changelist')}?q={user_id}", user_id)


def run_link(run_id: int | None, kind: str = "run") -> SafeString | str:
    """A link to a run. `kind` is "audit" for an audit, as in `str(run)`."""
    return page_of("syncrun", run_id, f"{kind} {run_id}") if run_id else "-"


def moment(at: datetime | None, empty: SafeString | str = "-") -> SafeString | str:
    """A time. Its title says how far away it is."""
    return _time(at, dated(at), away(at)) if at else empty


def ago(at: datetime) -> SafeString:
    """How far away a time is. Its title says the time itself."""
    return _time(at, away(at), dated(at))


def not_before(at: datetime) -> SafeString:
    """The time before which no scheduled run tries an order, for a list."""
    return format_html("<span>not before {}</span>", moment(at))


def _time(at: datetime, shown: str, title: str) -> SafeString:
    iso = timezone.localtime(at).isoformat(timespec="seconds")
    return format_html('<time datetime="{}" title="{}">{}</time>', iso, title, shown)


def away(at: datetime) -> str:
    """ "3 days ago", "in 2 hours"."""
    now = timezone.now()
    gap = abs(now - at)
    if gap < timedelta(minutes=1):
        return "now"
    text = timesince(min(at, now), max(at, now), depth=1).replace("\xa0", " ")
    return f"in {text}" if at > now else f"{text} ago"


def duration(seconds: float | None) -> str:
    """ "48 s", "3 min 20 s", "2 h 5 min", with spaces that do not break the line."""
    if seconds is None or seconds < 0:
        return "-"
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if whole < 60:
        text = f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    else:
        text = f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def run_seconds(run: SyncRun) -> float | None:
    """Seconds from the start of the run to its end, or until now. None if it has not started."""
    if run.started_at is None:
        return None
    return ((run.finished_at or timezone.now()) - run.started_at).total_seconds()


def run_percent(run: SyncRun) -> int | None:
    """The share of its planned users that a run has worked. None while that is not known."""
    if run.status in (RunStatus.SUCCEEDED, RunStatus.PARTIAL):
        return 100
    if not run.users_planned:
        return None
    return min(100, run.users * 100 // run.users_planned)


def progress(run: SyncRun) -> SafeString | str:
    percent = run_percent(run)
    if percent is None:
        return (many(run.users, "user") if run.users else "planning") if run.status in ALIVE else "-"
    bar: dict[str, Any] = {"value": str(percent), "title": many(run.users, "user"), "description": f"{percent} %"}
    return SafeString(render_to_string("unfold/components/progress.html", bar))


def scope_words(run: SyncRun) -> str:
    """The scope of the run in words."""
    scope: dict[str, Any] = run.scope or {}
    named = _named(scope)
    parts = [run.kind_record.subject(scope, is_named=bool(named))]
    if "order_ids" in scope:
        parts.append(f"{len(scope['order_ids']):,} of them")
    if scope.get("since"):
        parts.append(f"stored since {dated_text(scope['since'])}")
    parts += named
    if scope.get("limit") is not None:
        parts.append(f"at most {many(scope['limit'], 'user')}")
    if named and scope.get("include_deferred"):
        parts.append("including deferred")
    words = "; ".join(filter(None, parts))
    return words[:1].upper() + words[1:]


def _named(scope: dict[str, Any]) -> list[str]:
    """The users, orders and filters of the scope, in words."""
    filters = dict(scope.get("filters", {}))
    parts = [_some(noun, scope[f"{noun}s"]) for noun in ("user", "order") if scope.get(f"{noun}s")]
    if filters.pop("next_after", None):
        parts.append("deferred orders")
    parts += [
        f"first tried {word} {dated_text(filters.pop(name))}"
        for name, word in (("first_after", "after"), ("first_before", "before"))
        if name in filters
    ]
    if reason := filters.pop("reason", None):
        reasons = [reason] if isinstance(reason, str) else reason
        parts.append("reason: " + ", ".join(reason_words().get(each, each) for each in reasons))
    return parts + [f"{name} {value}" for name, value in filters.items()]


def _some(noun: str, values: list[Any]) -> str:
    shown = ", ".join(str(value) for value in values[:5])
    more = f" and {len(values) - 5:,} more" if len(values) > 5 else ""
    return f"{noun}{'s' if len(values) > 1 else ''} {shown}{more}"
