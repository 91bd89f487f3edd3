"""What one good answer holds: its envelope, its signs of more, and its orders as they came."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from bytemark_sync.bytemark.body_errors import UNREADABLE, mend
from bytemark_sync.bytemark.decoding import ListedOrder, MalformedOrder, decode_page
from bytemark_sync.bytemark.errors import TryAgain
from bytemark_sync.bytemark.shape import type_of

ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class Reading:
    """One page. `listed` is what the product makes of it, `orders` the same orders as plain JSON.

    `envelope` is `data` or `bare`. `more` is what `pagination.next` says: `None` if the answer has none. `total_form`
    and `next_form` name the types of the two members, or `absent`.
    """

    envelope: str
    listed: tuple[ListedOrder | MalformedOrder, ...]
    orders: tuple[Any, ...]
    total: int | None
    total_form: str
    more: bool | None
    next_form: str
    outer: tuple[str, ...]
    inner: tuple[str, ...]

    @property
    def identities(self) -> tuple[str, ...]:
        return tuple(order.identity for order in self.listed)


def read_answer(body: bytes) -> Reading | None:
    """The page in a body. `None` if the product cannot use it."""
    try:
        page = decode_page(body)
        whole = msgspec.json.decode(mend(body))
    except (TryAgain, *UNREADABLE):
        return None
    data = whole.get("data")
    in_data = isinstance(data, dict) and isinstance(data.get("orders"), list)
    inner: dict[str, Any] = data if in_data else whole
    pagination = inner.get("pagination")
    members: dict[str, Any] = pagination if isinstance(pagination, dict) else {}
    has_next = "next" in members
    following = members.get("next")
    return Reading(
        envelope="data" if in_data else "bare",
        listed=page.orders,
        orders=tuple(inner["orders"]),
        total=page.total_count,
        total_form=number_type(inner["total_count"]) if "total_count" in inner else ABSENT,
        more=bool(following) if has_next else None,
        next_form=number_type(following) if has_next else ABSENT,
        outer=tuple(whole) if in_data else (),
        inner=tuple(inner),
    )


def number_type(value: Any) -> str:
    """The JSON type; a number without a fraction is told from others."""
    return "whole number" if type(value) is int else type_of(value)
