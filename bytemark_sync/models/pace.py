"""The pace that all processes share, where the database is the queue."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class SharedPace(models.Model):
    """One row. Whoever writes it has read the version that it replaces (storage/pace_store.py)."""

    version = models.PositiveBigIntegerField(default=0)
    state = models.JSONField(default=dict, help_text="PaceState of bytemark/pace_state.py.")
    written_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "bytemark_sync_pace"

    def __str__(self) -> str:
        return f"version {self.version}"
