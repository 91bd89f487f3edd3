"""The JSON that Bytemark answers with, in all the forms that have been seen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.sandbox.records import ListedOrder

Json = dict[str, Any]
SERVER_TIME = "2026-01-01T00:00:00Z"

MESSAGES = {
    50020: "Invalid session",
    50032: "Invalid account",
    50011: "Lost device",
    10000: "Update required",
    400104: "User not registered",
    106: "Token reset",
}


def order_json(order: ListedOrder) -> Any:
    wire: Json = {
        "uuid": order.uuid,
        **(order.more or {"status": "FULFILLED", "total_price": 0}),
        "order_items": [
            {
                "uuid": f"item-{number}-{order.uuid}",
                "product": {"uuid": item.product, "name": "Day pass"},
                "passes": [{"uuid": pass_uuid, "status": "USABLE"} for pass_uuid in item.passes],
            }
            for number, item in enumerate(order.items, start=1)
        ],
    }
    return FORMS[order.form].change(wire) if order.form else wire


def _first_item(wire: Json, **changes: Any) -> Json:
    items = wire["order_items"] or [{"uuid": "item", "product": {"uuid": "product"}, "passes": [{"uuid": "pass"}]}]
    return wire | {"order_items": [items[0] | changes, *items[1:]]}


class Form(NamedTuple):
    """A form of one order's JSON, and why a correct run then leaves the order. Its uuid can still be read."""

    reason: Reason
    change: Callable[[Json], Any]


FORMS: dict[str, Form] = {
    "items_text": Form(Reason.MALFORMED, lambda wire: wire | {"order_items": "none"}),
    "items_object": Form(Reason.MALFORMED, lambda wire: wire | {"order_items": {"0": 1}}),
    "item_null": Form(Reason.MALFORMED, lambda wire: wire | {"order_items": [None]}),
    "product_missing": Form(Reason.MALFORMED, lambda wire: _first_item(wire, product=None)),
    "product_uuid_number": Form(Reason.MALFORMED, lambda wire: _first_item(wire, product={"uuid": 7})),
    "passes_text": Form(Reason.MALFORMED, lambda wire: _first_item(wire, passes="x")),
    "pass_number": Form(Reason.MALFORMED, lambda wire: _first_item(wire, passes=[7])),
    "pass_without_uuid": Form(Reason.MALFORMED, lambda wire: _first_item(wire, passes=[{"status": "USABLE"}])),
}
"""Only this order is left, not its neighbours. The sample and what a correct run makes of it follow from this table."""

JUNK: dict[str, Any] = {
    "null": None,
    "text": "order",
    "number": 7,
    "list": [],
    "no_uuid": {"order_items": []},
    "uuid_number": {"uuid": 7, "order_items": []},
    "uuid_null": {"uuid": None, "order_items": [{"product": {"uuid": "p"}, "passes": [{"uuid": "q"}]}]},
}
"""Entries of a page's `orders` that are no order."""


def page_json(orders: list[Any], *, page: int, per_page: int, total: int, envelope: str = "data") -> Json:
    pages = -(-total // per_page)
    inner: Json = {
        "orders": orders,
        "page_count": len(orders),
        "total_count": total,
        "pagination": {"page": page, "per_page": per_page, "next": page + 1 if page < pages else None},
    }
    if envelope == "bare":
        return inner
    return {"server_time": SERVER_TIME, "data": inner, "errors": []}


def _entry(code: int) -> Json:
    return {"code": code, "message": MESSAGES.get(code, "Something went wrong")}


ERROR_FORMS: dict[str, Callable[[int], Any]] = {
    "list": lambda code: {"server_time": SERVER_TIME, "data": None, "errors": [_entry(code)]},
    "list_null_error": lambda code: {"error": None, "errors": [_entry(code)]},
    "string_code": lambda code: {"data": {}, "errors": [_entry(code) | {"code": str(code)}]},
    "plain": lambda code: {"data": None, "errors": [str(code)]},
    "plain_text": lambda code: {"errors": [f"{code}: {MESSAGES.get(code, 'Something went wrong')}"]},
    "single": lambda code: {"errors": _entry(code)},
    "error_object": lambda code: {"error": _entry(code)},
    "error_text": lambda code: {"error": str(code)},
    "top": lambda code: {"code": code, "message": MESSAGES.get(code, "Something went wrong")},
    "in_data": lambda code: {"data": {"errors": [_entry(code)]}, "errors": []},
    "second": lambda code: {"data": None, "errors": [{"message": "See below"}, _entry(code)]},
    "with_orders": lambda code: {"data": {"orders": [], "total_count": 0}, "errors": [_entry(code)]},
}
"""An error code in every form that has been seen, or could be; `list` is the documented one."""

WRONG_SHAPES: dict[str, Any] = {
    "null": None,
    "number": 7,
    "text": "orders",
    "true": True,
    "list": [],
    "object": {},
    "data_null": {"data": None, "errors": []},
    "data_list": {"data": [], "errors": []},
    "data_text": {"data": "none"},
    "no_orders": {"data": {"total_count": 3}},
    "orders_null": {"data": {"orders": None, "total_count": 0}},
    "orders_object": {"data": {"orders": {}, "total_count": 0}},
    "orders_text": {"data": {"orders": "none"}},
    "bare_orders_number": {"orders": 7, "total_count": 1},
}
"""JSON that is no page: a failed request."""

encode = msgspec.json.encode
