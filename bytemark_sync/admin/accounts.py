"""Staff, groups and refused logins, in the same look."""

from __future__ import annotations

import axes.admin  # noqa: F401 - registers, and must have before this module
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.auth import admin as auth
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

for _model in (User, Group, AccessAttempt, AccessLog, AccessFailureLog):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


@admin.register(User)
class StaffAdmin(auth.UserAdmin, ModelAdmin):  # type: ignore[misc, type-arg]
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(auth.GroupAdmin, ModelAdmin):  # type: ignore[misc]
    pass


@admin.register(AccessAttempt)
class AttemptAdmin(ModelAdmin):  # type: ignore[misc]
    """Deleting a row opens the login again."""

    list_display = ("username", "ip_address", "attempt_time", "failures_since_start")
    search_fields = ("username__exact", "ip_address__exact")
    fields = ("username", "ip_address", "user_agent", "attempt_time", "failures_since_start")
    readonly_fields = fields
    ordering = ("-pk",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return False
