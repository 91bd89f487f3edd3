"""What monitors look at, written into the tables: runs that ended, the installation, a cluster's sign of life."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.test import Client
from django.utils import timezone

from bytemark_sync.models import ClusterBeat, NamedLock, RunStatus, SyncRun, Trigger


def monitor(settings: Any) -> Client:
    """A client that may know all of `/healthz`."""
    settings.METRICS_TOKEN = "sekret"
    return Client(headers={"Authorization": "Bearer sekret"})


def run_ended(ago: timedelta, status: str = RunStatus.SUCCEEDED, **fields: Any) -> SyncRun:
    at = timezone.now() - ago
    fields = {"trigger": Trigger.SCHEDULE, "started_at": at - timedelta(minutes=5), "finished_at": at} | fields
    return SyncRun.objects.create(status=status, **fields)


def installed(ago: timedelta) -> int:
    return NamedLock.objects.update(created_at=timezone.now() - ago)


def cluster_seen(ago: timedelta) -> ClusterBeat:
    return ClusterBeat.objects.create(name="host:1", workers=4, heartbeat_at=timezone.now() - ago)


def all_well() -> SyncRun:
    cluster_seen(timedelta(seconds=5))
    return run_ended(timedelta(hours=2))
