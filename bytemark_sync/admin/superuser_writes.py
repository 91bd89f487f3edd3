"""For screens over tables that can be written: only superusers write."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


class SuperuserWrites:
    """Staff with the permission may view. Everything else is for superusers."""

    adds = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.adds and bool(request.user.is_superuser)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(request.user.is_superuser)

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        return super().get_actions(request) if request.user.is_superuser else {}  # type: ignore[misc]
