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

        from bytemark_sync import access, checks, checks_queue, due, own_tables, pulse, schedules  # noqa: F401 - checks register themselves

        connection_created.connect(own_tables.refuse_foreign_tables)
        post_migrate.connect(schedules.create_schedules, sender=self)
        post_migrate.connect(access.create_groups, sender=self)
        pre_save.connect(due.before_change, sender=Schedule)
        pre_delete.connect(due.before_delete, sender=Schedule)
        post_spawn.connect(pulse.start)
