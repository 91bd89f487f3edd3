"""The page that sets when the daily run is due. Managers may change nothing else about schedules.

Each change must be confirmed.
"""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_http_methods
from django_q.models import Schedule
from unfold.widgets import UnfoldAdminTextInputWidget

from bytemark_sync.admin.labels import away, moment
from bytemark_sync.domain import cron as crons
from bytemark_sync.queue.schedules import SYNC, daily_schedule, set_daily_cron
from bytemark_sync.tasks import scheduled_run
from bytemark_sync.times import dated

FAR, NEAR = timedelta(hours=36), timedelta(hours=1)
LAST_CHANGES = 10
EVERY_DAY = re.compile(r"(\d{1,2}) (\d{1,2}) \* \* \*")


class TimeInput(UnfoldAdminTextInputWidget):  # type: ignore[misc]
    input_type = "time"


class DailyForm(forms.Form):
    """A time of day, or a cron expression for anything else. A valid form has `expression` and `due`."""

    time = forms.TimeField(label="Time of day", required=False, input_formats=["%H:%M"], widget=TimeInput())
    cron = forms.CharField(
        label="Cron expression",
        required=False,
        max_length=crons.MAX_LENGTH,
        widget=UnfoldAdminTextInputWidget,
        help_text="For anything but once a day. Minute, hour, day of the month, month, day of the week: "
        "0 3 * * * is every day at 03:00, 0 3 * * 1-5 on weekdays only. Leave it empty to use the time above.",
    )

    expression: str
    due: datetime

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.errors:
            return cleaned
        at: time | None = cleaned.get("time")
        daily = f"{at.minute} {at.hour} * * *" if at else ""
        self.expression = " ".join(cleaned["cron"].split()) or daily
        if not self.expression:
            self.add_error("time", "Enter a time of day, or a cron expression under Advanced.")
        elif daily and self.expression != daily:
            self.add_error("cron", "Enter either a time of day or a cron expression, not both.")
        else:
            try:
                self.due = crons.next_due(self.expression, timezone.localtime())
            except ValueError as error:
                self.add_error("cron", str(error))
        return cleaned


@require_http_methods(["GET", "POST"])
def daily_view(request: HttpRequest) -> HttpResponse:
    """Show when the daily run is due. A POST asks to confirm the change. A POST with `confirmed` makes it."""
    if not request.user.has_perm("bytemark_sync.schedule"):
        raise PermissionDenied
    schedule = daily_schedule()
    form = DailyForm(request.POST or None, initial=_initial(schedule))
    asks = request.method == "POST" and form.is_valid()
    if asks and schedule and plan_words(schedule) == _words(form.expression):
        messages.info(request, "Nothing was changed: the daily run is set to this already.")
        return redirect("admin:bytemark_sync_syncrun_daily")
    if asks and "confirmed" in request.POST:
        return _set(request, schedule, form.expression)
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Daily run",
        "form": form,
        "schedule": schedule,
        "now": plan_words(schedule) if schedule else "",
        "next_run": dated(schedule.next_run) if schedule and schedule.repeats != 0 else "",
        "zone": timezone.get_current_timezone_name(),
        "is_advanced": bool(form["cron"].value() or form["cron"].errors),
        "changes": _changes(),
    }
    if asks:
        wanted = _words(form.expression)
        context |= {"wanted": wanted, "due": f"{dated(form.due)}, {away(form.due)}", "caution": caution(form.due)}
    return TemplateResponse(request, "bytemark_sync/daily.html", context)


def caution(due: datetime) -> str:
    """What is unusual about a next run at `due`. Empty if nothing is."""
    gap = due - timezone.now()
    if gap > FAR:
        return f"The next run is due {away(due)}, more than 36 hours from now."
    if gap < NEAR:
        return f"The next run is due {away(due)}, less than an hour from now."
    return ""


def plan_words(schedule: Schedule) -> str:
    """The schedule in words: "every day at 03:00", "cron 0 3 * * 1-5", or the type of any other schedule."""
    if schedule.repeats == 0:
        return "paused, because its repeats are 0"
    if schedule.schedule_type != Schedule.CRON:
        return str(schedule.get_schedule_type_display()).lower()
    return _words(schedule.cron or "")


def _words(expression: str) -> str:
    found = EVERY_DAY.fullmatch(expression)
    return f"every day at {int(found[2]):02}:{int(found[1]):02}" if found else f"cron {expression}"


def _initial(schedule: Schedule | None) -> dict[str, str]:
    if schedule is None or schedule.schedule_type != Schedule.CRON or not schedule.cron:
        return {}
    found = EVERY_DAY.fullmatch(schedule.cron)
    return {"time": f"{int(found[2]):02}:{int(found[1]):02}"} if found else {"cron": schedule.cron}


def _changes() -> dict[str, Any]:
    """The table of changes to the daily run, made on this page or in the list of schedules."""
    kind = ContentType.objects.get_for_model(Schedule)
    rows = LogEntry.objects.filter(content_type=kind, object_repr=SYNC).select_related("user").order_by("-pk")
    return {
        "headers": ["Changed at", "Changed by", "Change"],
        "rows": [
            [
                moment(row.action_time),
                row.user.get_username(),
                row.get_change_message() or row.get_action_flag_display(),
            ]
            for row in rows[:LAST_CHANGES]
        ],
    }


def start_overdue(request: HttpRequest) -> None:
    """Before a change, queue the run that is overdue under the old schedule, if there is one, and say so."""
    became = scheduled_run()
    if became.startswith(("run", "skipped")):
        messages.info(request, f"A run was overdue before this change: {became}.")


def _set(request: HttpRequest, schedule: Schedule | None, expression: str) -> HttpResponse:
    with transaction.atomic():
        start_overdue(request)
        due = set_daily_cron(expression)
    if due is None or schedule is None:
        messages.error(request, "The schedule was deleted. A superuser can add it again under Schedules.")
    else:
        change = f"From {plan_words(schedule)} to {_words(expression)}."
        LogEntry.objects.log_actions(int(request.user.pk or 0), [schedule], CHANGE, change, single_object=True)
        messages.success(request, f"The daily run is due next on {dated(due)}.")
    return redirect("admin:bytemark_sync_syncrun_daily")
