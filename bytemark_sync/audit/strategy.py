"""The audit as a kind of run. It has its own users and writer, and shares everything else with the sync."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from bytemark_sync.audit.findings_writer import AuditWriter
from bytemark_sync.audit.selection import audit_stream, audit_users
from bytemark_sync.domain.counters import Counts, Found
from bytemark_sync.domain.run_scope import AuditScope
from bytemark_sync.models import RunKind, SyncRun
from bytemark_sync.runs.engine import Writer
from bytemark_sync.runs.run_rows import BatchClaim
from bytemark_sync.storage.finding_counts import found_by
from bytemark_sync.storage.pending import Deferred, DueUser, ReadUpTo


@dataclass(frozen=True, slots=True)
class AuditStrategy:
    """Fetches stored orders again and compares them. `Strategy` documents the methods."""

    kind: ClassVar[RunKind] = RunKind.AUDIT
    scope: AuditScope

    def nothing_to_work(self) -> list[str]:
        return []

    def users(self, deferred: Deferred, claim: BatchClaim | None = None) -> Iterator[DueUser | ReadUpTo]:
        return audit_stream(self.scope, user_ids=tuple(claim.user_ids) if claim else None)

    def user_ids(self, deferred: Deferred, *, after: int | None) -> Iterator[int | ReadUpTo]:
        return audit_users(self.scope, after_user=after)

    def writer(self, run: SyncRun, stop: threading.Event, claim: BatchClaim | None = None) -> Writer:
        return AuditWriter(run, stop, claim, repair=self.scope.repair)

    def found(self, run_id: int) -> Found:
        return found_by([run_id])[run_id]

    def words(self, counts: Counts, found: Found) -> str:
        return f"{counts.orders} orders, {found.total} findings, {found.repaired} repaired"
