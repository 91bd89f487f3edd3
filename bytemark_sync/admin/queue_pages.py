"""django-q2's pages in the look of this admin.

Anybody who may write a schedule or a task can run any callable in this process. So only superusers may write them.
Others may look at them if they have the permission to view.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django_q import admin as q
from django_q.models import Failure, OrmQ, Schedule, Success, Task
from unfold.widgets import UnfoldBooleanWidget

from bytemark_sync.admin.daily_run import caution, start_overdue
from bytemark_sync.admin.read_only import Screen
from bytemark_sync.admin.superuser_writes import SuperuserWrites
from bytemark_sync.domain.cron import next_due
from bytemark_sync.queue.schedules import SYNC


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg]
    """django-q2's fields. A cron expression must have a next time, and an unusual next run must be confirmed."""

    confirmed = forms.BooleanField(label="Save this next run", required=False, widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        if self.errors:
            return cleaned
        if self._ends_the_daily_run(cleaned):
            self._ask(cleaned, "This schedule would start no daily run any more.")
            return cleaned
        if not (self._is_moved(cleaned["next_run"]) or self._is_other_plan(cleaned)):
            return cleaned
        if cleaned["schedule_type"] == Schedule.CRON:
            cleaned["cron"] = " ".join((cleaned["cron"] or "").split())
            try:
                due = next_due(cleaned["cron"], timezone.localtime())
            except ValueError as error:
                self.add_error("cron", str(error))
                return cleaned
            if self.instance.pk is None or not self._is_moved(cleaned["next_run"]):
                cleaned["next_run"] = due  # otherwise the next run would still come from the old expression
        if words := caution(cleaned["next_run"]):
            self._ask(cleaned, words)
        return cleaned

    def _ask(self, cleaned: dict[str, Any], words: str) -> None:
        if not cleaned["confirmed"]:
            self.fields["confirmed"].widget = UnfoldBooleanWidget()
            self.add_error("confirmed", f"{words} Tick this box and save again if that is what you want.")

    def _ends_the_daily_run(self, cleaned: dict[str, Any]) -> bool:
        """Whether this schedule starts the daily run now, and would no longer do so."""
        starts = self.instance.pk is not None and self.instance.func == SYNC and self.instance.repeats != 0
        return starts and (cleaned["func"] != SYNC or cleaned["repeats"] == 0)

    def _is_other_plan(self, cleaned: dict[str, Any]) -> bool:
        """Whether the schedule is new, is due at other times, or is no longer paused."""
        goes_on = self.instance.repeats == 0 and cleaned["repeats"] != 0
        changed = {"schedule_type", "minutes", "cron"}.intersection(self.changed_data)
        return self.instance.pk is None or goes_on or bool(changed)

    def _is_moved(self, next_run: datetime) -> bool:
        """Whether a person changed the next run. Microseconds are ignored, because the form drops them."""
        before: datetime | None = self.instance.next_run
        return before is None or next_run.replace(microsecond=0) != before.replace(microsecond=0)


class ScheduleAdmin(SuperuserWrites, Screen, q.ScheduleAdmin):  # type: ignore[misc]
    thing, things = "schedule", "schedules"
    form = ScheduleForm
    list_display = tuple(name for name in q.ScheduleAdmin.list_display if name != "cluster")
    adds = True
    list_filter = ()

    def title_of(self, row: Schedule) -> str:
        return f"Schedule {row.name or row.pk}"

    @admin.display(description="Last run")
    def get_last_run(self, row: Schedule) -> str | None:
        link: str | None = super().get_last_run(row)
        return link

    def save_model(self, request: HttpRequest, obj: Schedule, form: Any, change: bool) -> None:
        if change and form.initial.get("func") == SYNC:
            start_overdue(request)
        super().save_model(request, obj, form, change)


class LeavesPickles(Screen):
    """Lists do not load results: they are unsigned pickles, and reading one can run code. Only a task's page does."""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        tasks: QuerySet[Task] = super().get_queryset(request)
        return tasks.defer("args", "kwargs", "result")


class SuccessAdmin(SuperuserWrites, LeavesPickles, q.TaskAdmin):  # type: ignore[misc]
    thing, things = "finished task", "finished tasks"
    when_empty = "No task has finished yet."
    list_display = tuple(name for name in q.TaskAdmin.list_display if name != "cluster")
    list_filter = ()


class FailureAdmin(SuperuserWrites, LeavesPickles, q.FailAdmin):  # type: ignore[misc]
    when_empty = "No task has failed."
    list_display = tuple(name for name in q.FailAdmin.list_display if name not in ("cluster", "short_result"))
    list_filter = ()


class QueueAdmin(SuperuserWrites, Screen, q.QueueAdmin):  # type: ignore[misc]
    when_empty = "No task is waiting."
    list_filter = ()


for _model, _admin in ((Schedule, ScheduleAdmin), (Success, SuccessAdmin), (Failure, FailureAdmin), (OrmQ, QueueAdmin)):
    if admin.site.is_registered(_model):  # OrmQ is registered only if the database is the broker
        admin.site.unregister(_model)
        admin.site.register(_model, _admin)
