"""One user's orders by pages, attempts and tokens (docs/contract.md#towards-bytemark). HTTP alone."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator
from dataclasses import replace

from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.decoding import Page
from bytemark_sync.bytemark.errors import (
    BytemarkError,
    Eras,
    GiveUp,
    Interrupted,
    Kind,
    RateLimited,
    TokenRejected,
    TryAgain,
)
from bytemark_sync.bytemark.longest_page import LongestPage
from bytemark_sync.bytemark.retry import Attempts
from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import Bookmark, Matcher, PendingUser, UserResult
from bytemark_sync.domain.reasons import Reason

MAX_PAGES = 2000
"""The most pages of one list. A server that invents orders without end must not hold a thread."""

MAX_READS = 3
"""Times `MAX_PAGES`: the most pages that all tries of one user in a run may read."""

Steps = Generator[int, None, UserResult]
"""A fetch that pauses after each page and yields the number of pages still to come, as far as it is known.

Any thread may continue it, but only one at a time.
"""


def fetch_user(client: BytemarkClient, user: PendingUser, *, max_pages: int = MAX_PAGES) -> UserResult:
    """Look for the user's pending orders without a pause; see `fetch_steps`."""
    steps = fetch_steps(client, user, max_pages=max_pages)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: UserResult = end.value
            return result


def fetch_steps(client: BytemarkClient, user: PendingUser, *, max_pages: int = MAX_PAGES) -> Steps:
    """Look for the user's pending orders, one page a step. No answer of the API makes it raise.

    A found order stays found, even if a later page fails. A listed order keeps the reason of its listing (no passes,
    malformed). An order that no page listed gets the user's failure as its reason, or `not_found`.

    An interrupted fetch gives a bookmark, and a user with a bookmark continues there. The list may have shifted in
    between. Orders that were not found are then looked for once more from page 1, before they are `not_found`.
    """
    matcher = Matcher(user.orders)
    if not user.tokens:
        return _failed(user, matcher, Reason.NO_TOKEN, "The user has no token, on no order and not in bytemark_tokens.")
    bookmark = replace(user.bookmark) if user.bookmark else Bookmark()
    attempts = Attempts(
        client.settings.max_attempts, client.outage.is_forgiven, user=user.user_id, used=bookmark.attempts
    )
    rejected = ""
    try:
        if bookmark.pages >= MAX_READS * max_pages:
            raise GiveUp(
                Kind.WRONG_SHAPE, f"the list of orders did not end within {bookmark.pages} pages, in all tries"
            )
        for token in _from(bookmark.token, user.tokens):
            try:
                yield from _read_list(client, token, matcher, attempts, bookmark, max_pages)
            except TokenRejected as error:
                rejected = error.detail
            else:
                found, left = matcher.result(Reason.NOT_FOUND, "Bytemark does not list the order.")
                return UserResult(user.user_id, found, left)
    except Interrupted:
        matched = matcher.matched()
        bookmark.attempts = attempts.used
        return UserResult(user.user_id, matched.found, matched.left, interrupted=True, bookmark=bookmark)
    except BytemarkError as error:
        cost = f" (failed requests: {attempts.used})" if attempts.used else ""  # a rejected token costs no attempt
        return _failed(user, matcher, Reason.API_ERROR, error.detail + cost)
    tokens = "The user's only token was" if len(user.tokens) == 1 else f"All {len(user.tokens)} tokens were"
    return _failed(user, matcher, Reason.TOKEN_REJECTED, f"{tokens} rejected; the last: {rejected}")


def _failed(user: PendingUser, matcher: Matcher, reason: Reason, detail: str) -> UserResult:
    found, left = matcher.result(reason, detail)
    return UserResult(user.user_id, found, left, failure=reason, detail=detail[:500])


def _from(token: Token | None, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """The tokens from `token` on. Those before it, which were rejected, come last."""
    at = tokens.index(token) if token in tokens else 0
    return tokens[at:] + tokens[:at]


def _read_list(
    client: BytemarkClient, token: Token, matcher: Matcher, attempts: Attempts, bookmark: Bookmark, max_pages: int
) -> Generator[int, None, None]:
    """Read pages until every wanted order is settled or the list ends. Raises what ends the token or the user."""
    if matcher.settled:
        return
    if bookmark.token != token:
        _begin(bookmark, token)
    yield from _read_pages(client, token, matcher, attempts, bookmark, max_pages)
    if matcher.settled or not bookmark.shifted:
        return
    if not bookmark.again:
        _begin(bookmark, token, again=True)
        yield from _read_pages(client, token, matcher, attempts, bookmark, max_pages)
    if bookmark.shifted and not matcher.settled:
        raise GiveUp(Kind.WRONG_SHAPE, "the list of orders changed each time while it was read")


def _begin(bookmark: Bookmark, token: Token, *, again: bool = False) -> None:
    bookmark.token, bookmark.page, bookmark.mark, bookmark.before = token, 0, "", 0
    bookmark.shifted, bookmark.again = False, again


def _read_pages(
    client: BytemarkClient, token: Token, matcher: Matcher, attempts: Attempts, bookmark: Bookmark, max_pages: int
) -> Generator[int, None, None]:
    """As `_read_list`, but from the bookmark. The bookmark's page is read again to see whether the list shifted."""
    seen: set[str] = set()
    earlier = bookmark.before
    for number in range(max(bookmark.page, 1), max_pages + 1):
        page = yield from _get_page(client, token, number, attempts)
        matcher.take(page.orders, token)
        before = earlier + len(seen)
        seen.update(order.identity for order in page.orders)
        count = earlier + len(seen)
        _keep(bookmark, number, page, before)
        # Without anything new the list ends: a server that ignores `page` would never reach an end.
        if matcher.settled or count == before or not _has_more(page, count, client.longest_page):
            return
        yield _pages_left(page, count, client.longest_page)
    raise GiveUp(Kind.WRONG_SHAPE, f"the list of orders did not end within {max_pages} pages")


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


def _get_page(client: BytemarkClient, token: Token, number: int, attempts: Attempts) -> Generator[int, None, Page]:
    """One page. It is requested again after each failure while the user has attempts left.

    A refusal for the rate (429) costs none, unless this user alone gets nothing else for `outage_patience`.
    """
    refused_since: float | None = None
    while True:
        try:
            return client.get_page(token, number, user=attempts.user, attempt=attempts.used + 1)
        except RateLimited:
            now = time.monotonic()
            refused_since = refused_since or now
            if now - refused_since > client.settings.outage_patience and client.gate.last_good_at > refused_since:
                raise
        except TryAgain as error:
            if not attempts.spend(error.eras) and not (yield from _is_forgiven(client, attempts, error.eras)):
                raise
            client.back_off(attempts.used)
        if not client.outage.is_open:
            yield 1  # so that the next trial is another user's
        client.stats.retry()


def _is_forgiven(client: BytemarkClient, attempts: Attempts, eras: Eras) -> Generator[int, None, bool]:
    """Whether the failures that used up the attempts belong to an outage. Waits until that is known."""
    client.settle()
    if not attempts.are_left and client.outage.is_unclear(eras):
        yield 1  # others have their turn first: if they are answered, the failures are this user's own
        client.settle()
    return attempts.are_left
