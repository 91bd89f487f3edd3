"""All rows of an order or none, and the reason of every order that is left (docs/contract.md#storing).

Must be the first thing in its transaction. It locks the order rows, then looks for their items, then writes. Because of
this order of steps any number of writers may race, without a unique key
(docs/decisions/0001-row-locks-without-a-unique-key.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import F
from django.utils import timezone

from bytemark_sync.domain.matching import FoundOrder, LeftOrder, PassItem, normalise
from bytemark_sync.domain.reasons import deferred_reasons
from bytemark_sync.models import Order, OrderAttempt, OrderItem, OrderOutcome, StoredOrder
from bytemark_sync.models.portal import FREE
from bytemark_sync.storage.bulk_insert import insert
from bytemark_sync.storage.deferral import end_of_wait, next_wait

_Key = tuple[int | None, int, str]  # user id, order id, normalised uuid


@dataclass(frozen=True, slots=True)
class Finding:
    """One user's fetched orders: those to store, and those left. `fingerprint` stands for the user's current tokens."""

    user_id: int
    fingerprint: str
    found: Sequence[FoundOrder]
    left: Sequence[LeftOrder]


@dataclass(slots=True)
class Written:
    """What a transaction wrote. An order in neither set was stored by others, has another user or uuid, or is gone."""

    stored: set[int] = field(default_factory=set)
    left: set[int] = field(default_factory=set)
    items: int = 0


def write(findings: Sequence[Finding], *, run_id: int, reference: datetime) -> Written:
    """Store the found orders and note the others. Deferrals count from `reference`, which is the run's time."""
    wanted = {found.order.id for finding in findings for found in finding.found}
    wanted |= {left.order.id for finding in findings for left in finding.left}
    written = Written()
    if not wanted:
        return written
    locked = Order.objects.select_for_update().filter(FREE, pk__in=wanted).order_by("pk")
    rows = list(locked.values_list("user_id", "pk", "order_uuid"))
    ids = [order_id for _, order_id, _ in rows]
    have = set(OrderItem.objects.filter(order_id__in=ids).values_list("order_id", flat=True).distinct())
    if have:
        OrderOutcome.objects.filter(order_id__in=have).delete()
    # If the order has another user or uuid by now, what was fetched is not about it. The next run takes it.
    free = {
        (user_id, order_id, normalise(uuid)): uuid or "" for user_id, order_id, uuid in rows if order_id not in have
    }
    _store(findings, free, written, run_id)
    _note(findings, free, written, run_id, reference)
    return written


def _store(findings: Sequence[Finding], free: dict[_Key, str], written: Written, run_id: int) -> None:
    """Store each found order that is in `free`, and take it out of `free`."""
    now = timezone.now()
    rows: list[OrderItem] = []
    stored: list[StoredOrder] = []
    for finding in findings:
        for found in finding.found:
            uuid = free.pop((finding.user_id, found.order.id, normalise(found.order.uuid)), None)
            if uuid is None:
                continue
            stored.append(
                StoredOrder(
                    order_id=found.order.id,
                    run_id=run_id,
                    user_id=finding.user_id,
                    stored_at=now,
                    items=len(found.items),
                )
            )
            rows += rows_of(found, found.items, uuid)
    if not stored:
        return
    ids = [row.order_id for row in stored]
    insert(rows)
    # Somebody may have deleted the items of an order that was stored before. The row then describes the last time.
    StoredOrder.objects.filter(order_id__in=ids).delete()
    insert(stored)
    OrderOutcome.objects.filter(order_id__in=ids).delete()
    written.stored.update(ids)
    written.items += len(rows)


def rows_of(found: FoundOrder, items: Iterable[PassItem], uuid: str) -> list[OrderItem]:
    """The portal's rows for `items`. `uuid` is spelled as in the order table."""
    return [
        OrderItem(
            order_id=found.order.id,
            order_uuid=uuid,
            oauth_token=found.token.reveal(),
            product_uuid=item.product_uuid,
            pass_uuid=item.pass_uuid,
        )
        for item in items
    ]


def add_rows(rows: Sequence[OrderItem]) -> None:
    """Insert passes that an audit found missing in stored orders, and count them. The caller has locked the orders."""
    insert(rows)
    for order_id, count in Counter(row.order_id for row in rows).items():
        StoredOrder.objects.filter(order_id=order_id).update(items=F("items") + count)


def _note(
    findings: Sequence[Finding], free: dict[_Key, str], written: Written, run_id: int, reference: datetime
) -> None:
    """Write each order's outcome with its attempts counted, and one line of its history."""
    now = timezone.now()
    left = {
        left.order.id: (finding, left)
        for finding in findings
        for left in finding.left
        if (finding.user_id, left.order.id, normalise(left.order.uuid)) in free
    }
    if not left:
        return
    before = OrderOutcome.objects.in_bulk(list(left))
    outcomes = []
    for order_id, (finding, leaving) in left.items():
        outcome = OrderOutcome(order_id=order_id, user_id=finding.user_id, first_at=now, attempts=1)
        previous = before.get(order_id)
        if previous:
            outcome.first_at, outcome.attempts = previous.first_at, previous.attempts + 1
        outcome.reason, outcome.detail = leaving.reason, leaving.detail[:500]
        outcome.last_at, outcome.last_run_id, outcome.tokens = now, run_id, finding.fingerprint
        outcome.deferred_days = _deferral(previous, outcome, now)
        if leaving.reason in deferred_reasons():
            outcome.next_at = end_of_wait(reference, outcome.deferred_days)
        outcomes.append(outcome)
    OrderOutcome.objects.filter(order_id__in=list(left)).delete()
    insert(outcomes)
    insert(
        [
            OrderAttempt(order_id=row.order_id, run_id=run_id, at=now, reason=row.reason, detail=row.detail)
            for row in outcomes
        ]
    )
    written.left.update(left)


def _deferral(previous: OrderOutcome | None, outcome: OrderOutcome, now: datetime) -> int:
    """Days to wait. A new token starts again at 1."""
    days = previous.deferred_days if previous and previous.tokens == outcome.tokens else 0
    if outcome.reason not in deferred_reasons():
        return days
    early = previous is not None and previous.next_at is not None and previous.next_at > now
    return next_wait(days, early=early)
