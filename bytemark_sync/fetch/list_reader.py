"""Reads one user's list of orders page by page, from where an earlier try or token left off."""

from __future__ import annotations

import hashlib
from collections.abc import Generator

from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.decoding import Page
from bytemark_sync.bytemark.errors import GiveUp, Kind
from bytemark_sync.bytemark.longest_page import LongestPage
from bytemark_sync.bytemark.retry import Attempts
from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import Bookmark, Matcher
from bytemark_sync.fetch.repeating import repeated


class ListReader:
    """One user's list. `bookmark` says how far it is read, `answered` which tokens were given a page."""

    def __init__(
        self, client: BytemarkClient, matcher: Matcher, attempts: Attempts, bookmark: Bookmark, max_pages: int
    ) -> None:
        self._client = client
        self._matcher = matcher
        self._attempts = attempts
        self._bookmark = bookmark
        self._max_pages = max_pages
        self.answered: set[Token] = set()

    def read(self, token: Token, *, goes_on: bool = False) -> Generator[int, None, None]:
        """Read pages until every wanted order is settled or the list ends. Raises what ends the token or the user.

        Another token than the bookmark's begins at page 1, unless it `goes_on`, as a renewed one does.
        """
        if self._matcher.settled:
            return
        if goes_on and self._bookmark.page:
            self._bookmark.token = token
        elif self._bookmark.token != token:
            self._begin(token)
        yield from self._read_pages(token)
        if self._matcher.settled or not self._bookmark.shifted:
            return
        if not self._bookmark.again:
            self._begin(token, again=True)
            yield from self._read_pages(token)
        if self._bookmark.shifted and not self._matcher.settled:
            raise GiveUp(Kind.WRONG_SHAPE, "the list of orders changed each time while it was read")

    def _begin(self, token: Token, *, again: bool = False) -> None:
        bookmark = self._bookmark
        bookmark.token, bookmark.page, bookmark.mark, bookmark.before = token, 0, "", 0
        bookmark.shifted, bookmark.again = False, again

    def _read_pages(self, token: Token) -> Generator[int, None, None]:
        """From the bookmark. The bookmark's page is read again to see whether the list shifted."""
        seen: set[str] = set()
        earlier = self._bookmark.before
        longest = self._client.longest_page
        for number in range(max(self._bookmark.page, 1), self._max_pages + 1):
            page = yield from self._get_page(token, number)
            self._matcher.take(page.orders, token)
            before = earlier + len(seen)
            seen.update(order.identity for order in page.orders)
            count = earlier + len(seen)
            _keep(self._bookmark, number, page, before)
            # Without anything new the list ends: a server that ignores `page` would never reach an end.
            if self._matcher.settled or count == before or not _has_more(page, count, longest):
                return
            yield _pages_left(page, count, longest)
        raise GiveUp(Kind.WRONG_SHAPE, f"the list of orders did not end within {self._max_pages} pages")

    def _get_page(self, token: Token, number: int) -> Generator[int, None, Page]:
        def send() -> Page:
            return self._client.get_page(token, number, user=self._attempts.user, attempt=self._attempts.used + 1)

        page = yield from repeated(self._client, self._attempts, send)
        self.answered.add(token)
        return page


def _keep(bookmark: Bookmark, number: int, page: Page, before: int) -> None:
    mark = hashlib.sha256("\0".join(order.identity for order in page.orders).encode()).hexdigest()[:32]
    if number > bookmark.page:
        bookmark.pages += 1
    elif mark != bookmark.mark:
        bookmark.shifted = True
    bookmark.page, bookmark.mark, bookmark.before = number, mark, before


def _has_more(page: Page, count: int, longest: LongestPage) -> bool:
    """Whether the list goes on behind a page, by the signals that it carries; `count` orders were seen so far.

    Fewer than `count` cannot be the total: such a `total_count` counts as absent.
    """
    total = page.total_count if page.total_count is not None and page.total_count >= count else None
    if total is None and page.has_next is None:
        return longest.is_full(page)
    return bool(page.has_next) or (total is not None and total > count)


def _pages_left(page: Page, count: int, longest: LongestPage) -> int:
    """Pages still to come, at least 1, by what the server fills."""
    return max(1, -(-((page.total_count or 0) - count) // longest.length))
