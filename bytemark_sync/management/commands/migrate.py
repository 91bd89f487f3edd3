"""`manage.py migrate`: Django's own. It runs no checks of a separate portal database, where it creates nothing."""

from __future__ import annotations

from typing import Any

from django.core.checks import registry
from django.core.management.commands.migrate import Command as DjangoCommand

from bytemark_sync.checks.portal import PORTAL_TAG
from bytemark_sync.models.portal import IN_ONE_PLACE


class Command(DjangoCommand):
    def check(self, *args: Any, **options: Any) -> None:
        if not IN_ONE_PLACE:
            options["tags"] = sorted(registry.registry.tags_available() - {PORTAL_TAG})
        super().check(*args, **options)
