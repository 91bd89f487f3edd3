"""The output at the end of a run: lines for a person, one JSON object (docs/contract.md#managepy-sync_order_items)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bytemark_sync.domain.counters import Counts, many
from bytemark_sync.models import RunStatus
from bytemark_sync.times import dated

if TYPE_CHECKING:
    from bytemark_sync.runs.in_process import RunReport


def json_line(report: RunReport) -> str:
    """The object of `--json`, with `orders_deferred`, and with `error` if the run could not go on."""
    values = {
        "run_id": report.run_id,
        "status": report.status.value,
        **report.totals.counts.as_dict(),
        "orders_deferred": report.totals.orders_deferred,
        "seconds": round(report.seconds, 3),
    }
    if report.error:
        values["error"] = report.error
    return json.dumps(values)


def queued_line(run_id: int | None) -> str:
    """The same object for a queued run; `skipped` if everything is under way already."""
    status = RunStatus.QUEUED if run_id else RunStatus.SKIPPED
    values = {"run_id": run_id, "status": status.value, **Counts().as_dict(), "orders_deferred": 0, "seconds": 0.0}
    return json.dumps(values)


def summary_lines(report: RunReport, *, dry_run: bool) -> Iterator[str]:
    counts = report.totals.counts
    title = "Dry run, nothing was written" if dry_run else f"Run {report.run_id}" if report.run_id else "No run"
    yield f"{title}: {report.status.label.lower()} in {report.seconds:.1f} s"
    if report.totals.unanswered_since:
        yield f"Bytemark has not answered since {dated(report.totals.unanswered_since)}"
    if report.logins_stopped:
        yield report.logins_stopped
    left = sum(group.orders for group in report.totals.reasons.values())
    rows = [
        ("Users", counts.users, f"{counts.users_failed:,} failed" if counts.users_failed else ""),
        ("Orders looked for", counts.orders, ""),
        ("  to store" if dry_run else "  stored", counts.orders_synced, many(counts.items_created, "item")),
        ("  not listed by Bytemark", counts.orders_not_found, ""),
        ("  listed without passes", counts.orders_without_passes, ""),
        ("  malformed", counts.orders_invalid, ""),
        ("  passed over", counts.orders - counts.orders_synced - left, "stored by others, changed or gone meanwhile"),
        ("Orders deferred", report.totals.orders_deferred, "tried later; --include-deferred tries them now"),
        ("Tokens to renew" if dry_run else "Tokens renewed", counts.tokens_renewed, ""),
        ("Requests", counts.api_requests, ", ".join(_requests(counts))),
    ]
    for name, number, remark in rows:
        if number > 0 or not name.startswith(
            ("  not", "  listed", "  malformed", "  passed over", "Orders deferred", "Tokens")
        ):
            yield f"  {name:<26}{number:>9,}   {remark}".rstrip()
    if report.totals.reasons:
        yield "Still pending, by reason:"
        for reason, group in sorted(report.totals.reasons.items(), key=lambda item: -item[1].orders):
            yield (
                f"  {reason.record.label:<26}{group.orders:>9,}   {many(group.users, 'user')},"
                f" for example user {group.example_user}: {group.example_detail}"
            )


def _requests(counts: Counts) -> Iterator[str]:
    if counts.retries:
        yield f"{counts.retries:,} retried"
    if counts.rate_limited:
        yield f"{counts.rate_limited:,} refused as too many (429)"
