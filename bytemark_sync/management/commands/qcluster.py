"""`manage.py qcluster`: django-q2's own command, with a cluster that outlives its processes."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import CommandError
from django_q.management.commands.qcluster import Command as DjangoQCommand

from bytemark_sync.checks.foreign_tables import look_before_forking
from bytemark_sync.checks.migrated import refuse_old_tables
from bytemark_sync.queue import broker, supervisor


class Command(DjangoQCommand):  # type: ignore[misc]
    def handle(self, *args: Any, **options: Any) -> None:
        look_before_forking()
        refuse_old_tables()
        if broker.is_away():
            words = f"{broker.AWAY}. The cluster was not started; look at REDIS_URL and at Redis."
            raise CommandError(words, returncode=1)
        if options["run_once"]:
            super().handle(*args, **options)
            return
        if options["cluster_name"]:
            os.environ["Q_CLUSTER_NAME"] = options["cluster_name"]
        supervisor.run()
