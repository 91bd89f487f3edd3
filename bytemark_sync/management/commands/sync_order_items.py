"""`manage.py sync_order_items`: parse, call, print (CONTRACT: manage.py sync_order_items)."""

from __future__ import annotations

import getpass
import json
import logging
import signal
import sys
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError, SystemCheckError
from django.db import DatabaseError, InterfaceError

from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.config import bytemark_settings
from bytemark_sync.database import DatabaseGone, ValueRefused, explain
from bytemark_sync.direct import RunReport, sync_here
from bytemark_sync.models import RunStatus
from bytemark_sync.scope import Scope
from bytemark_sync.summary import json_line, summary_lines

LOG_LEVELS = {0: logging.ERROR, 1: logging.INFO, 2: logging.INFO, 3: logging.DEBUG}


class Command(BaseCommand):
    help = "Fetch the items of pending free orders from Bytemark and store them, one row a pass."

    def add_arguments(self, parser: ArgumentParser) -> None:
        add = parser.add_argument
        add("--user", type=int, action="append", default=[], metavar="ID", help="only this user; may be repeated")
        add("--order", type=_uuid, action="append", default=[], metavar="UUID", help="only this order; repeatable")
        add("--limit", type=_at_least_one, metavar="N", help="at most N users")
        add("--workers", type=_workers, metavar="N", help="users fetched side by side (BYTEMARK_WORKERS)")
        add("--include-deferred", action="store_true", help="also orders whose next try is still to come")
        add("--dry-run", action="store_true", help="fetch and match, report, write nothing")
        add("--enqueue", action="store_true", help="hand the work to the django-q2 cluster")
        add("--json", action="store_true", help="the last line on standard output is one JSON object")

    def check(self, *args: Any, **options: Any) -> None:
        """Settings that cannot be used end the command with status 2, before any request."""
        _client_settings()
        try:
            super().check(*args, **options)
        except SystemCheckError as error:
            error.returncode = 2
            raise

    def handle(self, *args: Any, **options: Any) -> None:
        _validate(options)
        logging.getLogger("bytemark_sync").setLevel(LOG_LEVELS[options["verbosity"]])
        if options["enqueue"] and options["dry_run"]:
            raise CommandError("--enqueue and --dry-run exclude each other.", returncode=2)
        scope = Scope(
            users=tuple(dict.fromkeys(options["user"])),
            orders=tuple(dict.fromkeys(options["order"])),
            limit=options["limit"],
            include_deferred=options["include_deferred"],
        )
        client_settings = _client_settings()
        try:
            if options["enqueue"]:
                self._enqueue(scope, options)
            else:
                self._sync(scope, client_settings, options)
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(explain(error), returncode=1) from None
        except (DatabaseGone, ValueRefused) as error:
            raise CommandError(str(error), returncode=1) from None

    def _enqueue(self, scope: Scope, options: dict[str, Any]) -> None:
        from bytemark_sync.models import Trigger
        from bytemark_sync.tasks import request_run

        request = request_run(
            trigger=Trigger.COMMAND,
            requested_by=_who(),
            users=scope.users,
            orders=scope.orders,
            limit=scope.limit,
            include_deferred=scope.include_deferred,
        )
        if request.users_under_way:
            users = ", ".join(str(user_id) for user_id in request.users_under_way[:10])
            self.stderr.write(f"Under way already, not queued again: user {users}")
        run_id = request.run.pk if request.run else None
        if options["json"]:
            self.stdout.write(json.dumps({"run_id": run_id, "status": "queued" if run_id else "skipped"}))
        elif run_id:
            self.stdout.write(f"Run {run_id} is queued. Follow it in the admin, or with manage.py sync_status.")

    def _sync(self, scope: Scope, client_settings: BytemarkSettings, options: dict[str, Any]) -> None:
        stop = threading.Event()
        with _stopping_on_signals(stop) as caught, _progress_bar(options) as progress:
            report = sync_here(
                scope,
                client_settings=client_settings,
                workers=options["workers"] or settings.BYTEMARK_WORKERS,
                stop=stop,
                dry_run=options["dry_run"],
                requested_by=_who(),
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
            raise CommandError(f"{report.totals.counts.users_failed} users failed; see the reasons above", returncode=1)

    def _print(self, report: RunReport, options: dict[str, Any]) -> None:
        """With --json the summary goes to standard error, so that standard output is the object alone."""
        for name in report.nothing_pending:
            self.stderr.write(f"{name}: nothing pending", self.style.NOTICE)
        if options["verbosity"] > 0:
            out = self.stderr if options["json"] else self.stdout
            for line in summary_lines(report, dry_run=options["dry_run"]):
                out.write(line, str)
        if options["json"]:
            self.stdout.write(json_line(report))


def _at_least_one(text: str) -> int:
    return _between(text, 1, 2**31)


def _workers(text: str) -> int:
    return _between(text, 1, 512)


def _between(text: str, lowest: int, highest: int) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ArgumentTypeError(f"{text!r} is not a whole number") from None
    if not lowest <= value <= highest:
        raise ArgumentTypeError(f"{value} is out of range; use {lowest} to {highest}")
    return value


def _uuid(text: str) -> str:
    if not text.strip():
        raise ArgumentTypeError("an order's uuid must not be empty")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ArgumentTypeError("an order's uuid must be readable text (UTF-8)") from None
    return text.strip()


def _validate(options: dict[str, Any]) -> None:
    """Through `call_command` values come past the parser: one alone instead of a list, or out of range."""
    readers: dict[str, Callable[[str], Any]] = {
        "user": int,
        "order": _uuid,
        "limit": _at_least_one,
        "workers": _workers,
    }
    for name, read in readers.items():
        value = options[name]
        try:
            if name in ("user", "order"):
                several = value if isinstance(value, list | tuple | set) else [] if value is None else [value]
                options[name] = [read(str(each)) for each in several]
            elif value is not None:
                options[name] = read(str(value))
        except (ArgumentTypeError, ValueError) as error:
            raise CommandError(f"--{name}: {error}", returncode=2) from None


def _client_settings() -> BytemarkSettings:
    try:
        return bytemark_settings()
    except ImproperlyConfigured as error:
        raise CommandError(str(error), returncode=2) from None


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


@contextmanager
def _stopping_on_signals(stop: threading.Event) -> Iterator[list[int]]:
    """SIGINT and SIGTERM ask the run to stop; a second one ends the process at once. Yields the signals caught."""
    caught: list[int] = []

    def ask(signum: int, frame: FrameType | None) -> None:
        caught.append(signum)
        stop.set()
        signal.signal(signum, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield caught
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _progress_bar(options: dict[str, Any]) -> Iterator[Callable[..., None] | None]:
    """A bar on standard error, only where that is a terminal."""
    if not options["verbosity"] or not sys.stderr.isatty():
        yield None
        return
    from bytemark_sync.progress import progress_bar

    with progress_bar(limit=options["limit"], narrowed=bool(options["user"] or options["order"])) as update:
        yield update
