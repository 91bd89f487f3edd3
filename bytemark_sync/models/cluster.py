"""Heartbeats of the clusters, and rows to lock. All machines on the database share both."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class ClusterBeat(models.Model):
    """A running cluster. Its workers renew the row, so every machine sees that the queue is worked."""

    name = models.CharField(max_length=191, primary_key=True, help_text="Host and process of the cluster.")
    workers = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(default=timezone.now)
    heartbeat_at = models.DateTimeField(default=timezone.now, db_index=True)

    class Meta:
        db_table = "bytemark_sync_cluster"

    def __str__(self) -> str:
        return self.name


class NamedLock(models.Model):
    """A row that a process locks to be the only one to go on. `at` is when the last turn was taken."""

    name = models.CharField(max_length=64, primary_key=True)
    at = models.DateTimeField(default=timezone.now)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "bytemark_sync_latch"

    def __str__(self) -> str:
        return self.name
