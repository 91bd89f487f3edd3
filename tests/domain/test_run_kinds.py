"""What is told of a run by its kind, without any database."""

from __future__ import annotations

import pytest

from bytemark_sync.domain.counters import Counts, Found
from bytemark_sync.domain.run_kinds import AuditRecord, Figures, KindRecord, SyncRecord
from bytemark_sync.models import RunKind, SyncRun
from bytemark_sync.slack.messages import name_of

COUNTS = Counts(users=1, users_failed=1, orders=1200, orders_synced=1000, orders_invalid=2, items_created=1)
FIGURES = Figures(COUNTS, orders_deferred=3, users_planned=5, found=Found({"pass_missing": 2}, repaired=1))


def test_a_sync_is_told_by_what_it_stored_and_left() -> None:
    told = SyncRecord()
    assert told.headline(FIGURES) == "1 of 5 users, 1,000 of 1,200 orders stored, 1 user failed."
    assert told.done(FIGURES) == "1,000 orders, 1 item stored"
    assert " · ".join(told.summary(FIGURES)) == (
        "1,000 of 1,200 orders stored · 0 not listed · 0 without passes · 2 malformed · 3 deferred · 1 item"
    )
    assert dict(told.counts(FIGURES))["Orders deferred"] == 3


def test_an_audit_is_told_by_its_findings() -> None:
    told = AuditRecord()
    assert told.headline(FIGURES) == (
        "1 of 5 users, 1,200 orders audited, 2 findings (1 repaired). 1 user failed: their orders were not compared."
    )
    assert told.done(FIGURES) == "1,200 orders audited, 1 item added"
    assert told.summary(FIGURES) == ["1,200 orders audited", "2 findings, 1 repaired", "2 malformed"]
    assert dict(told.counts(FIGURES))["Findings repaired"] == 1


@pytest.mark.parametrize(
    ("told", "scope", "is_named", "subject", "is_whole"),
    [
        (SyncRecord(), {}, False, "all pending orders that are due", True),
        (SyncRecord(), {"include_deferred": True}, False, "all pending orders, including deferred", True),
        (SyncRecord(), {"users": [1]}, True, "", False),
        (SyncRecord(), {"limit": 1}, False, "all pending orders that are due", False),
        (AuditRecord(), {}, False, "audit of stored orders", False),
        (AuditRecord(), {"users": [1], "repair": True}, True, "audit of stored orders, missing passes repaired", False),
    ],
)
def test_what_a_scope_asks_for(
    told: KindRecord, scope: dict[str, object], is_named: bool, subject: str, is_whole: bool
) -> None:
    assert told.subject(scope, is_named=is_named) == subject
    assert told.is_whole_job(scope) is is_whole


def test_a_run_of_a_newer_versions_kind_is_told_as_a_sync() -> None:
    assert name_of(SyncRun(pk=7, kind=RunKind.AUDIT, trigger="admin")) == "audit 7"
    assert name_of(SyncRun(pk=8, kind="of the next version", trigger="admin")) == "of the next version 8 (admin)"
