from django.apps import AppConfig


class BytemarkSyncConfig(AppConfig):
    name = "bytemark_sync"
    verbose_name = "Bytemark order items"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from bytemark_sync import checks  # noqa: F401 - registers the system checks
