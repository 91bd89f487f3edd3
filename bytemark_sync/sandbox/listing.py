"""The pages of a world as the API serves them, with the faults that change a page."""

from __future__ import annotations

import math
from random import Random
from typing import Any

from bytemark_sync.sandbox.faults import FaultRule
from bytemark_sync.sandbox.records import ListedItem, ListedOrder, Rider
from bytemark_sync.sandbox.wire import JUNK, Json, encode, order_json, page_json

CACHED_PAGES = 20_000
CLAMPED_SIZE = 20


class Listing:
    """Serves pages. An unchanged page is encoded once."""

    def __init__(self, envelope: str = "data", seed: int = 0) -> None:
        self._envelope = envelope
        self._rng = Random(f"listing {seed}")
        self.replace()

    def replace(self) -> None:
        """Another world is listed from now on."""
        self._grown: dict[int, list[ListedOrder]] = {}
        self._cache: dict[tuple[int, int, int], bytes] = {}

    def page(self, rider: Rider, page: int, per_page: int, changes: list[FaultRule]) -> bytes:
        """The body of the answer."""
        if changes or rider.user_id in self._grown:
            return self._changed(rider, page, per_page, {rule.kind: rule for rule in changes})
        place = rider.user_id, page, per_page
        body = self._cache.get(place)
        if body is None:
            if len(self._cache) >= CACHED_PAGES:
                self._cache.clear()
            body = self._cache[place] = encode(self._plain(rider.orders, page, per_page))
        return body

    def _plain(self, orders: list[ListedOrder], page: int, per_page: int) -> Json:
        part = orders[(page - 1) * per_page : page * per_page]
        return page_json(
            [order_json(order) for order in part],
            page=page,
            per_page=per_page,
            total=len(orders),
            envelope=self._envelope,
        )

    def _changed(self, rider: Rider, page: int, per_page: int, changes: dict[str, FaultRule]) -> bytes:
        if "grow" in changes:
            self._grow(rider)
        orders = self._grown.get(rider.user_id, []) + rider.orders
        if "reorder" in changes:
            orders = self._rng.sample(orders, len(orders))
        if "ignore_page" in changes:
            page = 1
        elif "repeat_page" in changes:
            page = max(1, page - 1)
        if rule := changes.get("clamp"):
            per_page = min(per_page, rule.size or CLAMPED_SIZE)
        whole = self._plain(orders, page, per_page)
        inner: Json = whole["data"] if self._envelope == "data" else whole
        if rule := changes.get("malformed_order"):
            inner["orders"].insert(0, JUNK[rule.form or "no_uuid"])
        if rule := changes.get("total_count"):
            _lie(inner, rule.form or "absent")
        if rule := changes.get("next"):
            _signal(inner["pagination"], rule.form or "absent")
        if "no_pagination" in changes:
            for name in ("page_count", "total_count", "pagination"):
                inner.pop(name, None)
        return encode(whole)

    def _grow(self, rider: Rider) -> None:
        grown = self._grown.setdefault(rider.user_id, [])
        name = f"grown-{rider.user_id}-{len(grown)}"
        grown.insert(0, ListedOrder(name, [ListedItem("product", [f"pass-{name}"])]))


def _lie(inner: Json, form: str) -> None:
    true = int(inner["total_count"])
    lies: dict[str, Any] = {
        "big": true + 1000,
        "small": math.ceil(true / 2),
        "text": str(true),
        "null": None,
        "negative": -1,
        "float": true + 0.5,
    }
    if form == "absent":
        del inner["total_count"]
    else:
        inner["total_count"] = lies[form]


def _signal(pagination: Json, form: str) -> None:
    """Say in another form whether more follows."""
    number = pagination["page"] + 1
    path = f"/v4.0/orders?page={number}&per_page={pagination['per_page']}"
    more, end = {
        "null": (None, None),
        "always": (number, number),
        "path": (path, None),
        "true": (True, None),
        "false": (True, False),
        "empty": (path, ""),
        "absent": (None, None),
    }[form]
    pagination["next"] = end if pagination["next"] is None else more
    if form == "absent":
        del pagination["next"]
