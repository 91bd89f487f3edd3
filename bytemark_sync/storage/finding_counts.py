"""What audits found, counted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from django.db.models import Count, Q

from bytemark_sync.models import AuditFinding
from bytemark_sync.storage.keyset import fetched


@dataclass(slots=True)
class Found:
    """Findings by kind, repaired ones included, and the number of repaired ones."""

    kinds: dict[str, int] = field(default_factory=dict)
    repaired: int = 0

    @property
    def total(self) -> int:
        return sum(self.kinds.values())


def found_by(run_ids: Collection[int]) -> dict[int, Found]:
    """The findings of each run; a run without findings is included. Raises `DatabaseGone`."""
    found = {run_id: Found() for run_id in run_ids}
    mine = AuditFinding.objects.filter(run_id__in=list(run_ids)).order_by().values_list("run_id", "kind")
    counted = mine.annotate(all=Count("pk"), mended=Count("pk", filter=Q(repaired=True)))
    for run_id, kind, count, mended in fetched(counted) if found else ():
        found[run_id].kinds[kind] = count
        found[run_id].repaired += mended
    return found
