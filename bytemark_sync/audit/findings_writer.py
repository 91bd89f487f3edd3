"""Writes what an audit finds. With `--repair` it also stores missing passes, under the same row locks as the sync."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence

from bytemark_sync.domain.comparison import Difference, compare, compare_left
from bytemark_sync.domain.counters import Flushed
from bytemark_sync.domain.matching import FoundOrder, LeftOrder, PassItem, normalise
from bytemark_sync.models import AuditFinding, Order, OrderItem, SyncRun
from bytemark_sync.models.portal import FREE
from bytemark_sync.runs.run_rows import BatchClaim
from bytemark_sync.runs.writer import RunWriter
from bytemark_sync.storage.bulk_insert import insert
from bytemark_sync.storage.keyset import IDS_PER_QUERY, chunks
from bytemark_sync.storage.order_items import Finding, add_rows, rows_of

MAX_DETAIL_LENGTH = 600


class AuditWriter(RunWriter):
    """Stores the findings. It changes the portal's tables only with `repair`."""

    def __init__(
        self, run: SyncRun, stop: threading.Event, claim: BatchClaim | None = None, *, repair: bool = False
    ) -> None:
        super().__init__(run, stop, claim)
        self._repair = repair
        self._refused: dict[int, str] = {}

    def _apply(self, part: list[Finding]) -> Flushed:
        """Read the stored rows only now: they may have changed since the orders were streamed. A repair locks first."""
        ids = [each.order.id for finding in part for each in _orders(finding)]
        orders = self._orders(ids)
        stored = _items(list(orders))
        flushed = Flushed()
        findings: list[AuditFinding] = []
        rows: list[OrderItem] = []
        for finding in part:
            for order in _orders(finding):
                # Skip orders whose items are gone (the sync's business again) or whose user or uuid has changed.
                user_id, uuid = orders.get(order.order.id, (None, ""))
                changed = user_id != finding.user_id or normalise(uuid) != normalise(order.order.uuid)
                if order.order.id not in stored or changed:
                    continue
                differences = _differences(order, stored[order.order.id])
                mends = self._repair and order.order.id not in self._refused
                mending = _missing_rows(order, differences, uuid) if mends else []
                rows += mending
                findings += [
                    self._finding(finding, order, each, repaired=bool(mending) and each.missing is not None)
                    for each in differences
                ]
                if isinstance(order, LeftOrder):
                    flushed.counts.count_left([order.reason])
                    flushed.left.append((finding.user_id, order))
        add_rows(rows)
        flushed.counts.items_created = len(rows)
        self._keep(ids, findings)
        return flushed

    def _leave(self, finding: Finding, refusal: str) -> Finding:
        """If the database refuses an order's missing passes, its findings are still stored, and say so."""
        (order,) = _orders(finding)
        if not self._repair or order.order.id in self._refused:
            return super()._leave(finding, refusal)
        self._refused[order.order.id] = refusal
        return finding

    def _orders(self, ids: Sequence[int]) -> dict[int, tuple[int | None, str]]:
        """Order id -> user and uuid from the order table. A repair locks these rows, lowest id first."""
        found: dict[int, tuple[int | None, str]] = {}
        for chunk in chunks(sorted(ids), IDS_PER_QUERY):
            orders = Order.objects.filter(FREE, pk__in=chunk).order_by("pk")
            if self._repair:
                orders = orders.select_for_update()
            rows = orders.values_list("pk", "user_id", "order_uuid")
            found.update((order_id, (user_id, uuid or "")) for order_id, user_id, uuid in rows)
        return found

    def _finding(
        self, finding: Finding, order: FoundOrder | LeftOrder, difference: Difference, *, repaired: bool
    ) -> AuditFinding:
        refusal = self._refused.get(order.order.id)
        detail = f"{difference.detail} Not repaired: {refusal}" if refusal and difference.missing else difference.detail
        return AuditFinding(
            run_id=self._run.pk,
            order_id=order.order.id,
            user_id=finding.user_id,
            kind=difference.kind.value,
            pass_uuid=difference.pass_uuid[:255],
            detail=detail[:MAX_DETAIL_LENGTH],
            repaired=repaired,
        )

    def _keep(self, ids: Sequence[int], findings: list[AuditFinding]) -> None:
        """A batch that was queued again compares some orders twice. The newer findings replace all but repairs."""
        for chunk in chunks(ids, IDS_PER_QUERY):
            AuditFinding.objects.filter(run_id=self._run.pk, order_id__in=chunk, repaired=False).delete()
        insert(findings)


def _orders(finding: Finding) -> Iterator[FoundOrder | LeftOrder]:
    yield from finding.found
    yield from finding.left


def _items(ids: Sequence[int]) -> dict[int, list[PassItem]]:
    items: defaultdict[int, list[PassItem]] = defaultdict(list)
    for chunk in chunks(ids, IDS_PER_QUERY):
        query = OrderItem.objects.filter(order_id__in=chunk).order_by("pk")
        for order_id, product, pass_uuid in query.values_list("order_id", "product_uuid", "pass_uuid"):
            items[order_id].append(PassItem(product or "", pass_uuid or ""))
    return dict(items)


def _differences(order: FoundOrder | LeftOrder, stored: Sequence[PassItem]) -> list[Difference]:
    if isinstance(order, FoundOrder):
        return list(compare(order.items, stored))
    return list(compare_left(order, stored))


def _missing_rows(order: FoundOrder | LeftOrder, differences: Sequence[Difference], uuid: str) -> list[OrderItem]:
    if isinstance(order, LeftOrder):
        return []
    return rows_of(order, [each.missing for each in differences if each.missing is not None], uuid)
