"""The closed table of errors, row by row."""

from __future__ import annotations

import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytemark_sync.bytemark.errors import (
    Answer,
    BytemarkError,
    GiveUp,
    Kind,
    PauseRule,
    RateLimited,
    TokenRejected,
    TryAgain,
    classify,
    parse_retry_after,
)

NOW = 1_750_000_000.0
RULE = PauseRule(cap=30.0, now=NOW)
FINE = b'{"data": {"orders": []}, "errors": []}'


def verdict(status: int | None, body: bytes | None = FINE, retry_after: str | None = None, **more: Any) -> Any:
    return classify(Answer(status, retry_after, body, **more), RULE)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (200, None, Kind.OK),
        (201, None, Kind.OK),
        (206, None, Kind.OK),
        (101, TryAgain, Kind.WRONG_SHAPE),
        (300, GiveUp, Kind.REDIRECT),
        (301, GiveUp, Kind.REDIRECT),
        (302, GiveUp, Kind.REDIRECT),
        (304, GiveUp, Kind.REDIRECT),
        (308, GiveUp, Kind.REDIRECT),
        (400, GiveUp, Kind.REFUSED),
        (401, TokenRejected, Kind.TOKEN_REJECTED),
        (402, GiveUp, Kind.REFUSED),
        (403, TokenRejected, Kind.TOKEN_REJECTED),
        (404, GiveUp, Kind.REFUSED),
        (408, TryAgain, Kind.TIMEOUT),
        (410, GiveUp, Kind.REFUSED),
        (418, GiveUp, Kind.REFUSED),
        (422, GiveUp, Kind.REFUSED),
        (429, RateLimited, Kind.RATE_LIMITED),
        (499, GiveUp, Kind.REFUSED),
        (500, TryAgain, Kind.SERVER_ERROR),
        (502, TryAgain, Kind.SERVER_ERROR),
        (503, TryAgain, Kind.SERVER_ERROR),
        (504, TryAgain, Kind.SERVER_ERROR),
        (599, TryAgain, Kind.SERVER_ERROR),
        (700, TryAgain, Kind.WRONG_SHAPE),
    ],
)
@pytest.mark.parametrize("body", [FINE, b"<html>", b""], ids=["json", "html", "empty"])
def test_a_status_decides_whatever_the_body(
    status: int, error: type[BytemarkError] | None, kind: Kind, body: bytes
) -> None:
    found = verdict(status, body)
    if error is None:
        assert found is None
    else:
        assert type(found) is error
        assert found.kind is kind
        assert str(status) in found.detail


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (None, TryAgain, Kind.CUT),
        (200, TryAgain, Kind.CUT),
        (302, GiveUp, Kind.REDIRECT),
        (401, TokenRejected, Kind.TOKEN_REJECTED),
        (403, TokenRejected, Kind.TOKEN_REJECTED),
        (404, GiveUp, Kind.REFUSED),
        (429, RateLimited, Kind.RATE_LIMITED),
        (500, TryAgain, Kind.SERVER_ERROR),
    ],
)
def test_an_unreadable_body_leaves_the_status_its_meaning(
    status: int | None, error: type[BytemarkError], kind: Kind
) -> None:
    found = verdict(status, None, problem=Kind.CUT, detail="the answer was cut")
    assert type(found) is error
    assert found.kind is kind


REJECTING = [
    {"errors": [{"code": 50020, "message": "Invalid session"}]},
    {"errors": [{"code": 50032}]},
    {"errors": [{"code": 50020.0}]},
    {"errors": [{"code": "50020"}]},
    {"errors": [{"code": "50032 "}]},
    {"errors": [{"code": None, "message": "error 50020"}]},
    {"errors": [{"message": "50032: invalid account"}]},
    {"errors": [{"code": 10000}, {"code": 50020}]},
    {"errors": [50020]},
    {"errors": [50032.0]},
    {"errors": ["50020"]},
    {"errors": ["Invalid session (50020)"]},
    {"errors": [None, 50020]},
    {"errors": {"code": 50020}},
    {"errors": {"code": "50032", "message": "x"}},
    {"errors": "50020 invalid session"},
    {"errors": 50020},
    {"error": {"code": 50020}},
    {"error": [{"code": 50032}]},
    {"error": "50020"},
    {"error": 50032},
    {"code": 50020, "message": "Invalid session"},
    {"code": "50032"},
    {"code": 50020.0},
    {"data": {"errors": [{"code": 50020}]}},
    {"data": {"error": {"code": "50032"}}},
    {"data": {"code": 50020}},
    {"data": {"orders": [], "errors": ["50020"]}, "errors": []},
    {"data": {"orders": [{"uuid": "A"}]}, "errors": [{"code": 50020}]},
    {"data": None, "errors": [{"code": 50020}], "error": None},
]


RESET = [
    {"errors": [{"code": 106, "message": "Token reset"}]},
    {"errors": [{"code": "106"}]},
    {"errors": [{"code": 10000}, {"code": 106.0}]},
    {"errors": [{"message": "106: token reset"}]},
    {"errors": [106]},
    {"errors": ["106"]},
    {"errors": ["Token reset (106)"]},
    {"errors": {"code": "106 "}},
    {"errors": "error 106"},
    {"error": 106},
    {"error": "Error code: 106"},
    {"error": {"code": 106}},
    {"code": 106, "message": "Token reset"},
    {"code": "106"},
    {"data": {"error": "106"}},
    {"data": {"orders": []}, "errors": [{"code": 106}]},
]
NO_RESET = ["took 106 ms", "106 ms", "at most 106 orders", "user 106 is gone", "106.5", "1060", "order 5106"]


