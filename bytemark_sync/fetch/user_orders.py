"""One user's orders by pages, attempts and tokens (docs/contract.md#towards-bytemark). HTTP alone."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import replace

from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.decoding import Page
from bytemark_sync.bytemark.errors import BytemarkError, GiveUp, Interrupted, Kind, TokenRejected, TryAgain
from bytemark_sync.bytemark.retry import Attempts
from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import Bookmark, Matcher, PendingUser, UserResult
from bytemark_sync.domain.reasons import Reason

MAX_PAGES = 2000
"""The hard bound of one list: a server that invents orders for ever must not hold a worker."""

MAX_READS = 3
"""Times `MAX_PAGES`: what all tries of one user in a run may read, whatever shifts and whichever token comes back."""

Steps = Generator[int, None, UserResult]
"""A fetch that pauses after each page, telling how many pages are to come as far as is known.

Any thread may go on with it, one at a time.
"""


def fetch_user(client: BytemarkClient, user: PendingUser, *, max_pages: int = MAX_PAGES) -> UserResult:
    """Look for the user's pending orders, in one go; see `fetch_steps`."""
    steps = fetch_steps(client, user, max_pages=max_pages)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: UserResult = end.value
            return result


def fetch_steps(client: BytemarkClient, user: PendingUser, *, max_pages: int = MAX_PAGES) -> Steps:
    """Look for the user's pending orders, a page a step; never raises for what the API does.

    What was found stays found, whatever fails later. An order that was listed keeps the reason that its listing gives
    (no passes, malformed); one that no page listed has the user's failure as its reason, or `not_found`.

    A user with a bookmark goes on there, and one whose fetch is interrupted gets one. Between two tries the list may
    shift: what is not found then is looked for once more from page 1, before it is called so.
    """
    matcher = Matcher(user.orders)
    if not user.tokens:
        return _failed(user, matcher, Reason.NO_TOKEN, "The user has no token, neither on an order nor of its own.")
    bookmark = replace(user.bookmark) if user.bookmark else Bookmark()
    attempts = Attempts(client.settings.max_attempts, used=bookmark.attempts)
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
        cost = f" (failed requests: {attempts.used})" if attempts.used else ""  # a refusal costs no attempt
        return _failed(user, matcher, Reason.API_ERROR, error.detail + cost)
    tokens = "The user's only token was" if len(user.tokens) == 1 else f"All {len(user.tokens)} tokens were"
    return _failed(user, matcher, Reason.TOKEN_REJECTED, f"{tokens} rejected; the last: {rejected}")


def _failed(user: PendingUser, matcher: Matcher, reason: Reason, detail: str) -> UserResult:
    found, left = matcher.result(reason, detail)
    return UserResult(user.user_id, found, left, failure=reason, detail=detail[:500])


def _from(token: Token | None, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """The tokens as they come behind the one that is being read with; last those that were rejected before it."""
    at = tokens.index(token) if token in tokens else 0
    return tokens[at:] + tokens[:at]


def _read_list(
    client: BytemarkClient, token: Token, matcher: Matcher, attempts: Attempts, bookmark: Bookmark, max_pages: int
) -> Generator[int, None, None]:
    """Read pages until every wanted order is settled or the list ends; raises what ends the token or the user."""
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
    """As `_read_list`, from the bookmark to the end, once. The page of the bookmark is read again, to see a shift."""
    seen: set[str] = set()
    earlier = bookmark.before
    for number in range(max(bookmark.page, 1), max_pages + 1):
        page = _get_page(client, token, number, attempts)
        matcher.take(page.orders, token)
        before = earlier + len(seen)
        is_last = _is_last(page, earlier, seen, client.settings.page_size)
        _keep(bookmark, number, page, before)
        if is_last or matcher.settled:
            return
        left = None if page.total_count is None else page.total_count - earlier - len(seen)
        yield 1 if left is None else -(-left // client.settings.page_size)
    raise GiveUp(Kind.WRONG_SHAPE, f"the list of orders did not end within {max_pages} pages")


def _keep(bookmark: Bookmark, number: int, page: Page, before: int) -> None:
    mark = hashlib.sha256("\0".join(order.identity for order in page.orders).encode()).hexdigest()[:32]
    if number > bookmark.page:
        bookmark.pages += 1
    elif mark != bookmark.mark:
        bookmark.shifted = True
    bookmark.page, bookmark.mark, bookmark.before = number, mark, before


def _is_last(page: Page, earlier: int, seen: set[str], page_size: int) -> bool:
    """Whether the list ends here; adds the page's orders to `seen`, which an `earlier` try had seen so many before."""
    before = len(seen)
    seen.update(order.identity for order in page.orders)
    if len(seen) == before:
        # Empty, or nothing new: the server ignores `page`, and would go on for ever.
        return True
    if page.total_count is not None:
        return page.total_count <= earlier + len(seen)
    return len(page.orders) < page_size


def _get_page(client: BytemarkClient, token: Token, number: int, attempts: Attempts) -> Page:
    """One page, asked again after each failure while the user has attempts left."""
    while True:
        try:
            return client.get_page(token, number, attempt=attempts.used + 1)
        except TryAgain as error:
            if not attempts.spend():
                raise
            # `Event.wait`, not `sleep`: a stop ends the backoff at once.
            if client.stop.wait(client.backoff.delay(attempts.used)):
                raise Interrupted from error
            client.stats.retry()
