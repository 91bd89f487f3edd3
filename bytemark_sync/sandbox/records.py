"""The rows of a world: riders and their orders at Bytemark, the portal's orders and tokens, the expected items."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec


class ListedItem(msgspec.Struct, omit_defaults=True):
    """One product of a listed order, with the uuids of its passes."""

    product: str
    passes: list[str] = []


class ListedOrder(msgspec.Struct, omit_defaults=True):
    """An order as Bytemark lists it. `form` names a form of its JSON, from `wire.FORMS`.

    `more`: further members of the JSON, in place of the sandbox's own (a replay).
    """

    uuid: str
    items: list[ListedItem] = []
    form: str = ""
    more: dict[str, Any] = {}


class Rider(msgspec.Struct, omit_defaults=True):
    """A Bytemark account: any of `tokens` opens it; `orders` are listed in this order.

    With `email` and `password` one can sign in to it. Without an e-mail nobody can.
    """

    user_id: int
    tokens: list[str]
    orders: list[ListedOrder] = []
    email: str = ""
    password: str = ""


class PortalOrder(msgspec.Struct, omit_defaults=True):
    """A row of `bytemark_orders`. `kind` says why the sample has it; `stored` are the items that it already has."""

    id: int
    order_uuid: str
    user_id: int
    oauth_token: str
    amount: str = "0"
    kind: str = "listed"
    stored: list[ListedItem] = []


class PortalToken(msgspec.Struct, omit_defaults=True):
    """A row of `bytemark_tokens`, with the account that the portal has made for the rider."""

    user_id: int
    token: str
    email: str | None = None
    password: str | None = None


class ExpectedItem(NamedTuple):
    """A row of `bytemark_order_items`, without its own key."""

    order_id: int
    order_uuid: str
    oauth_token: str
    product_uuid: str
    pass_uuid: str


class Records(msgspec.Struct, omit_defaults=True):
    """All rows of a world. `seed` only records which seed a sample came from."""

    riders: list[Rider] = []
    orders: list[PortalOrder] = []
    tokens: list[PortalToken] = []
    seed: int = 0
