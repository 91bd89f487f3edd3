"""`manage.py audit_order_items`: stored items held against Bytemark's list. Parse, call, print."""

from __future__ import annotations

import json
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime, time
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from bytemark_sync.audit.selection import choose, stored_named_by
from bytemark_sync.audit.strategy import AuditStrategy
from bytemark_sync.domain.comparison import FINDING_LABELS
from bytemark_sync.domain.counters import many
from bytemark_sync.domain.matching import normalise
from bytemark_sync.domain.run_scope import AuditScope
from bytemark_sync.log_fields import bind, log_fields
from bytemark_sync.management.base import (
    RUN_READERS,
    JobCommand,
    add_run_options,
    checked_database,
    checked_settings,
    read_options,
    stopping_on_signals,
    who,
)
from bytemark_sync.models import AuditFinding, RunStatus
from bytemark_sync.runs.in_process import RunReport, work_here
from bytemark_sync.storage.database_retry import DatabaseGone, RowRefused, explain, retrying

MAX_SAMPLED = 10_000
EXAMPLES = 5


def _since(text: str) -> datetime:
    """A date, or a date with a time; in the product's time zone if it names none."""
    try:
        day = date.fromisoformat(text)
        return timezone.make_aware(datetime.combine(day, time.min))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        return moment if timezone.is_aware(moment) else timezone.make_aware(moment)
    except (ValueError, OverflowError):
        raise ArgumentTypeError(f"{text!r} is no date, such as 2026-11-01 or 2026-11-01T06:00") from None


