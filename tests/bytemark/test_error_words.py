"""What a person reads about an answer or an order, to the letter: it is all that the admin and the log have to show."""

from __future__ import annotations

import socket
import ssl
from email.utils import formatdate

import pytest
import requests
import urllib3.exceptions

from bytemark_sync.bytemark.body_errors import Refusal, mend, read_refusal
from bytemark_sync.bytemark.decoding import decode_page
from bytemark_sync.bytemark.errors import Answer, Interrupted, Kind, PauseRule, TryAgain, classify, parse_retry_after
from bytemark_sync.bytemark.token import Token
from bytemark_sync.bytemark.transport_errors import describe
from bytemark_sync.domain.matching import Matcher, WantedOrder
from bytemark_sync.domain.reasons import Reason

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
        (304, b"", "HTTP 304: not modified, which only a cache may say; is one in between?"),
        (200, b'{"code": 106}', "HTTP 200: the answer carries error 106 (token reset)"),
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
    error = classify(Answer(status, None, body), PauseRule(cap=30.0, now=NOW))
    assert error is not None
    assert (error.detail, str(error)) == (words, words)


def test_codes_that_reject_a_token_are_told_first() -> None:
    body = b'{"errors": [{"code": 10000}, {"code": 50032}, {"code": 50011}]}'
    assert read_refusal(body) == Refusal(True, (50032, 10000, 50011))


def test_any_status_of_success_is_decided_by_its_body() -> None:
    rule = PauseRule(cap=30.0, now=NOW)
    assert [classify(Answer(status, None, b"{}"), rule) for status in (200, 299)] == [None, None]
    cut = classify(Answer(200, None, None, Kind.CUT, "the answer was cut"), rule)
    assert isinstance(cut, TryAgain)
    assert (cut.kind, cut.detail) == (Kind.CUT, "the answer was cut")


def test_the_words_of_a_stop() -> None:
    stopped = Interrupted()
    assert (stopped.kind, stopped.detail) == (Kind.INTERRUPTED, "the run was asked to stop")


@pytest.mark.parametrize(("ahead", "seconds"), [(0.0, 0.0), (0.5, 0.5), (20.0, 20.0), (99.0, 30.0), (-0.5, None)])
def test_a_date_in_retry_after_is_reckoned_from_now(ahead: float, seconds: float | None) -> None:
    """A date has whole seconds, the clock has not."""
    date = formatdate(NOW, usegmt=True)
    assert parse_retry_after(date, now=NOW - ahead, cap=30.0) == seconds
    error = classify(Answer(503, date, b""), PauseRule(cap=30.0, now=NOW - ahead))
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


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b"", Kind.NOT_JSON, "the answer is not JSON (0 bytes)"),
        (b"<html>", Kind.NOT_JSON, "the answer is not JSON (6 bytes)"),
        (b"[]", Kind.WRONG_SHAPE, "the answer is JSON, but not an object"),
        (b"7", Kind.WRONG_SHAPE, "the answer is JSON, but not an object"),
        (b"{}", Kind.WRONG_SHAPE, "the answer is JSON, but holds no list of orders"),
        (b'{"data": {"orders": {}}}', Kind.WRONG_SHAPE, "the answer is JSON, but holds no list of orders"),
    ],
)
def test_the_words_for_what_is_no_page(body: bytes, kind: Kind, words: str) -> None:
    with pytest.raises(TryAgain) as failed:
        decode_page(body)
    assert (failed.value.kind, failed.value.detail) == (kind, words)


def wrapped(error: BaseException, *, depth: int = 1) -> BaseException:
    """As urllib3 and requests wrap what the socket raised."""
    for _ in range(depth):
        error = requests.ConnectionError(error)
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (socket.gaierror(-2, "x"), "the host's name cannot be resolved"),
        (ssl.SSLCertVerificationError("x"), "the server's certificate is not trusted"),
        (ssl.SSLError("x"), "TLS failed"),
        (ConnectionRefusedError(111, "x"), "the connection was refused"),
        (ConnectionResetError(104, "x"), "the connection was reset"),
        (urllib3.exceptions.DecodeError("x"), "it cannot be unpacked"),
        (OSError("x"), "the connection broke"),
        (ValueError("x"), "the connection broke"),
    ],
)
@pytest.mark.parametrize("depth", [0, 1, 10])
def test_the_words_for_a_connection(error: Exception, words: str, depth: int) -> None:
    error = wrapped(error, depth=depth)  # type: ignore[assignment]
    before = describe(error, in_body=False, deadline_passed=False)
    assert before == (Kind.CONNECTION, f"no answer: {words}")
    after = describe(error, in_body=True, deadline_passed=False)
    assert after == (Kind.CUT, f"the answer was cut: {words}")
    late = describe(error, in_body=False, deadline_passed=True)
    assert late == (Kind.DEADLINE, "the answer was not complete within the deadline")


@pytest.mark.parametrize("error", [TimeoutError("x"), requests.ReadTimeout("x"), requests.ConnectTimeout("x")])
def test_the_words_for_a_silence(error: Exception) -> None:
    silent = wrapped(error)
    assert describe(silent, in_body=False, deadline_passed=False) == (
        Kind.TIMEOUT,
        "the server did not answer in time",
    )
    assert describe(silent, in_body=True, deadline_passed=False) == (Kind.TIMEOUT, "the answer stopped coming")


def test_a_cause_and_a_context_are_looked_at() -> None:
    for name in ("__cause__", "__context__", "reason"):
        error = OSError()
        setattr(error, name, ConnectionRefusedError())
        told = describe(error, in_body=False, deadline_passed=False)
        assert told == (Kind.CONNECTION, "no answer: the connection was refused")


def test_a_refused_connection_is_no_timeout_though_urllib3_counts_it_as_one() -> None:
    error = urllib3.exceptions.NewConnectionError(None, "x")  # type: ignore[arg-type]
    assert isinstance(error, urllib3.exceptions.TimeoutError)
    told = describe(wrapped(error), in_body=False, deadline_passed=False)
    assert told == (Kind.CONNECTION, "no answer: the connection broke")


def test_errors_that_hold_each_other_are_told_all_the_same() -> None:
    one, other = OSError("one"), OSError("other")
    one.__cause__, other.__cause__ = other, one
    told = describe(one, in_body=False, deadline_passed=False)
    assert told == (Kind.CONNECTION, "no answer: the connection broke")


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
