"""Counts of what is pending now, for the dashboard and for the resync of everything. A thread counts them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Min, Q, Sum
from django.utils import timezone

from bytemark_sync.admin.background_counts import Watched
from bytemark_sync.admin.labels import NEVER
from bytemark_sync.domain.reasons import Reason, token_reasons
from bytemark_sync.models import Order
from bytemark_sync.storage.pending import pending_row_by_row


@dataclass(frozen=True, slots=True)
class PendingFigures:
    """Counts of what is pending now.

    `oldest` is when the order that has waited longest was first tried; orders never tried do not count.
    `tokenless_users` need a new token, because theirs were rejected or they have none.
    """

    orders: int
    users: int
    deferred: int
    tokenless_users: int
    oldest: datetime | None
    reasons: tuple[tuple[str, int], ...]
    counted_at: datetime


def count_pending_figures() -> Iterator[PendingFigures]:
    """Count everything in one pass over the pending orders: group them by user, then add up."""
    now = timezone.now()
    figures: dict[str, Any] = {reason: Count("pk", filter=Q(outcome__reason=reason)) for reason in Reason}
    tokenless = Q(*((f"{reason}__gt", 0) for reason in token_reasons()), _connector=Q.OR)
    per_user = (
        pending_row_by_row(Order.objects.order_by())
        .values("user_id")
        .annotate(
            n=Count("pk"),
            deferred=Count("pk", filter=Q(outcome__next_at__gt=now)),
            oldest=Min("outcome__first_at"),
            **figures,
        )
    )
    found = per_user.aggregate(
        orders=Sum("n", default=0),
        users=Count("user_id"),
        put_off=Sum("deferred", default=0, filter=Q(deferred=F("n"))),
        tokenless=Count("user_id", filter=tokenless),
        first=Min("oldest"),
        **{f"all_{reason}": Sum(reason, default=0) for reason in Reason},
    )
    reasons = {str(reason): found[f"all_{reason}"] for reason in Reason}
    reasons[NEVER] = found["orders"] - sum(reasons.values())
    yield PendingFigures(
        orders=found["orders"],
        users=found["users"],
        deferred=found["put_off"],
        tokenless_users=found["tokenless"],
        oldest=found["first"],
        reasons=tuple(sorted(((name, n) for name, n in reasons.items() if n), key=lambda pair: -pair[1])),
        counted_at=now,
    )


PENDING_FIGURES = Watched(count_pending_figures)
