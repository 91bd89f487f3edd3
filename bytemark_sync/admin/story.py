"""The story of one order: what became of it at each run, and what that asks of a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.utils.safestring import SafeString

from bytemark_sync.admin.words import ADVICE, NEVER, Advice, badge, moment, page_of, reason_badge, rider_link, run_link
from bytemark_sync.models import Order, OrderAttempt, OrderItem, OrderOutcome, OrderToken, StoredOrder

MOST_ATTEMPTS = 50
MOST_ITEMS = 100


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that an order's page shows."""

    order: Order
    state: SafeString
    advice: Advice
    facts: list[tuple[str, object]]
    attempts: dict[str, Any] = field(default_factory=dict)
    items: dict[str, Any] = field(default_factory=dict)
    pending: bool = False


def outcome_of(order: Order) -> OrderOutcome | None:
    return getattr(order, "outcome", None)


def tell(order: Order) -> Story:
    """Five queries, whatever the length of the story."""
    items = list(OrderItem.objects.filter(order_id=order.pk).order_by("pk").defer("oauth_token")[: MOST_ITEMS + 1])
    attempts = list(OrderAttempt.objects.filter(order_id=order.pk).order_by("-at", "-pk")[:MOST_ATTEMPTS])
    stored = StoredOrder.objects.filter(order_id=order.pk).first()
    outcome = outcome_of(order)
    has_user = OrderToken.objects.filter(user_id=order.user_id).exists()
    state, advice, pending = _state(order, outcome, has_items=bool(items), has_user=has_user)
    return Story(
        order=order,
        state=state,
        advice=advice,
        facts=_facts(order, outcome, stored, pending),
        attempts={
            "headers": ["When", "Outcome", "Detail", "Run"],
            "rows": [
                [moment(each.at), reason_badge(each.reason), each.detail, run_link(each.run_id)] for each in attempts
            ],
        },
        items={
            "headers": ["Pass", "Product"],
            "rows": [[page_of("orderitem", each.pk, each.pass_uuid), each.product_uuid] for each in items[:MOST_ITEMS]],
        },
        pending=pending,
    )


def _state(
    order: Order, outcome: OrderOutcome | None, *, has_items: bool, has_user: bool
) -> tuple[SafeString, Advice, bool]:
    """The CONTRACT's "which orders are pending", in words."""
    if has_items:
        return badge("stored", "success"), Advice("Its passes are in the portal.", "Nothing."), False
    if order.amount != "0":
        return badge("not free", "default"), Advice("Only orders with the amount 0 are synced.", "Nothing."), False
    if not has_user:
        what = Advice("The portal's token table has no row for this user.", "The rider has to log in to the app once.")
        return badge("no user", "default"), what, False
    reason = outcome.reason if outcome else NEVER
    return reason_badge(reason), ADVICE[reason], True


def _facts(
    order: Order, outcome: OrderOutcome | None, stored: StoredOrder | None, pending: bool
) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [("User", rider_link(order.user_id)), ("Amount", order.amount or "-")]
    if stored:
        facts += [("Stored", moment(stored.stored_at)), ("Stored by", run_link(stored.run_id))]
    if pending and outcome:
        facts += [
            ("Attempts", outcome.attempts),
            ("First try", moment(outcome.first_at)),
            ("Last try", moment(outcome.last_at)),
            ("Next try", moment(outcome.next_at, "with the next run")),
            ("Last run", run_link(outcome.last_run_id)),
            ("Detail", outcome.detail or "-"),
        ]
    return facts
