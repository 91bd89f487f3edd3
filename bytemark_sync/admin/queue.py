"""django-q2's own pages in the same look.

Whoever may write a schedule or a task may run any callable of this process, so that is for superusers; others, with the
permission to view, look on.
"""

from __future__ import annotations

from django.contrib import admin
from django_q import admin as q
from django_q.models import Failure, OrmQ, Schedule, Success
from unfold.admin import ModelAdmin

from bytemark_sync.admin.base import SuperuserWrites


class ScheduleAdmin(SuperuserWrites, ModelAdmin, q.ScheduleAdmin):  # type: ignore[misc]
    adds = True
    list_filter = ()


class SuccessAdmin(SuperuserWrites, ModelAdmin, q.TaskAdmin):  # type: ignore[misc]
    when_empty = "No task has finished yet."
    list_filter = ()
    show_full_result_count = False


class FailureAdmin(SuperuserWrites, ModelAdmin, q.FailAdmin):  # type: ignore[misc]
    when_empty = "No task has failed."
    list_filter = ()
    show_full_result_count = False


class QueueAdmin(SuperuserWrites, ModelAdmin, q.QueueAdmin):  # type: ignore[misc]
    when_empty = "No task is waiting."
    list_filter = ()


for _model, _admin in ((Schedule, ScheduleAdmin), (Success, SuccessAdmin), (Failure, FailureAdmin), (OrmQ, QueueAdmin)):
    if admin.site.is_registered(_model):  # the queue's own table only where the database is the broker
        admin.site.unregister(_model)
        admin.site.register(_model, _admin)
