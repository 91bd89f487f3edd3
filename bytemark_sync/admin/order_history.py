"""The history of one order: what each run did with it, and what a person should do now."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from django.utils.html import format_html
from django.utils.safestring import SafeString

from bytemark_sync.admin.labels import moment, page_of, reason_badge, rider_link, run_link
from bytemark_sync.admin.logins import with_login
from bytemark_sync.admin.order_states import State, outcome_of, state_of, waits_until
from bytemark_sync.domain.reasons import token_reasons
from bytemark_sync.models import Order, OrderAttempt, OrderItem, OrderOutcome, OrderToken, StoredOrder
from bytemark_sync.storage.portal_schema import renews_tokens

MAX_ATTEMPTS = 50
MAX_ITEMS = 100


@dataclass(frozen=True, slots=True)
class Story:
    """Everything that an order's page shows."""

    order: Order
    state: State
    facts: list[tuple[str, object]]
    attempts: dict[str, Any] = field(default_factory=dict)
    items: dict[str, Any] = field(default_factory=dict)


def tell(order: Order) -> Story:
    """Read the history of an order, with nine queries at most."""
    items = list(OrderItem.objects.filter(order_id=order.pk).order_by("pk").defer("oauth_token")[: MAX_ITEMS + 1])
    attempts = list(OrderAttempt.objects.filter(order_id=order.pk).order_by("-at", "-pk")[:MAX_ATTEMPTS])
    stored = StoredOrder.objects.filter(order_id=order.pk).first()
    outcome = outcome_of(order)
    has_token_row = OrderToken.objects.filter(user_id=order.user_id).exists()
    state = state_of(order, has_items=bool(items), has_token_row=has_token_row)
    if state.pending and outcome and outcome.reason in token_reasons() and renews_tokens():
        state = replace(state, advice=with_login(state.advice, outcome))
    return Story(
        order=order,
        state=state,
        facts=_facts(order, outcome if state.pending else None, stored),
        attempts={
            "headers": ["When", "Outcome", "Detail", "Run"],
            "rows": [
                [moment(each.at), reason_badge(each.reason), each.detail, run_link(each.run_id)] for each in attempts
            ],
        },
        items={
            "headers": ["Pass", "Product"],
            "rows": [[page_of("orderitem", each.pk, each.pass_uuid), each.product_uuid] for each in items[:MAX_ITEMS]],
        },
    )


def _facts(order: Order, outcome: OrderOutcome | None, stored: StoredOrder | None) -> list[tuple[str, object]]:
    facts: list[tuple[str, object]] = [("Rider", rider_link(order.user_id)), ("Amount", order.amount or "-")]
    if stored:
        facts += [("Stored", moment(stored.stored_at)), ("Stored by", run_link(stored.run_id))]
    if outcome:
        facts += [
            ("Attempts", outcome.attempts),
            ("First try", moment(outcome.first_at)),
            ("Last try", moment(outcome.last_at)),
            ("Next try", _next_try(waits_until([order]).get(order.pk))),
            ("Last run", run_link(outcome.last_run_id)),
            ("Detail", outcome.detail or "-"),
        ]
    return facts


def _next_try(at: datetime | None) -> SafeString | str:
    if at is None:
        return "with the next run"
    return format_html("not before {}, unless the rider gets a new order or token", moment(at))
