"""Staff, groups and refused logins, in the look of this admin."""

from __future__ import annotations

from typing import Any

import axes.admin  # noqa: F401 - registers, and must have before this module
from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.auth import admin as auth
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from bytemark_sync.admin.read_only import Screen
from bytemark_sync.admin.superuser_writes import SuperuserWrites

for _model in (User, Group, AccessAttempt, AccessLog, AccessFailureLog):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


# Only superusers may edit these. Otherwise anybody who may edit staff could become a superuser.
RIGHTS = ("is_superuser", "groups", "user_permissions")


@admin.register(User)
class StaffAdmin(auth.UserAdmin, Screen):  # type: ignore[type-arg]
    """Staff with the permission may edit people. Only superusers may edit superusers, rights and others' passwords."""

    thing, things = "staff member", "staff"

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm

    def get_readonly_fields(self, request: HttpRequest, obj: User | None = None) -> Any:
        fields = super().get_readonly_fields(request, obj)
        return fields if request.user.is_superuser else (*fields, *RIGHTS)

    def get_fieldsets(self, request: HttpRequest, obj: User | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)
        if request.user.is_superuser or obj is None:
            return fieldsets
        without = [[name for name in options["fields"] if name != "password"] for _, options in fieldsets]
        return [(title, options | {"fields": kept}) for (title, options), kept in zip(fieldsets, without, strict=True)]

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return bool(super().has_change_permission(request, obj)) and self._may_touch(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        return bool(super().has_delete_permission(request, obj)) and self._may_touch(request, obj)

    def _may_touch(self, request: HttpRequest, obj: User | None) -> bool:
        return bool(request.user.is_superuser) or obj is None or not obj.is_superuser

    def user_change_password(self, request: HttpRequest, id: str, form_url: str = "") -> HttpResponse:
        if not request.user.is_superuser:  # people change their own in the account menu, which asks for the old one
            raise PermissionDenied
        response: HttpResponse = super().user_change_password(request, id, form_url)
        return response


@admin.register(Group)
class GroupAdmin(SuperuserWrites, auth.GroupAdmin, Screen):
    adds = True


@admin.register(AccessAttempt)
class AttemptAdmin(Screen):
    """Refused logins. Deleting a row unlocks the login."""

    thing, things = "login attempt", "login attempts"

    list_display = ("username", "ip_address", "attempt_time", "failures_since_start")
    search_fields = ("username__exact", "ip_address__exact")
    fields = ("username", "ip_address", "user_agent", "attempt_time", "failures_since_start")
    readonly_fields = fields
    when_empty = "Nobody has given a wrong password lately."
    ordering = ("-pk",)

    def title_of(self, row: AccessAttempt) -> str:
        return f"Login attempts of {row.username}"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: AccessAttempt | None = None) -> bool:
        return False
