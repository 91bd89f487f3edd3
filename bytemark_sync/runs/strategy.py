"""What a run does, by its kind: which users it works and what it writes. The engine is the same for all kinds.

The sync is here, the audit in audit/strategy.py. For a queued run, queue/kinds.py chooses. How each kind is told is in
domain/run_kinds.py.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

from django.utils import timezone

from bytemark_sync.domain.counters import Counts, Found
from bytemark_sync.domain.matching import normalise
from bytemark_sync.domain.run_scope import AuditScope, Scope
from bytemark_sync.models import RunKind, SyncRun
from bytemark_sync.runs.engine import Writer
from bytemark_sync.runs.run_rows import BatchClaim
from bytemark_sync.runs.writer import SyncWriter
from bytemark_sync.storage.pending import Deferred, DueUser, ReadUpTo, stream, users_named_by, users_with_pending


class Strategy(Protocol):
    """Everything that differs between the kinds of run."""

    kind: ClassVar[RunKind]

    @property
    def scope(self) -> Scope | AuditScope: ...

    def nothing_to_work(self) -> list[str]:
        """Users and orders that the scope names but that have nothing to work, as text."""

    def users(self, deferred: Deferred, claim: BatchClaim | None = None) -> Iterator[DueUser | ReadUpTo]:
        """The scope's users with their orders, by ascending user id. With a claim, the users left in the batch.

        Orders that are passed over are counted in `deferred`.
        """

    def user_ids(self, deferred: Deferred, *, after: int | None) -> Iterator[int | ReadUpTo]:
        """For planning: the scope's users beyond `after`. It ignores limit and filters: planning applies them."""

    def writer(self, run: SyncRun, stop: threading.Event, claim: BatchClaim | None = None) -> Writer: ...

    def found(self, run_id: int) -> Found:
        """The findings of a run of this kind. Raises `DatabaseGone`."""

    def words(self, counts: Counts, found: Found) -> str:
        """The run's result, for the log."""


@dataclass(frozen=True, slots=True)
class SyncStrategy:
    """Fetches pending orders, and stores each or leaves it with a reason."""

    kind: ClassVar[RunKind] = RunKind.SYNC
    scope: Scope

    def nothing_to_work(self) -> list[str]:
        users = users_with_pending(self.scope.users) if self.scope.users else set()
        named = users_named_by(self.scope.orders) if self.scope.orders else {}
        words = [f"user {user_id}" for user_id in self.scope.users if user_id not in users]
        return words + [f"order {uuid}" for uuid in self.scope.orders if normalise(uuid) not in named]

    def users(self, deferred: Deferred, claim: BatchClaim | None = None) -> Iterator[DueUser | ReadUpTo]:
        now = timezone.now()
        if claim is None:
            return stream(self.scope, now=now, deferred=deferred)
        return stream(
            replace(self.scope, limit=None),
            now=now,
            user_ids=tuple(claim.user_ids),
            under_way=set(map(int, claim.bookmarks)),
            deferred=deferred,
        )

    def user_ids(self, deferred: Deferred, *, after: int | None) -> Iterator[int | ReadUpTo]:
        due = stream(replace(self.scope, limit=None), now=timezone.now(), deferred=deferred, after_user=after)
        return (each.pending.user_id if isinstance(each, DueUser) else each for each in due)

    def writer(self, run: SyncRun, stop: threading.Event, claim: BatchClaim | None = None) -> Writer:
        return SyncWriter(run, stop, claim)

    def found(self, run_id: int) -> Found:
        return Found()

    def words(self, counts: Counts, found: Found) -> str:
        return f"{counts.orders_synced} of {counts.orders} orders synced, {counts.items_created} items"
