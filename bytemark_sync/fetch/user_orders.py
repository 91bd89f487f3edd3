"""One user's orders by pages, attempts and tokens (docs/contract.md#towards-bytemark). HTTP alone."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from bytemark_sync.bytemark.account import AccountClient
from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.errors import BytemarkError, GiveUp, Interrupted, Kind, TokenRejected
from bytemark_sync.bytemark.retry import Attempts
from bytemark_sync.bytemark.token import Token
from bytemark_sync.domain.matching import Bookmark, Matcher, PendingUser, UserResult
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.fetch.list_reader import ListReader
from bytemark_sync.fetch.questions import Answer, Question
from bytemark_sync.fetch.token_source import TokenSource

MAX_PAGES = 2000
"""The most pages of one list. A server that invents orders without end must not hold a thread."""

MAX_READS = 3
"""Times `MAX_PAGES`: the most pages that all tries of one user in a run may read."""

Steps = Generator[int | Question, Answer | None, UserResult]
"""A fetch that pauses after each page and yields the number of pages still to come, as far as it is known.

With an account client it also yields questions, and goes on when it is sent the answer. Any thread may continue it, but
only one at a time.
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


def fetch_steps(
    client: BytemarkClient, user: PendingUser, account: AccountClient | None = None, *, max_pages: int = MAX_PAGES
) -> Steps:
    """Look for the user's pending orders, one page a step. No answer of the API makes it raise.

    A found order stays found, even if a later page fails. A listed order keeps the reason of its listing (no passes,
    malformed). An order that no page listed gets the user's failure as its reason, or `not_found`.

    An interrupted fetch gives a bookmark, and a user with a bookmark continues there. The list may have shifted in
    between. Orders that were not found are then looked for once more from page 1, before they are `not_found`.

    With `account`, other tokens are asked for when those of the user are used up, and the list is read on with them.
    """
    matcher = Matcher(user.orders)
    bookmark = replace(user.bookmark) if user.bookmark else Bookmark()
    attempts = Attempts(
        client.settings.max_attempts, client.outage.is_forgiven, user=user.user_id, used=bookmark.attempts
    )
    tokens = TokenSource(client, user, _from(bookmark.token, user.tokens), account, attempts)
    reader = ListReader(client, matcher, attempts, bookmark, max_pages)
    try:
        if bookmark.pages >= MAX_READS * max_pages:
            raise GiveUp(
                Kind.WRONG_SHAPE, f"the list of orders did not end within {bookmark.pages} pages, in all tries"
            )
        while (token := (yield from tokens.next())) is not None:
            stood = replace(bookmark)
            try:
                yield from reader.read(token, goes_on=token in tokens.given)
            except TokenRejected as error:
                tokens.rejected(token, error.detail, was_answered=token in reader.answered)
                if not bookmark.page:
                    _stand(bookmark, stood)
            else:
                found, left = matcher.result(Reason.NOT_FOUND, "Bytemark does not list the order.")
                return UserResult(user.user_id, found, left, worked=token)
    except Interrupted:
        matched = matcher.matched()
        bookmark.attempts = attempts.used
        return UserResult(
            user.user_id, matched.found, matched.left, interrupted=True, bookmark=bookmark, login=tokens.login
        )
    except BytemarkError as error:
        cost = f" (failed requests: {attempts.used})" if attempts.used else ""  # a rejected token costs no attempt
        failed = _failed(user, matcher, Reason.API_ERROR, error.detail + cost)
    else:
        reason = Reason.TOKEN_REJECTED if tokens.tried else Reason.NO_TOKEN
        failed = _failed(user, matcher, reason, tokens.words())
    return replace(failed, attempts=attempts.used, login=tokens.login)


def _failed(user: PendingUser, matcher: Matcher, reason: Reason, detail: str) -> UserResult:
    found, left = matcher.result(reason, detail)
    return UserResult(user.user_id, found, left, failure=reason, detail=detail[:500])


def _stand(bookmark: Bookmark, at: Bookmark) -> None:
    """Go back to where the list stood before a token that was given no page."""
    bookmark.token, bookmark.page, bookmark.mark, bookmark.before = at.token, at.page, at.mark, at.before
    bookmark.shifted, bookmark.again = at.shifted, at.again


def _from(token: Token | None, tokens: tuple[Token, ...]) -> tuple[Token, ...]:
    """The tokens from `token` on. Those before it, which were rejected, come last."""
    at = tokens.index(token) if token in tokens else 0
    return tokens[at:] + tokens[:at]
