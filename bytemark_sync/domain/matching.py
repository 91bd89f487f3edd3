"""Finds the wanted orders among those that Bytemark lists for a user (docs/contract.md#matching)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bytemark_sync.bytemark.decoding import ListedOrder, MalformedOrder
from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.logins import LoginEnd
from bytemark_sync.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class WantedOrder:
    """A pending order: the portal's key, and its uuid as the order table has it (blanks and letter case included)."""

    id: int
    uuid: str


@dataclass(slots=True)
class Bookmark:
    """How far a user's list has been read, so that a later try continues there (`fetch_steps`)."""

    token: Token | None = None
    """The token that the list is read with; None if reading has not begun."""
    page: int = 0
    """The last page read with it."""
    mark: str = ""
    """A hash of the orders on this page. By the hash the next try sees whether the list has shifted."""
    before: int = 0
    """Number of orders on the pages before it."""
    shifted: bool = False
    """The list has changed between two tries since page 1 was read, so an order may have been missed."""
    again: bool = False
    """The list is being read from page 1 once more, because it had shifted."""
    attempts: int = 0
    """Failed requests of the user so far, in this run."""
    pages: int = 0
    """Pages read so far, over all tokens and tries."""


@dataclass(frozen=True, slots=True)
class PendingUser:
    """A user and the orders to look for. `tokens` are tried in this order; none is empty, none occurs twice."""

    user_id: int
    tokens: tuple[Token, ...]
    orders: tuple[WantedOrder, ...]
    bookmark: Bookmark | None = None
    """Where an earlier try stopped."""


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
    """An order that stays pending, and why. `detail` is for a person: at most 500 characters, without a token."""

    order: WantedOrder
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class UserResult:
    """The result of one user's pages. Every wanted order is once in `found` or `left`.

    `failure` is set if the user counts as failed (token rejected, no token, API error). `interrupted` is set if the
    stop event ended the fetch early. Orders that were not seen by then are in neither list, and nothing is recorded
    about them. A later try continues at `bookmark`.
    """

    user_id: int
    found: tuple[FoundOrder, ...]
    left: tuple[LeftOrder, ...]
    failure: Reason | None = None
    detail: str = ""
    attempts: int = 0
    """Failed requests of a user who failed."""
    interrupted: bool = False
    bookmark: Bookmark | None = None
    worked: Token | None = None
    """The token with which the list was read to its end."""
    login: LoginEnd | None = None
    """Set if the user was to be logged in, and that gave no token that works."""


def normalise(uuid: str | None) -> str:
    """Letter case and surrounding blanks of uuids do not matter (docs/contract.md#matching)."""
    return (uuid or "").strip().lower()


@dataclass(frozen=True, slots=True)
class Matched:
    """The state of a user's wanted orders. No page listed those in `unseen`; those in `left` have their own reason."""

    found: tuple[FoundOrder, ...]
    left: tuple[LeftOrder, ...]
    unseen: tuple[WantedOrder, ...]


@dataclass(slots=True)
class _Listing:
    """All listings of one uuid together. The first spelling of a pass and its token are kept."""

    well_formed: bool = False
    malformed: str = ""
    token: Token | None = None
    items: dict[str, PassItem] = field(default_factory=dict)


class Matcher:
    """Collects the wanted orders from a user's pages. Their order and repetition do not matter."""

    def __init__(self, wanted: Sequence[WantedOrder]) -> None:
        self._wanted = tuple(wanted)
        # A portal column may hold NULL or blanks; such an order matches nothing.
        self._listings = {key: _Listing() for order in wanted if (key := normalise(order.uuid))}
        self._waiting = set(self._listings)

    @property
    def settled(self) -> bool:
        """Whether every wanted order was listed well-formed, so that no further page is needed. A malformed listing
        does not settle an order, because a later listing may be well-formed."""
        return not self._waiting

    def take(self, orders: Iterable[ListedOrder | MalformedOrder], token: Token) -> None:
        """Take one page that `token` fetched."""
        for order in orders:
            listing = self._listings.get(normalise(order.uuid)) if order.uuid is not None else None
            if listing is None:
                continue
            if isinstance(order, MalformedOrder):
                listing.malformed = listing.malformed or order.detail
            else:
                listing.well_formed = True
                self._waiting.discard(normalise(order.uuid))
                _collect(listing, order, token)

    def matched(self) -> Matched:
        """The state of each wanted order now. Each is once in one of the three lists."""
        found: list[FoundOrder] = []
        left: list[LeftOrder] = []
        unseen: list[WantedOrder] = []
        for order in self._wanted:
            listing = self._listings.get(normalise(order.uuid))
            if listing is None:
                left.append(LeftOrder(order, Reason.MALFORMED, "The portal's order has no uuid to look for."))
            elif listing.token is not None:
                found.append(FoundOrder(order, listing.token, tuple(listing.items.values())))
            elif listing.well_formed:
                left.append(LeftOrder(order, Reason.NO_PASSES, "Bytemark lists the order without a pass."))
            elif listing.malformed:
                detail = f"Bytemark lists the order in a form that cannot be used: {listing.malformed}"
                left.append(LeftOrder(order, Reason.MALFORMED, detail[:500]))
            else:
                unseen.append(order)
        return Matched(tuple(found), tuple(left), tuple(unseen))

    def result(self, unseen: Reason, detail: str) -> tuple[tuple[FoundOrder, ...], tuple[LeftOrder, ...]]:
        """The orders found, and those left with their reasons. Orders that no page listed get `unseen` and `detail`."""
        matched = self.matched()
        return matched.found, matched.left + tuple(LeftOrder(one, unseen, detail[:500]) for one in matched.unseen)


def _collect(listing: _Listing, order: ListedOrder, token: Token) -> None:
    for item in order.items:
        for pass_uuid in item.pass_uuids:
            listing.token = listing.token or token
            listing.items.setdefault(normalise(pass_uuid), PassItem(item.product_uuid, pass_uuid))