@pytest.mark.parametrize("status", [200, 302, 304, 400, 404, 429, 500, 503])
@pytest.mark.parametrize("body", RESET, ids=json.dumps)
def test_a_reset_token_is_rejected_on_any_status(body: Any, status: int) -> None:
    found = verdict(status, json.dumps(body).encode())
    assert isinstance(found, TokenRejected)
    assert "106 (token reset)" in found.detail


@pytest.mark.parametrize("text", NO_RESET)
def test_a_text_with_another_number_of_three_digits_rejects_no_token(text: str) -> None:
    assert isinstance(verdict(400, json.dumps({"errors": [text]}).encode()), GiveUp)


@pytest.mark.parametrize("status", [200, 302, 400, 404, 429, 500, 503])
@pytest.mark.parametrize("body", REJECTING, ids=json.dumps)
def test_the_codes_of_a_bad_session_reject_the_token_on_any_status(body: Any, status: int) -> None:
    found = verdict(status, json.dumps(body).encode())
    assert isinstance(found, TokenRejected)
    assert "500" in found.detail


@pytest.mark.parametrize(
    "body",
    [
        {"errors": [{"code": 10000, "message": "Update required"}]},
        {"errors": [{"code": 50011}]},
        {"errors": [{"code": 400104}]},
        {"errors": [{"code": 150020}]},
        {"errors": [{"code": "1500205"}]},
        {"errors": [{"code": 50020.5}]},
        {"errors": [{"code": True}]},
        {"errors": [{"code": 10000, "message": "not 50020"}]},
        {"errors": ["item 950020 is gone"]},
        {"errors": ["something"]},
        {"errors": [{}]},
        {"errors": [None]},
        {"errors": {"message": "something"}},
        {"errors": "something"},
        {"error": "something"},
        {"error": {"message": "something"}},
        {"error": True},
        {"errors": [1e300]},
        {"data": {"orders": [{"uuid": "A", "order_items": []}]}, "errors": [{"code": 10000}]},
        {"data": {"orders": [], "error": "something"}},
    ],
    ids=json.dumps,
)
def test_any_other_error_is_a_failed_request_even_where_orders_are_listed(body: Any) -> None:
    found = verdict(200, json.dumps(body).encode())
    assert isinstance(found, TryAgain)
    assert found.kind is Kind.API_ERROR
    assert found.pause is None


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"error": None},
        {"errors": None},
        {"errors": []},
        {"errors": {}},
        {"error": "", "errors": []},
        {"error": False},
        {"code": 200},
        {"code": 0},
        {"code": "OK"},
        {"code": None},
        {"message": "error 50020 was yesterday"},
    ],
    ids=json.dumps,
)
@pytest.mark.parametrize("inner", [True, False], ids=["inner", "outer"])
def test_an_empty_error_is_no_error(members: dict[str, Any], inner: bool) -> None:
    body = {"data": {"orders": []} | members} if inner else {"data": {"orders": []}} | members
    assert verdict(200, json.dumps(body).encode()) is None


def test_an_error_that_cannot_be_decoded_is_still_an_error() -> None:
    huge = verdict(200, b'{"orders": [], "errors": [' + b"9" * 6000 + b"]}")
    assert isinstance(huge, TryAgain)
    broken_text = verdict(200, b'{"orders": [], "errors": ["\xff 50020"]}')
    assert isinstance(broken_text, TokenRejected)


@pytest.mark.parametrize(
    ("status", "retry_after", "pause"),
    [
        (429, "3", 3.0),
        (429, "0", 0.0),
        (429, "3600", 30.0),
        (429, None, None),
        (429, "soon", None),
        (429, "-5", None),
        (503, "3", 3.0),
        (503, None, None),
        (503, "soon", None),
        (500, "3", None),
        (408, "3", None),
    ],
)
def test_only_429_and_503_with_retry_after_pause_the_whole_process(
    status: int, retry_after: str | None, pause: float | None
) -> None:
    found = verdict(status, retry_after=retry_after)
    assert isinstance(found, RateLimited if status == 429 else TryAgain)
    assert found.pause == pause


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("31", 30.0),
        ("9" * 5000, 30.0),
        ("-1", None),
        ("inf", None),
        ("nan", None),
        ("1e3", None),
        ("٣", None),
        ("soon", None),
        (formatdate(NOW + 10, usegmt=True), 10.0),
        (formatdate(NOW + 1000, usegmt=True), 30.0),
        (formatdate(NOW - 10, usegmt=True), None),
        ("Sun, 99 Nov 2026 25:99:99 GMT", None),
        ("Mon, 01 Jan 99999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_bounded_by_the_cap(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=NOW, cap=30.0) == seconds


@given(st.text())
def test_no_retry_after_raises(value: str) -> None:
    seconds = parse_retry_after(value, now=NOW, cap=30.0)
    assert seconds is None or 0 <= seconds <= 30


def test_the_servers_words_are_never_repeated_for_they_may_hold_the_token() -> None:
    body = json.dumps({"errors": [{"message": "token made-up-key-1 is bad"}, "made-up-key-1"]}).encode()
    for status in (200, 302, 401, 404, 429, 500):
        found = verdict(status, body)
        assert "made-up-key-1" not in found.detail + str(found) + repr(found)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([50020, "50032", "code"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["code", "message", "errors", "error", "data", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.integers(100, 999),
    st.dictionaries(st.sampled_from(["errors", "error", "code", "data", "orders"]), json_values),
)
def test_any_json_gets_a_verdict(status: int, body: Any) -> None:
    found = verdict(status, json.dumps(body).encode())
    assert found is None or isinstance(found, BytemarkError)


@given(st.binary())
def test_any_bytes_get_a_verdict(body: bytes) -> None:
    assert verdict(200, body) is None or isinstance(verdict(200, body), BytemarkError)
