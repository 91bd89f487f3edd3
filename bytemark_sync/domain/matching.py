"""Pure matching: a user's listed orders against the wanted ones (docs/contract.md#matching)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bytemark_sync.bytemark.decoding import ListedOrder, MalformedOrder
from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class WantedOrder:
    """A pending order: the portal's key, and its uuid as the order table has it (blanks and letter case included)."""

    id: int
    uuid: str


@dataclass(slots=True)
class Bookmark:
    """How far a user's list is read, so that a later try reads on there (`fetching.fetch_steps`)."""

    token: Token | None = None
    """The one that the list is read with; None: that is still to begin."""
    page: int = 0
    """The last page read with it."""
    mark: str = ""
    """A hash of the orders that this page listed: it tells whether the list has shifted by the next try."""
    before: int = 0
    """Orders listed on the pages before it."""
    shifted: bool = False
    """Since page 1 was read the list has changed between two tries: an order may have gone past the reader."""
    again: bool = False
    """The list is read from page 1 once more, because it had shifted."""
    attempts: int = 0
    """Failed requests so far, of those that the user may cost in one run."""
    pages: int = 0
    """Pages read so far, over all tokens; grows with each try that gets on."""


@dataclass(frozen=True, slots=True)
class PendingUser:
    """A user with the orders to look for; `tokens` in the order in which they are tried, none empty, none twice."""

    user_id: int
    tokens: tuple[Token, ...]
    orders: tuple[WantedOrder, ...]
    bookmark: Bookmark | None = None
    """Where an earlier try broke off."""


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

    `failure` is set where the user counts as failed (token rejected, no token, API error). `interrupted` is set where
    the stop event ended the fetch early: then orders not seen are in neither list, nothing is recorded of them, and
    `bookmark` is where a later try reads on.
    """

    user_id: int
    found: tuple[FoundOrder, ...]
    left: tuple[LeftOrder, ...]
    failure: Reason | None = None
    detail: str = ""
    interrupted: bool = False
    bookmark: Bookmark | None = None


def normalise(uuid: str | None) -> str:
    """Uuids match whatever their letter case and surrounding blanks (docs/contract.md#matching)."""
    return (uuid or "").strip().lower()


@dataclass(frozen=True, slots=True)
class Matched:
    """Where a user's wanted orders stand. `unseen` were listed in no page, `left` have a reason of their own."""

    found: tuple[FoundOrder, ...]
    left: tuple[LeftOrder, ...]
    unseen: tuple[WantedOrder, ...]


@dataclass(slots=True)
class _Listing:
    """What all listings of one uuid gave together; the first spelling of a pass and its token win."""

    well_formed: bool = False
    malformed: str = ""
    token: Token | None = None
    items: dict[str, PassItem] = field(default_factory=dict)


class Matcher:
    """Collects the wanted orders from a user's pages, in whatever order and however often they are listed."""

    def __init__(self, wanted: Sequence[WantedOrder]) -> None:
        self._wanted = tuple(wanted)
        # A portal column may hold NULL or blanks; such an order matches nothing.
        self._listings = {key: _Listing() for order in wanted if (key := normalise(order.uuid))}
        self._waiting = set(self._listings)

    @property
    def settled(self) -> bool:
        """Every wanted order was listed well-formed: further pages are of no use. A malformed listing may be repeated
        as a good one, so it settles nothing."""
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
        """Where each wanted order stands now; each is in one of the three lists, once."""
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
        """What was found, and what is left with its reason; orders that no page listed get `unseen` and `detail`."""
        matched = self.matched()
        return matched.found, matched.left + tuple(LeftOrder(one, unseen, detail[:500]) for one in matched.unseen)


def _collect(listing: _Listing, order: ListedOrder, token: Token) -> None:
    for item in order.items:
        for pass_uuid in item.pass_uuids:
            listing.token = listing.token or token
            listing.items.setdefault(normalise(pass_uuid), PassItem(item.product_uuid, pass_uuid))
