"""`manage.py migrate`: Django's own, beside clusters that work.

It runs no checks of a separate portal database, where it creates nothing.
"""

from __future__ import annotations

from typing import Any

from django.core.checks import registry
from django.core.management.commands.migrate import Command as DjangoCommand
from django.db import connections

from bytemark_sync.checks.portal import PORTAL_TAG
from bytemark_sync.models.portal import IN_ONE_PLACE
from bytemark_sync.storage.table_changes import repeated_table_changes


class Command(DjangoCommand):
    def check(self, *args: Any, **options: Any) -> None:
        if not IN_ONE_PLACE:
            options["tags"] = sorted(registry.registry.tags_available() - {PORTAL_TAG})
        super().check(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        with repeated_table_changes(connections[options["database"]]):
            super().handle(*args, **options)
