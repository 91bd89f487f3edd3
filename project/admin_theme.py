"""How the admin looks: django-unfold's settings, and the sidebar with the permission for each entry.

`COLORS` is not among them: the library would write it into every page as an inline style, which the
Content-Security-Policy refuses. The same variables stand in `bytemark_sync/admin.css`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse_lazy


def _allowed(permission: str) -> Callable[[HttpRequest], bool]:
    return lambda request: request.user.has_perm(permission)


def _is_runs(request: HttpRequest) -> bool:
    """Whether the page is one of the runs' pages. Two pages below them have entries of their own."""
    runs = str(reverse_lazy("admin:bytemark_sync_syncrun_changelist"))
    return request.path.startswith(runs) and request.path not in (f"{runs}daily/", f"{runs}limit/")


def _item(title: str, icon: str, url: str, permission: str) -> dict[str, Any]:
    return {
        "title": title,
        "icon": icon,
        "link": reverse_lazy(f"admin:{url}"),
        "permission": _allowed(permission),
    }


def unfold(title: str, stage: str) -> dict[str, Any]:
    """django-unfold's `UNFOLD` setting; `title` and `stage` tell one installation from another."""
    return {
        "SITE_TITLE": f"{title} · Bytemark sync",
        "SITE_HEADER": "Bytemark sync",
        "SITE_SUBHEADER": f"{title}, {stage}",
        "SITE_SYMBOL": "confirmation_number",
        "SITE_URL": None,
        "SHOW_HISTORY": False,
        "SHOW_VIEW_ON_SITE": False,
        "SHOW_BACK_BUTTON": True,
        "SITE_FAVICONS": [
            {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("bytemark_sync/icon.svg")}
        ],
        "STYLES": [lambda request: static("bytemark_sync/admin.css")],
        "SCRIPTS": [
            lambda request: static("bytemark_sync/admin.js"),
            lambda request: static("bytemark_sync/keyboard.js"),
            lambda request: static("bytemark_sync/back.js"),
        ],
        "GLOBAL_CALLBACK": "bytemark_sync.admin.site.every_page",
        "DASHBOARD_CALLBACK": "bytemark_sync.admin.dashboard.dashboard",
        "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": _navigation()},
    }


def _navigation() -> list[dict[str, Any]]:
    return [
        {
            "items": [
                {"title": "Dashboard", "icon": "dashboard", "link": reverse_lazy("admin:index")},
                _item(
                    "Pending orders",
                    "hourglass_top",
                    "bytemark_sync_pendingorder_changelist",
                    "bytemark_sync.view_pendingorder",
                ),
                _item("Riders", "group", "bytemark_sync_portaluser_changelist", "bytemark_sync.view_portaluser"),
                _item("Runs", "sync", "bytemark_sync_syncrun_changelist", "bytemark_sync.view_syncrun")
                | {"active": _is_runs},
                _item("Bytemark's limit", "speed", "bytemark_sync_syncrun_limit", "bytemark_sync.view_syncrun"),
            ]
        },
        {
            "title": "Records",
            "separator": True,
            "items": [
                _item("Orders", "receipt_long", "bytemark_sync_order_changelist", "bytemark_sync.view_order"),
                _item(
                    "Items", "confirmation_number", "bytemark_sync_orderitem_changelist", "bytemark_sync.view_orderitem"
                ),
                _item(
                    "Audit findings",
                    "rule",
                    "bytemark_sync_auditfinding_changelist",
                    "bytemark_sync.view_auditfinding",
                ),
                _item(
                    "Attempts", "history", "bytemark_sync_orderattempt_changelist", "bytemark_sync.view_orderattempt"
                ),
            ],
        },
        {
            "title": "Queue",
            "separator": True,
            "items": [
                _item("Daily run", "schedule", "bytemark_sync_syncrun_daily", "bytemark_sync.schedule"),
                _item("Schedules", "calendar_month", "django_q_schedule_changelist", "django_q.view_schedule"),
                _item("Failed tasks", "error", "django_q_failure_changelist", "django_q.view_failure"),
                _item("Finished tasks", "task_alt", "django_q_success_changelist", "django_q.view_success"),
            ],
        },
        {
            "title": "Access",
            "separator": True,
            "items": [
                _item("Staff", "badge", "auth_user_changelist", "auth.view_user"),
                _item("Groups", "shield_person", "auth_group_changelist", "auth.view_group"),
                _item("Login attempts", "lock", "axes_accessattempt_changelist", "axes.view_accessattempt"),
            ],
        },
    ]
