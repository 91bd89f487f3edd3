"""The state of an order, the same on lists and pages (docs/contract.md#which-orders-are-pending)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone
from django.utils.safestring import SafeString

from bytemark_sync.admin.labels import NEVER, Advice, badge, reason_advice, reason_variants, reason_words
from bytemark_sync.models import Order, OrderOutcome
from bytemark_sync.storage.pending import is_due, pending_orders


@dataclass(frozen=True, slots=True)
class State:
    """A state and its advice. `pending` means that the sync takes the order, now or later."""

    label: str
    variant: str
    advice: Advice
    pending: bool = False

    @property
    def badge(self) -> SafeString:
        return badge(self.label, self.variant)


STORED = State("stored", "success", Advice("Its passes are in the portal.", "Nothing."))
NOT_FREE = State("not free", "default", Advice("Only orders with the amount 0 are synced.", "Nothing."))
NO_USER = State(
    "no user",
    "default",
    Advice(
        "The portal names no user for this order, so the order is not taken.",
        "Nothing here. If it should have a user, tell whoever runs the portal.",
    ),
)
NO_TOKEN_ROW = State(
    "no token row",
    "default",
    Advice(
        "bytemark_tokens has no row for this rider, so the order is not taken.",
        "The portal adds the row when it makes the rider's Bytemark account. If the row does not come, tell whoever "
        "runs the portal.",
    ),
)


def outcome_of(order: Order) -> OrderOutcome | None:
    return getattr(order, "outcome", None)


def waits_until(orders: Iterable[Order]) -> dict[int, datetime]:
    """Order id -> the time before which scheduled runs pass over the pending order.

    Orders that the next run takes are left out.
    """
    now = timezone.now()
    later = {
        order.pk: (order.user_id, outcome.next_at)
        for order in orders
        if (outcome := outcome_of(order)) and outcome.next_at and outcome.next_at > now
    }
    users = {user_id for user_id, _ in later.values()}
    due = pending_orders(Order.objects.filter(is_due(now), user_id__in=users)) if users else Order.objects.none()
    tried = set(due.order_by().values_list("user_id", flat=True).distinct())
    return {pk: at for pk, (user_id, at) in later.items() if user_id not in tried}


def state_of(order: Order, *, has_items: bool, has_token_row: bool) -> State:
    """The state of an order.

    `has_items`: the order has rows in bytemark_order_items. `has_token_row`: the user has a row in bytemark_tokens.
    The outcome of the last run counts only if the order is pending. Otherwise it may be older than the current state.
    """
    if has_items:
        return STORED
    if order.amount != "0":
        return NOT_FREE
    if order.user_id is None:
        return NO_USER
    if not has_token_row:
        return NO_TOKEN_ROW
    outcome = outcome_of(order)
    reason = outcome.reason if outcome else NEVER
    return State(reason_words()[reason], reason_variants()[reason], reason_advice()[reason], pending=True)
