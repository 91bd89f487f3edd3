"""`manage.py sync_order_items`: parse, call, print (docs/contract.md#managepy-sync_order_items)."""

from __future__ import annotations

import sys
import threading
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError

from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.domain.counters import many
from bytemark_sync.domain.run_scope import Scope
from bytemark_sync.log_fields import bind, log_fields
from bytemark_sync.management.base import (
    RUN_READERS,
    JobCommand,
    add_run_options,
    at_least_one,
    checked_database,
    checked_settings,
    read_options,
    stopping_on_signals,
    who,
)
from bytemark_sync.management.output import json_line, queued_line, summary_lines
from bytemark_sync.models import RunStatus
from bytemark_sync.runs.in_process import RunReport, work_here
from bytemark_sync.runs.strategy import SyncStrategy
from bytemark_sync.storage.database_retry import DatabaseGone, RowRefused, explain, retrying

READERS: dict[str, Callable[[str], Any]] = {**RUN_READERS, "limit": at_least_one}


class Command(JobCommand):
    help = "Fetch the items of pending free orders from Bytemark and store them, one row a pass."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_run_options(parser)
        add = parser.add_argument
        add("--limit", type=at_least_one, metavar="N", help="at most N users")
        add("--include-deferred", action="store_true", help="also orders whose next try is still to come")
        add("--dry-run", action="store_true", help="fetch and match, report, write nothing")

    def work(self, options: dict[str, Any]) -> None:
        read_options(options, READERS)
        if options["enqueue"] and options["dry_run"]:
            raise CommandError("--enqueue and --dry-run exclude each other.", returncode=2)
        scope = Scope(
            users=tuple(dict.fromkeys(options["user"])),
            orders=tuple(dict.fromkeys(options["order"])),
            limit=options["limit"],
            include_deferred=options["include_deferred"],
        )
        client_settings = checked_settings()
        try:
            checked_database()
            if options["enqueue"]:
                self._enqueue(scope, options)
            else:
                self._sync(scope, client_settings, options)
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(explain(error), returncode=1) from None
        except (DatabaseGone, RowRefused) as error:
            raise CommandError(str(error), returncode=1) from None

    def _enqueue(self, scope: Scope, options: dict[str, Any]) -> None:
        from bytemark_sync.models import Trigger
        from bytemark_sync.queue import broker
        from bytemark_sync.queue.requests import request_run

        self._say_nothing_pending(SyncStrategy(scope).nothing_to_work())
        request = retrying(
            lambda: request_run(
                trigger=Trigger.COMMAND,
                requested_by=who(),
                users=scope.users,
                orders=scope.orders,
                limit=scope.limit,
                include_deferred=scope.include_deferred,
            )
        )
        run_id = request.run.pk if request.run else None
        bind(run=run_id)
        if request.waits_for_broker:
            self.stderr.write(f"{broker.AWAY}: the run waits for it.")
        if options["json"]:
            self.stdout.write(queued_line(run_id))
        elif run_id:
            self.stdout.write(f"Run {run_id} is queued. Follow it in the admin, or with manage.py sync_status.")

    def _sync(self, scope: Scope, client_settings: BytemarkSettings, options: dict[str, Any]) -> None:
        stop = threading.Event()
        with stopping_on_signals(stop) as caught, _progress_bar(options) as progress:
            report = work_here(
                SyncStrategy(scope),
                client_settings=client_settings,
                workers=options["workers"] or settings.BYTEMARK_WORKERS,
                stop=stop,
                dry_run=options["dry_run"],
                requested_by=who(),
                progress=progress,
            )
        self._print(report, options)
        if caught and report.status == RunStatus.INTERRUPTED:
            raise CommandError("interrupted; what was fetched is stored", returncode=128 + caught[0])
        if report.status == RunStatus.INTERRUPTED:
            raise CommandError("stopped in the admin; what was fetched is stored", returncode=1)
        if report.error:
            raise CommandError(f"the run could not go on: {report.error}", returncode=1)
        if report.totals.counts.users_failed:
            failed = many(report.totals.counts.users_failed, "user")
            raise CommandError(f"{failed} failed; see the reasons above", returncode=1)

    def _say_nothing_pending(self, names: list[str]) -> None:
        for name in names:
            kind, _, key = name.partition(" ")
            with log_fields(**({"user": int(key)} if kind == "user" else {"order_uuid": key})):
                self.stderr.write(f"{name}: nothing pending", self.style.NOTICE)

    def _print(self, report: RunReport, options: dict[str, Any]) -> None:
        """With --json the summary goes to standard error, so that standard output holds only the object."""
        self._say_nothing_pending(report.nothing_to_work)
        if options["verbosity"] > 0:
            out = self.stderr if options["json"] else self.stdout
            for line in summary_lines(report, dry_run=options["dry_run"]):
                out.write(line, str)
        if options["json"]:
            self.stdout.write(json_line(report))


@contextmanager
def _progress_bar(options: dict[str, Any]) -> Iterator[Callable[..., None] | None]:
    """A progress bar, if standard error is a terminal."""
    if not options["verbosity"] or not sys.stderr.isatty():
        yield None
        return
    from bytemark_sync.management.progress import progress_bar

    with progress_bar(limit=options["limit"], narrowed=bool(options["user"] or options["order"])) as update:
        yield update
