"""The summary of a run accounts for every order."""

from __future__ import annotations

import re

import pytest

from bytemark_sync.domain.counters import Counts, Flushed, Totals
from bytemark_sync.domain.matching import LeftOrder, WantedOrder
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.management.output import summary_lines
from bytemark_sync.models import RunStatus
from bytemark_sync.runs.in_process import RunReport


def summary(orders: int, stored: int, left: list[Reason]) -> dict[str, int]:
    """The rows of the summary: name -> number."""
    counts = Counts(users=1, orders=orders, orders_synced=stored)
    counts.count_left(left)
    totals = Totals()
    totals.add(
        Flushed(counts, [(7, LeftOrder(WantedOrder(n, f"o-{n}"), reason, "why")) for n, reason in enumerate(left)])
    )
    lines = summary_lines(RunReport(1, RunStatus.SUCCEEDED, totals, 0.1), dry_run=False)
    rows = (re.match(r"\s+(.+?)\s{2,}([\d,]+)", line) for line in lines)
    return {row[1]: int(row[2].replace(",", "")) for row in rows if row}


@pytest.mark.parametrize("reason", Reason)
def test_an_order_left_for_any_reason_is_told_by_its_reason_and_is_not_passed_over(reason: Reason) -> None:
    rows = summary(5, 3, [reason, reason])
    assert "passed over" not in rows
    assert rows[reason.record.label] == 2


def test_every_order_is_stored_left_or_passed_over() -> None:
    every = list(Reason)
    rows = summary(len(every) + 7, 3, every)
    assert (rows["stored"], rows["passed over"]) == (3, 4)
    assert sum(rows[reason.record.label] for reason in every) == len(every)