def _sample(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_SAMPLED:
        raise ArgumentTypeError(f"{text!r} is out of range; use 1 to {MAX_SAMPLED}")
    return int(text)


READERS: dict[str, Callable[[str], Any]] = {
    **RUN_READERS,
    "since": _since,
    "sample": _sample,
}


class Command(JobCommand):
    help = (
        "Fetch stored orders from Bytemark again, and report by kind and order: pass missing here, pass"
        " unknown to Bytemark, product differs, order not listed, stored twice. The portal's tables are only read,"
        " unless --repair is given. Findings are kept with the run. Exit status: 0 nothing was found, 1 there are"
        " findings (repaired or not), a user failed or the audit could not go on, 2 unusable arguments or settings, 130"
        " or 143 stopped by a signal."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        add_run_options(parser)
        add = parser.add_argument
        add(
            "--since",
            type=_since,
            metavar="DATE",
            help="only orders that this product stored since then; items stored by the previous job have no time",
        )
        add("--sample", type=_sample, metavar="N", help=f"only N of them, chosen at random (at most {MAX_SAMPLED})")
        add("--repair", action="store_true", help="insert passes that are missing here; nothing is ever deleted")

    def work(self, options: dict[str, Any]) -> None:
        if isinstance(options["since"], date):
            options["since"] = options["since"].isoformat()
        read_options(options, READERS)
        checked_settings()
        try:
            checked_database()
            scope = self._scope(options)
            if options["enqueue"]:
                self._enqueue(scope, options)
            else:
                self._audit(scope, options)
        except (DatabaseError, InterfaceError) as error:
            raise CommandError(explain(error), returncode=1) from None
        except (DatabaseGone, RowRefused) as error:
            raise CommandError(str(error), returncode=1) from None

    def _scope(self, options: dict[str, Any]) -> AuditScope:
        scope = AuditScope(
            users=tuple(dict.fromkeys(options["user"])), since=options["since"], repair=options["repair"]
        )
        if options["order"]:
            named = stored_named_by(options["order"])
            for uuid in dict.fromkeys(options["order"]):
                if normalise(uuid) not in named:
                    with log_fields(order_uuid=uuid):
                        self.stderr.write(f"order {uuid}: nothing stored", self.style.NOTICE)
            scope = replace(scope, order_ids=tuple(sorted(order_id for ids in named.values() for order_id in ids)))
        if options["sample"]:
            scope = replace(scope, order_ids=choose(scope, options["sample"]))
        return scope

    def _enqueue(self, scope: AuditScope, options: dict[str, Any]) -> None:
        from bytemark_sync.queue import broker
        from bytemark_sync.queue.requests import request_audit

        run = retrying(lambda: request_audit(scope, requested_by=who()))
        bind(run=run.pk)
        retrying(run.refresh_from_db)
        if run.status == RunStatus.QUEUED and run.planner_at is None:
            self.stderr.write(f"{broker.AWAY}: the audit waits for it.")
        if options["json"]:
            self.stdout.write(json.dumps({"run_id": run.pk, "status": "queued"}))
        else:
            self.stdout.write(f"Audit {run.pk} is queued. Follow it in the admin.")

    def _audit(self, scope: AuditScope, options: dict[str, Any]) -> None:
        stop = threading.Event()
        with stopping_on_signals(stop) as caught:
            report = work_here(
                AuditStrategy(scope),
                client_settings=checked_settings(),
                workers=options["workers"] or settings.BYTEMARK_WORKERS,
                stop=stop,
                requested_by=who(),
            )
        if options["verbosity"] > 0:
            out = self.stderr if options["json"] else self.stdout
            for line in _summary(report):
                out.write(line, str)
        if options["json"]:
            self.stdout.write(_json(report))
        if caught and report.status == RunStatus.INTERRUPTED:
            raise CommandError("interrupted; the findings so far are kept", returncode=128 + caught[0])
        if report.status == RunStatus.INTERRUPTED:
            raise CommandError("stopped in the admin; the findings so far are kept", returncode=1)
        if report.error:
            raise CommandError(f"the audit could not go on: {report.error}", returncode=1)
        total, failed = report.found.total, report.totals.counts.users_failed
        if total or failed:
            raise CommandError(f"{many(total, 'finding')}, {many(failed, 'user')} failed", returncode=1)


def _json(report: RunReport) -> str:
    counts = report.totals.counts
    values = {
        "run_id": report.run_id,
        "status": report.status.value,
        "users": counts.users,
        "users_failed": counts.users_failed,
        "orders": counts.orders,
        "orders_invalid": counts.orders_invalid,
        "findings": {kind.value: report.found.kinds.get(kind.value, 0) for kind in FINDING_LABELS},
        "findings_total": report.found.total,
        "repaired": report.found.repaired,
        "api_requests": counts.api_requests,
        "retries": counts.retries,
        "tokens_renewed": counts.tokens_renewed,
        "seconds": round(report.seconds, 3),
    }
    if report.error:
        values["error"] = report.error
    return json.dumps(values)


def _summary(report: RunReport) -> Iterator[str]:
    counts = report.totals.counts
    yield f"Audit {report.run_id}: {report.status.label.lower()} in {report.seconds:.1f} s"
    if report.logins_stopped:
        yield report.logins_stopped
    rows = [
        ("Users", counts.users, f"{counts.users_failed:,} failed" if counts.users_failed else ""),
        ("Orders held against Bytemark", counts.orders, ""),
        ("  malformed, not compared", counts.orders_invalid, ""),
        ("Tokens renewed", counts.tokens_renewed, ""),
        ("Requests", counts.api_requests, many(counts.retries, "retry", "retries") if counts.retries else ""),
        ("Findings", report.found.total, f"{report.found.repaired:,} repaired" if report.found.repaired else ""),
    ]
    for name, number, remark in rows:
        if number or not name.startswith((" ", "Tokens")):
            yield f"  {name:<30}{number:>9,}   {remark}".rstrip()
    for kind, label in FINDING_LABELS.items():
        if not report.found.kinds.get(kind.value):
            continue
        yield f"  {label:<30}{report.found.kinds[kind.value]:>9,}"
        mine = AuditFinding.objects.filter(run_id=report.run_id, kind=kind.value).order_by("pk").select_related("order")
        for finding in mine[:EXAMPLES]:
            uuid = (finding.order.order_uuid or "").strip()
            yield f"    order {uuid} of user {finding.user_id}: {finding.pass_uuid} {finding.detail}".replace(
                ":  ", ": "
            )
    for reason, group in report.totals.reasons.items():
        if reason.record.fails_user:
            yield f"  not compared, {reason.value}: {many(group.users, 'user')}, for example {group.example_user}"
