"""Pure matching: a user's listed orders against the wanted ones (CONTRACT: Towards Bytemark, Storing)."""

from __future__ import annotations

from dataclasses import dataclass

from bytemark_sync.bytemark.token import Token
from bytemark_sync.reasons import Reason


@dataclass(frozen=True, slots=True)
class WantedOrder:
    """A pending order: the portal's key, and its uuid as the order table has it (blanks and letter case included)."""

    id: int
    uuid: str


@dataclass(frozen=True, slots=True)
class PendingUser:
    """A user with the orders to look for; `tokens` in the order in which they are tried, none empty, none twice."""

    user_id: int
    tokens: tuple[Token, ...]
    orders: tuple[WantedOrder, ...]


@dataclass(frozen=True, slots=True)
class PassItem:
    """One row to store."""

    product_uuid: str
    pass_uuid: str


@dataclass(frozen=True, slots=True)
class FoundOrder:
    """An order with at least one pass, and the token that fetched it."""

    order: WantedOrder
    token: Token
    items: tuple[PassItem, ...]


@dataclass(frozen=True, slots=True)
class LeftOrder:
    """An order that stays pending, and why, in words for a person (`detail`, at most 500 characters, no token)."""

    order: WantedOrder
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class UserResult:
    """What one user's pages gave. Every wanted order is in `found` or in `left`, once.

    `failure` is set where the user counts as failed (token rejected, no token, API error). `interrupted` is set where the
    stop event ended the fetch early: then orders that were not seen are in neither list, and nothing is recorded of them.
    """

    user_id: int
    found: tuple[FoundOrder, ...]
    left: tuple[LeftOrder, ...]
    failure: Reason | None = None
    detail: str = ""
    interrupted: bool = False
