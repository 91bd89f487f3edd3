"""The riders, what Bytemark lists for them, what the portal holds, and what a correct run must store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.sandbox import sample
from bytemark_sync.sandbox.accounts import login_token
from bytemark_sync.sandbox.records import ExpectedItem, ListedOrder, PortalOrder, Records, Rider
from bytemark_sync.sandbox.wire import FORMS


class World(Records, omit_defaults=True):
    """Everything that a run can see, and the result of a correct run."""

    @classmethod
    def sample(
        cls,
        users: int = 200,
        orders_per_user: int = 3,
        listed: tuple[int, int] = (10, 60),
        seed: int = 1,
        trouble: float = 0.0,
        accounts: bool = False,
    ) -> World:
        """A deterministic world; see `sample.fill`. `trouble` is the share of users with something wrong (0 to 1)."""
        world = cls()
        sample.fill(
            world,
            users=users,
            orders_per_user=orders_per_user,
            listed=listed,
            seed=seed,
            trouble=trouble,
            accounts=accounts,
        )
        return world

    @classmethod
    def load(cls, path: str | Path) -> World:
        """Read a JSON file. Raises `msgspec.ValidationError` or `DecodeError` that says what is wrong with it."""
        return msgspec.json.decode(Path(path).read_bytes(), type=cls)

    def save(self, path: str | Path) -> None:
        Path(path).write_bytes(msgspec.json.encode(self))

    def fill_portal(self) -> None:
        """Insert the portal's rows with their keys into the configured database. The tables must be empty."""
        from bytemark_sync.sandbox.portal_rows import fill

        fill(self)

    def fill_empty_portal(self) -> bool:
        """The same, but nothing is inserted where there are orders or tokens already; whether rows were inserted."""
        from bytemark_sync.sandbox.portal_rows import is_empty

        if not is_empty():
            return False
        self.fill_portal()
        return True

    def pending(self) -> list[PortalOrder]:
        """The pending orders (docs/contract.md#which-orders-are-pending), by key."""
        with_row = {row.user_id for row in self.tokens}
        return [
            order for order in self.orders if not order.stored and order.amount == "0" and order.user_id in with_row
        ]

    def expected_items(self, renewal: bool = False) -> list[ExpectedItem]:
        """Every row that the items table must hold after a faultless run, sorted. Rows from before are included.

        `renewal`: the run signs in where no token works, once for each such rider.
        """
        before = [
            ExpectedItem(order.id, order.order_uuid, order.oauth_token, item.product, pass_uuid)
            for order in self.orders
            for item in order.stored
            for pass_uuid in item.passes
        ]
        return sorted([*before, *(item for order, seen in self._seen(renewal) for item in _rows(order, seen))])

    def expected_reasons(self, renewal: bool = False) -> dict[int, Reason]:
        """Order key -> the reason why a faultless run leaves the order pending."""
        return {order.id: reason for order, seen in self._seen(renewal) if (reason := _reason(seen)) is not None}

    def expected_failed_users(self, renewal: bool = False) -> set[int]:
        seen_orders = self._seen(renewal)
        return {order.user_id for order, seen in seen_orders if (left := _reason(seen)) and left.record.fails_user}

    def expected_renewals(self) -> set[int]:
        """The riders of pending orders whose token a faultless run with renewal renews."""
        return {order.user_id for order, seen in self._seen(renewal=True) if seen.renewed}

    def _seen(self, renewal: bool = False) -> Iterator[tuple[PortalOrder, _Seen]]:
        """Each pending order as a run sees it. Tokens: those of the newest pending order first, then the token rows."""
        riders = {token: rider for rider in self.riders for token in rider.tokens}
        renewable = self._renewable() if renewal else {}
        rows: dict[int, list[str]] = {}
        for row in self.tokens:
            rows.setdefault(row.user_id, []).append(row.token)
        users: dict[int, list[PortalOrder]] = {}
        for order in self.pending():
            users.setdefault(order.user_id, []).append(order)
        for user_id, orders in users.items():
            newest_first = [order.oauth_token for order in sorted(orders, key=lambda order: -order.id)]
            tokens = [token for token in [*newest_first, *rows[user_id]] if token.strip()]
            good = next((token for token in tokens if token in riders), None)
            rider = riders[good] if good else renewable.get(user_id)
            renewed = rider is not None and good is None
            if renewed:
                good = login_token(user_id, 1)
            listing: dict[str, ListedOrder] = {}
            for one in rider.orders if rider else ():
                listing.setdefault(key(one.uuid), one)
            for order in orders:
                yield order, _Seen(bool(tokens), good, listing.get(key(order.order_uuid)), renewed)

    def _renewable(self) -> dict[int, Rider]:
        """The riders whose newest row with e-mail and password opens an account."""
        accounts = {(rider.email, rider.password): rider for rider in self.riders if rider.email}
        newest = {row.user_id: (row.email, row.password) for row in self.tokens if row.email and row.password}
        return {user_id: accounts[pair] for user_id, pair in newest.items() if pair in accounts}


class _Seen(NamedTuple):
    any_token: bool
    good_token: str | None
    listed: ListedOrder | None
    renewed: bool = False


def key(uuid: str) -> str:
    """The same text for all spellings of one uuid (docs/contract.md#matching)."""
    return uuid.strip().lower()


def _passes(order: ListedOrder) -> Iterable[tuple[str, str]]:
    """(pass, product), each pass once."""
    found: dict[str, str] = {}
    for item in order.items:
        for pass_uuid in item.passes:
            found.setdefault(pass_uuid, item.product)
    return found.items()


def _reason(seen: _Seen) -> Reason | None:
    if not seen.any_token and seen.good_token is None:
        return Reason.NO_TOKEN
    if seen.good_token is None:
        return Reason.TOKEN_REJECTED
    if seen.listed is None:
        return Reason.NOT_FOUND
    if seen.listed.form:
        return FORMS[seen.listed.form].reason
    return None if _passes(seen.listed) else Reason.NO_PASSES


def _rows(order: PortalOrder, seen: _Seen) -> Iterator[ExpectedItem]:
    if _reason(seen) is not None or seen.listed is None or seen.good_token is None:
        return
    for pass_uuid, product in _passes(seen.listed):
        yield ExpectedItem(order.id, order.order_uuid, seen.good_token, product, pass_uuid)
