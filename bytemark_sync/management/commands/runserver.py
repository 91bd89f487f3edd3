"""`manage.py runserver`: Django's own. It connects in a thread, so foreign tables are refused before it starts."""

from __future__ import annotations

from typing import Any

from django.contrib.staticfiles.management.commands.runserver import Command as DjangoCommand

from bytemark_sync.checks.foreign_tables import look_before_forking


class Command(DjangoCommand):
    def handle(self, *args: Any, **options: Any) -> None:
        look_before_forking()
        super().handle(*args, **options)
