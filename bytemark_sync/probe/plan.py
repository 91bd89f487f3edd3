"""What the probe asks, in which order: the riders, a wrong token, page sizes, the same page again, whole lists."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from bytemark_sync.bytemark.errors import Kind
from bytemark_sync.bytemark.token import Token
from bytemark_sync.probe.asker import Asker, Down, Spent
from bytemark_sync.probe.evidence import Evidence, Exchange, Walk
from bytemark_sync.probe.reading import Reading

MAX_RIDERS = 5
"""When the tokens of so many riders were accepted, no more riders are asked."""

MAX_TOKENS = 2
"""Tokens of one rider that are tried."""

MAX_REFUSALS = 3
"""The same when so many riders got neither a list nor a rejected token."""

SIZES = (10, 30, 50, 100)
WALKED_SIZE = SIZES[0]
MAX_WALKS = 3
MAX_PAGES = 12
"""Pages of one list that are read. With `MAX_WALKS` lists all fits into the asker's limit."""


def investigate(asker: Asker, *, page_size: int) -> None:
    """Ask all that can be asked, and note it in `asker.evidence`. `page_size` is the one that is set now."""
    try:
        _Plan(asker, page_size).work()
    except Down as error:
        asker.evidence.down = str(error)
    except Spent:
        asker.evidence.spent = True


class _Plan:
    def __init__(self, asker: Asker, page_size: int) -> None:
        self._asker = asker
        self._seen: Evidence = asker.evidence
        self._page_size = page_size
        self._tokens: dict[int, Token] = {}
        self._first: dict[int, Reading] = {}

    def work(self) -> None:
        self._find_riders()
        wrong = Token(secrets.token_hex(20))
        self._seen.wrong_token = self._asker.ask(None, wrong, 1, WALKED_SIZE, odd=True)
        if not self._first:
            return
        longest = max(self._first, key=lambda rider: _extent(self._first[rider]))
        self._try_sizes(longest)
        self._repeat(longest)
        self._seen.page_zero = self._ask(longest, 0, WALKED_SIZE, odd=True)
        for rider in sorted(self._first, key=lambda rider: _extent(self._first[rider]), reverse=True)[:MAX_WALKS]:
            self._walk(rider)

    def _ask(self, rider: int, page: int, per_page: int, *, odd: bool = False) -> Exchange:
        return self._asker.ask(rider, self._tokens[rider], page, per_page, odd=odd)

    def _find_riders(self) -> None:
        refusals = 0
        for number, rider in enumerate(self._seen.riders):
            if len(self._seen.accepted) >= MAX_RIDERS or refusals >= MAX_REFUSALS:
                return
            if not rider.tokens:
                continue
            exchange = self._try_tokens(number, rider.tokens[:MAX_TOKENS])
            if exchange.reading is not None:
                self._seen.accepted.append(number)
                self._first[number] = exchange.reading
            elif exchange.error is not None and exchange.error.kind == Kind.TOKEN_REJECTED:
                self._seen.rejected.append(number)
            else:
                refusals += 1

    def _try_tokens(self, rider: int, tokens: Iterable[Token]) -> Exchange:
        for token in tokens:
            self._tokens[rider] = token
            exchange = self._ask(rider, 1, WALKED_SIZE)
            if exchange.error is None or exchange.error.kind != Kind.TOKEN_REJECTED:
                break
        return exchange

    def _try_sizes(self, rider: int) -> None:
        first = next(one for one in self._seen.exchanges if one.rider == rider and one.reading is not None)
        self._seen.sizes.append(first)
        for size in sorted({*SIZES, self._page_size} - {WALKED_SIZE}):
            self._seen.sizes.append(self._ask(rider, 1, size, odd=True))
        self._seen.sizes.sort(key=lambda one: one.per_page)
        given = [one for one in self._seen.sizes if one.reading is not None]
        largest = given[-1]
        if _count(largest) < largest.per_page:
            self._seen.beyond = self._ask(rider, 2, largest.per_page, odd=True)
            most = max(map(_count, given))
            if brings_new(largest, self._seen.beyond) and most not in {one.per_page for one in given} and most > 0:
                self._seen.confirmed = self._ask(rider, 1, most, odd=True)

    def _repeat(self, rider: int) -> None:
        again = self._ask(rider, 1, WALKED_SIZE).reading
        if again is not None:
            self._seen.repeats.append((self._first[rider], again))

    def _walk(self, rider: int) -> None:
        walk = Walk(rider, [self._first[rider]])
        self._seen.walks.append(walk)
        known = set(walk.identities)
        if not known:
            walk.complete = True
            return
        for number in range(2, MAX_PAGES + 1):
            page = self._ask(rider, number, WALKED_SIZE).reading
            if page is None:
                return
            if known.issuperset(page.identities):
                walk.complete = True
                return
            known.update(page.identities)
            walk.pages.append(page)


def _extent(page: Reading) -> tuple[int, int, int]:
    """Sorts first pages by how long the list seems to be."""
    return page.total or 0, int(page.more or False), len(page.orders)


def _count(exchange: Exchange) -> int:
    return len(exchange.reading.orders) if exchange.reading else 0


def brings_new(first: Exchange, second: Exchange | None) -> bool:
    """Whether `second` lists an order that `first` does not."""
    if first.reading is None or second is None or second.reading is None:
        return False
    return not set(first.reading.identities).issuperset(second.reading.identities)
