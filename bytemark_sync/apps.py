from typing import Any

from django.apps import AppConfig


class BytemarkSyncConfig(AppConfig):
    name = "bytemark_sync"
    verbose_name = "Bytemark order items"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.db.backends.signals import connection_created
        from django.db.models.signals import post_migrate, pre_delete, pre_save
        from django_q.models import Schedule
        from django_q.signals import post_spawn

        from bytemark_sync.checks import foreign_tables, observability, portal, queue_settings  # noqa: F401 - they register themselves
        from bytemark_sync.management import staff_groups
        from bytemark_sync.monitoring import telemetry
        from bytemark_sync.queue import due_runs, schedules

        connection_created.connect(foreign_tables.refuse_foreign_tables)
        post_migrate.connect(schedules.create_schedules, sender=self)
        post_migrate.connect(staff_groups.create_groups, sender=self)
        pre_save.connect(due_runs.before_change, sender=Schedule)
        pre_delete.connect(due_runs.before_delete, sender=Schedule)
        post_spawn.connect(_start_heartbeat)
        post_spawn.connect(telemetry.in_worker)
        telemetry.start()


def _start_heartbeat(**_signal: Any) -> None:
    """django-q2's `post_spawn`. Passes the check for silence to the queue, which may not import `monitoring`."""
    from bytemark_sync.monitoring import silence
    from bytemark_sync.queue import heartbeat

    heartbeat.start(silence.check)
