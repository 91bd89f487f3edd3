"""Three groups for people, made by `migrate`. A group that exists already is not changed.

- viewer: sees everything of the sync and changes nothing;
- operator: may also resync users and stop a run;
- manager: may also set the time of the daily run and look at the queue.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps as project_apps
from django.contrib.auth.management import create_permissions

VIEWER, OPERATOR, MANAGER = "viewer", "operator", "manager"
_PAGES = ("order", "orderitem", "pendingorder", "portaluser", "syncrun", "orderattempt", "auditfinding")
_QUEUE = ("schedule", "success", "failure", "ormq")
_VIEW = [("bytemark_sync", f"view_{name}") for name in _PAGES]
_RESYNC = [("bytemark_sync", "resync")]
_SCHEDULE = [("bytemark_sync", "schedule"), *(("django_q", f"view_{name}") for name in _QUEUE)]
GROUPS: dict[str, list[tuple[str, str]]] = {
    VIEWER: _VIEW,
    OPERATOR: [*_VIEW, *_RESYNC],
    MANAGER: [*_VIEW, *_RESYNC, *_SCHEDULE],
}


def create_groups(using: str = "default", **_signal: Any) -> None:
    """Called after `migrate`. Makes missing groups with their permissions."""
    from django.contrib.auth.models import Group, Permission
    from django.contrib.contenttypes.models import ContentType
    from django.db import connections

    if not {Group._meta.db_table, ContentType._meta.db_table} <= set(connections[using].introspection.table_names()):
        return  # only some apps are migrated so far
    for label in ("bytemark_sync", "django_q"):
        create_permissions(project_apps.get_app_config(label), verbosity=0, using=using)
    for name, wanted in GROUPS.items():
        group, created = Group.objects.using(using).get_or_create(name=name)
        for app_label, codename in wanted if created else ():
            found = Permission.objects.using(using).filter(content_type__app_label=app_label, codename=codename)
            group.permissions.add(*found)
