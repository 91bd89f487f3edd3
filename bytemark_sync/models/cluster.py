"""Signs of life of the clusters, and rows to lock: both shared by every machine on the database."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class ClusterBeat(models.Model):
    """A running cluster. Its workers renew the row, so it tells on every machine that someone works the queue."""

    name = models.CharField(max_length=191, primary_key=True, help_text="Host and process of the cluster.")
    workers = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(default=timezone.now)
    heartbeat_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        db_table = "bytemark_sync_cluster"

    def __str__(self) -> str:
        return self.name


class Latch(models.Model):
    """A named row: locked, it lets one at a time through; `at` is when someone last took its turn."""

    name = models.CharField(max_length=64, primary_key=True)
    at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "bytemark_sync_latch"

    def __str__(self) -> str:
        return self.name
