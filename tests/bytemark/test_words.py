"""What a person reads about an answer or an order, to the letter: it is all that the admin and the log have to show."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from bytemark_sync.bytemark.answers import decode_page
from bytemark_sync.bytemark.errors import Answer, Interrupted, Kind, PauseRule, TryAgain, classify, parse_retry_after
from bytemark_sync.bytemark.refusals import Refusal, mend
from bytemark_sync.bytemark.token import Token
from bytemark_sync.matching import Matcher, WantedOrder
from bytemark_sync.reasons import Reason

NOW = 1_750_000_000.0


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ((), "the answer carries an error without a code"),
        ((50020,), "the answer carries error 50020 (invalid session)"),
        ((50032, 4711), "the answer carries error 50032 (invalid account), 4711"),
        ((1, 10000, 50011, 400104), "the answer carries error 1, 10000 (update required), 50011 (lost device)"),
        ((400104,), "the answer carries error 400104 (user not registered)"),
    ],
)
def test_the_words_for_a_refusal(codes: tuple[int, ...], words: str) -> None:
    assert Refusal(True, codes).words() == words


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (302, b"", "HTTP 302: a redirect, which is never followed"),
        (401, b"", "HTTP 401: the token is rejected"),
        (403, b"", "HTTP 403: the token is rejected"),
        (404, b"", "HTTP 404: the request is refused"),
        (
            404,
            b'{"errors": [{"code": 50011}]}',
            "HTTP 404: the request is refused (the answer carries error 50011 (lost device))",
        ),
        (408, b"", "HTTP 408: the server gave up waiting"),
        (429, b"", "HTTP 429: too many requests"),
        (500, b'{"errors": []}', "HTTP 500: the server failed"),
        (500, b'{"error": "x"}', "HTTP 500: the server failed (the answer carries an error without a code)"),
        (200, b'{"error": "x"}', "HTTP 200: the answer carries an error without a code"),
        (500, b'{"code": 50020}', "HTTP 500: the answer carries error 50020 (invalid session)"),
        (700, b"", "HTTP 700: not a known status"),
    ],
)
def test_the_words_for_a_status(status: int, body: bytes, words: str) -> None:
    error = classify(Answer(status, None, body), PauseRule(cap=30.0, backoff=2.0, now=NOW))
    assert error is not None
    assert (error.detail, str(error)) == (words, words)


def test_the_words_of_a_stop() -> None:
    stopped = Interrupted()
    assert (stopped.kind, stopped.detail) == (Kind.INTERRUPTED, "the run was asked to stop")


@pytest.mark.parametrize(("ahead", "seconds"), [(0.0, 0.0), (0.5, 0.5), (20.0, 20.0), (99.0, 30.0), (-0.5, None)])
def test_a_date_in_retry_after_is_reckoned_from_now(ahead: float, seconds: float | None) -> None:
    """A date has whole seconds, the clock has not."""
    date = formatdate(NOW, usegmt=True)
    assert parse_retry_after(date, now=NOW - ahead, cap=30.0) == seconds
    error = classify(Answer(503, date, b""), PauseRule(cap=30.0, backoff=2.0, now=NOW - ahead))
    assert isinstance(error, TryAgain)
    assert error.pause == seconds


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (b'{"uuid": "\xff", "order_items": []}', "the order is not readable JSON"),
        (b'{"uuid": " ", "order_items": []}', "the order uuid is blank"),
        (b'{"uuid": "' + b"u" * 256 + b'", "order_items": []}', "the order uuid is longer than 255"),
        (b'{"uuid": "a\\u0000", "order_items": []}', "the order uuid holds characters that are no text"),
        (b'{"uuid": "a\\ud83d", "order_items": []}', "the order uuid holds characters that are no text"),
        (
            b'{"uuid": "a", "order_items": [{"product": {"uuid": ""}, "passes": []}]}',
            "the product uuid is blank",
        ),
        (
            b'{"uuid": "a", "order_items": [{"product": {"uuid": "p"}, "passes": [{"uuid": ""}]}]}',
            "the pass uuid is blank",
        ),
        (b'{"uuid": "a"}', "Object missing required field `order_items`"),
    ],
)
def test_the_words_for_a_malformed_order(order: bytes, words: str) -> None:
    (malformed,) = decode_page(b'{"orders": [' + order + b"]}").orders
    assert getattr(malformed, "detail", None) == words


def test_half_an_emoji_becomes_exactly_one_nul() -> None:
    assert mend(b'"a\\ud83d b \\uD83D\\uDE00 \\\\ud83d"') == b'"a\\u0000 b \\uD83D\\uDE00 \\\\ud83d"'


@pytest.mark.parametrize(
    ("uuid", "listed", "reason", "words"),
    [
        ("", b"", Reason.MALFORMED, "The portal's order has no uuid to look for."),
        ("o1", b'{"uuid": "O1", "order_items": []}', Reason.NO_PASSES, "Bytemark lists the order without a pass."),
        (
            "o1",
            b'{"uuid": "O1", "order_items": 7}',
            Reason.MALFORMED,
            "Bytemark lists the order in a form that cannot be used: Expected `array`, got `int` - at `$.order_items`",
        ),
        ("o1", b"", Reason.API_ERROR, "x" * 500),
    ],
)
def test_the_words_for_an_order_that_is_left(uuid: str, listed: bytes, reason: Reason, words: str) -> None:
    matcher = Matcher([WantedOrder(1, uuid)])
    matcher.take(decode_page(b'{"orders": [' + listed + b"]}").orders, Token("made-up-key"))
    (left,) = matcher.result(Reason.API_ERROR, "x" * 600)[1]
    assert (left.reason, left.detail) == (reason, words)


def test_a_token_never_shows_itself() -> None:
    token = Token("made-up-key")
    assert f"{token} {token!r} {[token]}" == "Token(hidden) Token(hidden) [Token(hidden)]"
