"""One user's orders by pages, attempts and tokens (docs/contract.md#towards-bytemark). HTTP alone."""

from __future__ import annotations

from collections.abc import Generator

from bytemark_sync.bytemark.answers import Page
from bytemark_sync.bytemark.attempts import Attempts
from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.errors import BytemarkError, GiveUp, Interrupted, Kind, TokenRejected, TryAgain
from bytemark_sync.bytemark.token import Token
from bytemark_sync.matching import Matcher, PendingUser, UserResult
from bytemark_sync.reasons import Reason

MAX_PAGES = 2000
"""The hard bound of one list: a server that invents orders for ever must not hold a worker."""

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
    """
    matcher = Matcher(user.orders)
    if not user.tokens:
        return _failed(user, matcher, Reason.NO_TOKEN, "The user has no token, neither on an order nor of its own.")
    attempts = Attempts(client.settings.max_attempts)
    rejected = ""
    try:
        for token in user.tokens:
            try:
                yield from _read_list(client, token, matcher, attempts, max_pages)
            except TokenRejected as error:
                rejected = error.detail
            else:
                found, left = matcher.result(Reason.NOT_FOUND, "Bytemark does not list the order.")
                return UserResult(user.user_id, found, left)
    except Interrupted:
        matched = matcher.matched()
        return UserResult(user.user_id, matched.found, matched.left, interrupted=True)
    except BytemarkError as error:
        cost = f" (failed requests: {attempts.used})" if attempts.used else ""  # a refusal costs no attempt
        return _failed(user, matcher, Reason.API_ERROR, error.detail + cost)
    tokens = "The user's only token was" if len(user.tokens) == 1 else f"All {len(user.tokens)} tokens were"
    return _failed(user, matcher, Reason.TOKEN_REJECTED, f"{tokens} rejected; the last: {rejected}")


def _failed(user: PendingUser, matcher: Matcher, reason: Reason, detail: str) -> UserResult:
    found, left = matcher.result(reason, detail)
    return UserResult(user.user_id, found, left, failure=reason, detail=detail[:500])


def _read_list(
    client: BytemarkClient, token: Token, matcher: Matcher, attempts: Attempts, max_pages: int
) -> Generator[int, None, None]:
    """Read pages until every wanted order is settled or the list ends; raises what ends the token or the user."""
    seen: set[str] = set()
    if matcher.settled:
        return
    for number in range(1, max_pages + 1):
        page = _get_page(client, token, number, attempts)
        matcher.take(page.orders, token)
        if _is_last(page, seen, client.settings.page_size) or matcher.settled:
            return
        yield 1 if page.total_count is None else -(-(page.total_count - len(seen)) // client.settings.page_size)
    raise GiveUp(Kind.WRONG_SHAPE, f"the list of orders did not end within {max_pages} pages")


def _is_last(page: Page, seen: set[str], page_size: int) -> bool:
    """Whether the list ends here; adds the page's orders to `seen`."""
    before = len(seen)
    seen.update(order.identity for order in page.orders)
    if len(seen) == before:
        # Empty, or nothing new: the server ignores `page`, and would go on for ever.
        return True
    if page.total_count is not None:
        return page.total_count <= len(seen)
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
