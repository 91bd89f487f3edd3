"""What audits found, counted by run and kind."""

from __future__ import annotations

import pytest

from bytemark_sync.domain.counters import Found
from bytemark_sync.models import AuditFinding, Order, RunKind, SyncRun, Trigger
from bytemark_sync.storage.finding_counts import found_by

pytestmark = pytest.mark.django_db


def audit(*findings: tuple[str, bool]) -> int:
    """A run with findings of these kinds, repaired or not; its id."""
    run = SyncRun.objects.create(trigger=Trigger.COMMAND, kind=RunKind.AUDIT)
    order = Order.objects.create(order_uuid="o", user_id=7, amount="0")
    for kind, repaired in findings:
        AuditFinding.objects.create(run=run, order=order, user_id=7, kind=kind, repaired=repaired)
    return run.pk


def test_each_run_has_its_own_findings_and_one_without_any_is_there_too() -> None:
    first = audit(("pass_missing", True), ("pass_missing", False), ("not_listed", False))
    second = audit(("pass_missing", True))
    none = audit()
    audit(("not_listed", False))  # not asked for
    found = found_by([first, second, none])
    assert found == {
        first: Found({"pass_missing": 2, "not_listed": 1}, repaired=1),
        second: Found({"pass_missing": 1}, repaired=1),
        none: Found(),
    }
    assert [found[run].total for run in (first, second, none)] == [3, 1, 0]


def test_nothing_asked_for_is_no_query(django_assert_num_queries: object) -> None:
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert found_by([]) == {}
