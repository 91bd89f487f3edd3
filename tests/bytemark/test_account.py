"""The account API's client against a real server over sockets, and the table of its errors row by row."""

from __future__ import annotations

import json
import threading
import traceback
from typing import Any

import pytest

from bytemark_sync.bytemark.account import AccountClient, NotSent
from bytemark_sync.bytemark.account_errors import LoginCause, LoginRefused
from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.bytemark.errors import BytemarkError, Kind, RateLimited, TryAgain
from bytemark_sync.bytemark.token import Credentials, Secret, Token
from bytemark_sync.sandbox.wire import LOGIN_FORMS, LOGIN_REFUSALS, NO_TOKEN, login_json
from tests.support.misbehaving_server import Handler, hang, reset, send, sending, serve

EMAIL, PASSWORD, SECRET = "client-of-password@riders.example", "hushhush-password", "hushhush-secret"
SENT = Credentials(Secret(EMAIL), Secret(PASSWORD))
GRANTED = login_json("made-up-token", EMAIL)


def clients(url: str, stop: threading.Event | None = None, **more: Any) -> tuple[BytemarkClient, AccountClient]:
    times = {"connect_timeout": 2.0, "read_timeout": 0.3, "request_deadline": 0.35}
    account = {"account_base_url": url, "client_id": "made-up-client"}
    settings = BytemarkSettings("http://127.0.0.1:9", **(times | account | more))
    customer = BytemarkClient(settings, stop=stop)
    return customer, AccountClient(settings, customer)


def failure(handler: Handler) -> BytemarkError:
    """The error of one login, which must not name a secret anywhere, and which the statistics must count."""
    with serve(handler) as server:
        customer, account = clients(server.url, client_secret=Secret(SECRET))
        with pytest.raises(BytemarkError) as caught:
            account.log_in(SENT)
    told = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert [secret for secret in (EMAIL, PASSWORD, SECRET) if secret in told] == []
    assert customer.stats.drain().answers == {caught.value.kind.value: 1}
    return caught.value


def answering(status: int, body: Any, headers: dict[str, str] | None = None) -> Handler:
    return lambda _request, sock: send(sock, status, body, headers)


def refusal(status: int, body: Any) -> LoginCause:
    found = failure(answering(status, body))
    assert isinstance(found, LoginRefused)
    assert found.detail.startswith(found.cause.words)
    return found.cause


def test_a_login_is_one_post_of_json_without_authorization() -> None:
    with serve(answering(200, GRANTED)) as server:
        customer, account = clients(server.url)
        assert account.log_in(SENT) == Token("made-up-token")
        assert customer.stats.drain().answers == {"login": 1}
        _, with_secret = clients(f"{server.url}/base/", client_secret=Secret(SECRET), login_path="/in")
        with_secret.log_in(SENT)
    first, second = server.requests
    assert (first.method, first.path, first.query) == ("POST", "/users/login", {})
    assert json.loads(first.body) == {"email": EMAIL, "password": PASSWORD, "client_id": "made-up-client"}
    assert first.headers["content-type"] == "application/json"
    assert not {"authorization", "cookie"} & first.headers.keys()
    assert second.path == "/base/in"
    assert json.loads(second.body)["client_secret"] == SECRET


def test_the_token_may_stand_in_the_bare_object() -> None:
    with serve(answering(200, login_json(" made-up-token ", EMAIL, "bare"))) as server:
        assert clients(server.url)[1].log_in(SENT) == Token("made-up-token")


@pytest.mark.parametrize("form", NO_TOKEN)
def test_an_answer_without_a_token_that_can_be_used(form: str) -> None:
    assert refusal(200, NO_TOKEN[form]) is LoginCause.NO_TOKEN


@pytest.mark.parametrize("token", ["a\nb", "tökén", "x" * 5000])
def test_a_token_that_cannot_be_sent_is_none(token: str) -> None:
    assert refusal(200, login_json(token, EMAIL)) is LoginCause.NO_TOKEN


CAUSES = {
    "wrong_password": LoginCause.WRONG_PASSWORD,
    "unknown_account": LoginCause.UNKNOWN_ACCOUNT,
    "client": LoginCause.CLIENT_REFUSED,
    "unclear": LoginCause.UNCLEAR,
}


@pytest.mark.parametrize("reason", CAUSES)
def test_refusals_are_told_apart_in_every_form_and_on_200_too(reason: str) -> None:
    row = LOGIN_REFUSALS[reason]
    found = {
        (form, status): refusal(status, row.body(form, 0, EMAIL))
        for form in LOGIN_FORMS
        for status in (row.status, 200)
    }
    odd = {LoginCause.NO_TOKEN} if reason == "unclear" else set()  # on 200 it is no refusal that one could know
    assert set(found.values()) == {CAUSES[reason]} | odd, found


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (401, b"", LoginCause.UNCLEAR),
        (403, b"<html>", LoginCause.UNCLEAR),
        (404, b"<html>not found</html>", LoginCause.UNCLEAR),  # perhaps the path is wrong
        (404, {"errors": ["gone"]}, LoginCause.UNKNOWN_ACCOUNT),
        (302, b"", LoginCause.UNCLEAR),
        (401, {"error": "invalid_client"}, LoginCause.CLIENT_REFUSED),
        (400, {"error": "unauthorized_client"}, LoginCause.CLIENT_REFUSED),
        (400, {"error": "invalid_grant"}, LoginCause.WRONG_PASSWORD),
        (200, {"errors": [{"code": 50032, "message": ""}]}, LoginCause.UNKNOWN_ACCOUNT),
        (200, {"errors": [{"code": 10000, "message": EMAIL.upper()}]}, LoginCause.UNCLEAR),  # the e-mail is no word
    ],
)
def test_a_refusal_is_called_the_riders_only_where_it_says_so(status: int, body: Any, cause: LoginCause) -> None:
    assert refusal(status, body) is cause
    assert cause.is_the_riders == (cause in (LoginCause.WRONG_PASSWORD, LoginCause.UNKNOWN_ACCOUNT))


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (answering(500, b"<html>"), Kind.SERVER_ERROR),
        (answering(503, {"error": "invalid_client"}), Kind.SERVER_ERROR),
        (answering(408, b""), Kind.TIMEOUT),
        (answering(200, b"<html>"), Kind.NOT_JSON),
        (sending(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"data":'), Kind.CUT),
        (lambda _request, sock: reset(sock), Kind.CONNECTION),
        (answering(200, b" " * (9 * 1024 * 1024)), Kind.TOO_LARGE),
        (hang, Kind.TIMEOUT),
    ],
)
def test_what_may_go_away_by_itself_is_tried_again(handler: Handler, kind: Kind) -> None:
    found = failure(handler)
    assert (type(found), found.kind) == (TryAgain, kind)


def test_too_many_requests_pauses_everybody() -> None:
    found = failure(answering(429, {"error": "invalid_client"}, {"Retry-After": "7"}))
    assert isinstance(found, RateLimited)
    assert found.pause == 7


def test_a_login_that_is_not_sent_says_so() -> None:
    stop = threading.Event()
    stop.set()
    with serve(answering(200, GRANTED)) as server, pytest.raises(NotSent):
        clients(server.url, stop)[1].log_in(SENT)
    assert server.requests == []
