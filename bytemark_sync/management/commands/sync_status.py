"""`manage.py sync_status`: what `/healthz` says in full, for a person or (`--json`) a monitor."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DatabaseError, InterfaceError
from django.utils.timesince import timesince

from bytemark_sync import __version__
from bytemark_sync.domain.counters import done_of, many
from bytemark_sync.models import SyncRun
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.monitoring import health
from bytemark_sync.monitoring.bytemark_limit import look_at_pace, words_of
from bytemark_sync.slack.messages import name_of
from bytemark_sync.storage.database_retry import explain
from bytemark_sync.times import dated


class Command(BaseCommand):
    help = "Say whether the job is well. Exit status 1 if it is not."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object on standard output")

    def handle(self, *args: Any, **options: Any) -> None:
        now = health.look()
        if options["json"]:
            self.stdout.write(json.dumps({"version": __version__, **now.in_full()}, cls=DjangoJSONEncoder))
        else:
            self._print(now)
        if not now.healthy:
            raise CommandError(" ".join([*now.problems, *_why(now)]), returncode=1)

    def _print(self, now: health.Health) -> None:
        last = f"run {now.last_run}, {now.last_run_status}, {_ago(now.last_run_at)}" if now.last_run else "none yet"
        pending = "unknown" if now.pending_orders is None else many(now.pending_orders, "order")
        if now.oldest_pending_since:
            pending += f", the longest known for {timesince(now.oldest_pending_since)}"
        cluster = f"{'alive' if now.cluster_alive else 'not alive'}, last seen {_ago(now.cluster_seen_at)}"
        lines = {
            "Version": __version__,
            "Database": now.database,
            "Last good run": last,
            "Pending": pending,
            "Broker": now.broker,
            "Cluster": cluster,
            "Next daily run": dated(now.next_scheduled_run) if now.next_scheduled_run else "none",
        }
        for name, value in lines.items():
            self.stdout.write(f"{name:<14} {value}")
        if now.database == "ok":
            self.stdout.write(f"{'Limit':<14} {_limit()}")
            for run in SyncRun.objects.filter(status__in=ALIVE).order_by("pk")[:10]:
                done = done_of(run.users, run.users_planned, "user")
                self.stdout.write(f"{'Under way':<14} {name_of(run)}, {run.status}, {done}")
        if now.healthy:
            self.stdout.write(self.style.SUCCESS("All is well."))


def _why(now: health.Health) -> list[str]:
    """The database's error, for the person at the console. `/healthz` is public and does not show it."""
    if now.database != "ok":
        try:
            SyncRun.objects.exists()
        except (DatabaseError, InterfaceError) as error:
            return [f"In detail: {explain(error)}"]
    return []


def _limit() -> str:
    """The pace of all processes, in the words of the admin's card."""
    pace = look_at_pace()
    return "unknown: Redis, which keeps the pace, cannot be reached" if pace is None else ", ".join(words_of(pace))


def _ago(when: datetime | None) -> str:
    return f"{timesince(when)} ago" if when else "never"
