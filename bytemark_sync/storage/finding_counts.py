"""What audits found, counted."""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import Count, Q

from bytemark_sync.domain.counters import Found
from bytemark_sync.models import AuditFinding, SyncRun
from bytemark_sync.storage.keyset import fetched


def found_of(run: SyncRun) -> Found:
    """The findings of a run. None, and no query, if its kind has none. Raises `DatabaseGone`."""
    return found_by([run.pk])[run.pk] if run.kind_record.has_findings else Found()


def found_by(run_ids: Collection[int]) -> dict[int, Found]:
    """The findings of each run; a run without findings is included. Raises `DatabaseGone`."""
    found = {run_id: Found() for run_id in run_ids}
    mine = AuditFinding.objects.filter(run_id__in=list(run_ids)).order_by().values_list("run_id", "kind")
    counted = mine.annotate(all=Count("pk"), mended=Count("pk", filter=Q(repaired=True)))
    for run_id, kind, count, mended in fetched(counted) if found else ():
        found[run_id].kinds[kind] = count
        found[run_id].repaired += mended
    return found
