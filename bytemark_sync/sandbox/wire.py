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


class ErrorEntry(NamedTuple):
    """One error of an answer. `code` 0: it has none."""

    code: int
    message: str

    def json(self, **changes: Any) -> Json:
        return ({"code": self.code} if self.code else {}) | {"message": self.message} | changes

    def number(self) -> str:
        return str(self.code) if self.code else self.message

    def text(self) -> str:
        return f"{self.code}: {self.message}" if self.code else self.message


def error_json(form: str, code: int, message: str = "") -> Any:
    """An answer with an error, in one of `ERROR_FORMS`."""
    entry = ErrorEntry(code, message or MESSAGES.get(code, "Something went wrong"))
    return ERROR_FORMS[form or "list"](entry)


ERROR_FORMS: dict[str, Callable[[ErrorEntry], Any]] = {
    "list": lambda entry: {"server_time": SERVER_TIME, "data": None, "errors": [entry.json()]},
    "list_null_error": lambda entry: {"error": None, "errors": [entry.json()]},
    "string_code": lambda entry: {"data": {}, "errors": [entry.json(code=str(entry.code))]},
    "plain": lambda entry: {"data": None, "errors": [entry.number()]},
    "plain_text": lambda entry: {"errors": [entry.text()]},
    "single": lambda entry: {"errors": entry.json()},
    "error_object": lambda entry: {"error": entry.json()},
    "error_text": lambda entry: {"error": entry.number()},
    "top": lambda entry: entry.json(),
    "in_data": lambda entry: {"data": {"errors": [entry.json()]}, "errors": []},
    "second": lambda entry: {"data": None, "errors": [{"message": "See below"}, entry.json()]},
    "with_orders": lambda entry: {"data": {"orders": [], "total_count": 0}, "errors": [entry.json()]},
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


class LoginRefusal(NamedTuple):
    """How a login is refused: status, code (0: none), the word of OAuth, and a message that repeats the e-mail."""

    status: int
    code: int
    word: str
    message: str

    def body(self, form: str, code: int, email: str) -> Any:
        message = f"{self.message} ({email})"
        if form == "oauth":
            return {"error": self.word, "error_description": message}
        return error_json(form, code or self.code, message)


LOGIN_REFUSALS = {
    "wrong_password": LoginRefusal(401, 0, "invalid_grant", "Invalid email or password"),
    "unknown_account": LoginRefusal(400, 400104, "unknown_user", "User not registered"),
    "client": LoginRefusal(401, 0, "invalid_client", "Invalid client"),
    "unclear": LoginRefusal(400, 0, "invalid_request", "Something went wrong"),
}
"""By reason. What Bytemark really answers is not known (docs/bytemark-api.md), hence every form on demand."""

LOGIN_FORMS = (*ERROR_FORMS, "oauth")


def login_json(token: Any, email: str, envelope: str = "data") -> Json:
    inner: Json = {"oauth_token": token, "user": {"email": email}}
    if envelope == "bare":
        return inner
    return {"server_time": SERVER_TIME, "data": inner, "errors": []}


NO_TOKEN: dict[str, Json] = {
    "absent": {"data": {"user": {}}, "errors": []},
    "null": login_json(None, ""),
    "empty": login_json("", ""),
    "blank": login_json("  ", ""),
    "number": login_json(7, ""),
    "object": login_json({"token": "x"}, ""),
    "data_null": {"data": None, "errors": []},
    "data_list": {"data": [], "errors": []},
    "nothing": {},
}
"""Answers to a login that carry no token that could be used."""

encode = msgspec.json.encode
