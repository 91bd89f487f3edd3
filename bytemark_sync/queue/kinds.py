"""Chooses the strategy for a queued run by its kind. mypy fails here if a new kind of run is missing.

While two versions work one queue, a run may be one that only the newer version can work. The older one leaves it alone
(docs/decisions/0017-two-versions-side-by-side.md).
"""

from __future__ import annotations

from typing import assert_never

from bytemark_sync.audit.strategy import AuditStrategy
from bytemark_sync.domain.run_scope import AuditScope, Scope
from bytemark_sync.models import RunKind, SyncRun
from bytemark_sync.runs.strategy import Strategy, SyncStrategy


def is_known(run: SyncRun) -> bool:
    """Whether this version has the run's kind and everything that its scope names."""
    return run.kind in RunKind.values and run.kind_record.scope_type.knows(run.scope)


def strategy_of(run: SyncRun) -> Strategy:
    kind = RunKind(run.kind)
    match kind:
        case RunKind.SYNC:
            return SyncStrategy(Scope.from_json(run.scope))
        case RunKind.AUDIT:
            return AuditStrategy(AuditScope.from_json(run.scope))
        case _:
            assert_never(kind)
