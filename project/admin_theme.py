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


def _section(title: str, *items: dict[str, Any]) -> dict[str, Any]:
    return {"title": title, "separator": True, "items": list(items)}


def _list(title: str, icon: str, model: str) -> dict[str, Any]:
    """The entry of a list, for those who may view its rows."""
    app, name = model.split(".")
    return _item(title, icon, f"{app}_{name}_changelist", f"{app}.view_{name}")


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
    dashboard = {"title": "Dashboard", "icon": "dashboard", "link": reverse_lazy("admin:index")}
    return [
        {
            "items": [
                dashboard,
                _list("Pending orders", "hourglass_top", "bytemark_sync.pendingorder"),
                _list("Riders", "group", "bytemark_sync.portaluser"),
                _list("Runs", "sync", "bytemark_sync.syncrun") | {"active": _is_runs},
                _item("Bytemark's limit", "speed", "bytemark_sync_syncrun_limit", "bytemark_sync.view_syncrun"),
            ]
        },
        _section(
            "Records",
            _list("Orders", "receipt_long", "bytemark_sync.order"),
            _list("Items", "confirmation_number", "bytemark_sync.orderitem"),
            _list("Audit findings", "rule", "bytemark_sync.auditfinding"),
            _list("Attempts", "history", "bytemark_sync.orderattempt"),
        ),
        _section(
            "Queue",
            _item("Daily run", "schedule", "bytemark_sync_syncrun_daily", "bytemark_sync.schedule"),
            _list("Schedules", "calendar_month", "django_q.schedule"),
            _list("Failed tasks", "error", "django_q.failure"),
            _list("Finished tasks", "task_alt", "django_q.success"),
        ),
        _section(
            "Access",
            _list("Staff", "badge", "auth.user"),
            _list("Groups", "shield_person", "auth.group"),
            _list("Login attempts", "lock", "axes.accessattempt"),
        ),
    ]
