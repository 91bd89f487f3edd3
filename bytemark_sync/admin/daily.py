"""When the daily run is due: the one thing about schedules that a manager may set."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.formats import date_format
from django.views.decorators.http import require_http_methods
from django_q.models import validate_cron
from unfold.widgets import UnfoldAdminTextInputWidget

from bytemark_sync.admin.words import moment
from bytemark_sync.schedules import daily_schedule, set_daily_cron


class DailyForm(forms.Form):
    cron = forms.CharField(
        label="Cron expression",
        max_length=100,
        widget=UnfoldAdminTextInputWidget,
        help_text="Minute, hour, day of the month, month, day of the week: 0 3 * * * is every day at 03:00.",
    )

    def clean_cron(self) -> str:
        cron = str(self.cleaned_data["cron"]).strip()
        if len(cron.split()) != 5:
            raise ValidationError("Five fields are needed: minute, hour, day of the month, month, day of the week.")
        try:
            validate_cron(cron)
        except ValidationError:
            raise ValidationError("This is no cron expression.") from None
        return cron


@require_http_methods(["GET", "POST"])
def daily_view(request: HttpRequest) -> HttpResponse:
    """Shows when the daily run is due; POST sets it."""
    if not request.user.has_perm("bytemark_sync.schedule"):
        raise PermissionDenied
    schedule = daily_schedule()
    form = DailyForm(request.POST or None, initial={"cron": schedule.cron if schedule else ""})
    if request.method == "POST" and form.is_valid():
        return _set(request, form.cleaned_data["cron"])
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": "Daily run",
        "form": form,
        "schedule": schedule,
        "next_run": moment(schedule.next_run) if schedule else None,
        "zone": timezone.get_current_timezone_name(),
    }
    return TemplateResponse(request, "bytemark_sync/daily.html", context)


def _set(request: HttpRequest, cron: str) -> HttpResponse:
    due = set_daily_cron(cron)
    if due is None:
        messages.error(request, "The schedule was deleted. A superuser can add it again under Schedules.")
    else:
        messages.success(request, f"The daily run is due next on {date_format(timezone.localtime(due), 'j M Y, H:i')}.")
    return redirect("admin:bytemark_sync_syncrun_daily")
