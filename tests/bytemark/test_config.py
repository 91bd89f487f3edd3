"""What the client is told, and the words for what it cannot use. Nothing of a URL's credentials is repeated."""

from __future__ import annotations

import pytest

from bytemark_sync.bytemark.config import BytemarkSettings, ConfigError
from bytemark_sync.bytemark.token import Secret

GOOD = "https://overture.bytemark.co"
EXAMPLE = "e.g. https://overture.bytemark.co"
NO_TEXT = "must not hold blanks, control characters or letters beyond ASCII."


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", f"is not set. Set it to Bytemark's customer API, {EXAMPLE}"),
        ("https://[::1", f"is not a URL, {EXAMPLE}"),
        ("https://host:port", f"is not a URL, {EXAMPLE}"),
        ("overture.bytemark.co", f"is not an http(s) URL with a host, {EXAMPLE}"),
        ("ftp://overture.bytemark.co", f"is not an http(s) URL with a host, {EXAMPLE}"),
        ("https://", f"is not an http(s) URL with a host, {EXAMPLE}"),
        ("https://me@host", "must not hold a user or password."),
        ("https://:word@host", "must not hold a user or password."),
        ("https://@host", "must not hold a user or password."),
        ("https://host/?page=1", "must not hold a query or fragment; paths are set by BYTEMARK_ORDERS_PATH."),
        ("https://host/#top", "must not hold a query or fragment; paths are set by BYTEMARK_ORDERS_PATH."),
        ("https://host/a b", NO_TEXT),
        ("https://host/\x7f", NO_TEXT),
        ("https://höst", NO_TEXT),
        ("http://host", "must be https: riders' tokens would travel readable to host."),
        ("http://10.0.0.1:80", "must be https: riders' tokens would travel readable to 10.0.0.1."),
        ("http://localhost.example", "must be https: riders' tokens would travel readable to localhost.example."),
    ],
)
def test_a_base_url_that_cannot_be_used(url: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        BytemarkSettings(url)
    assert str(refused.value) == f"BYTEMARK_CUSTOMER_API_URL {words}"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("v4.0/orders", "must be a path that begins with /, such as /v4.0/orders."),
        ("", "must be a path that begins with /, such as /v4.0/orders."),
        ("/orders?page=1", "must be a path that begins with /, such as /v4.0/orders."),
        ("/orders#top", "must be a path that begins with /, such as /v4.0/orders."),
        ("/or ders", NO_TEXT),
        ("/or\nders", NO_TEXT),
        ("/örders", NO_TEXT),
    ],
)
def test_a_path_that_cannot_be_used(path: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        BytemarkSettings(GOOD, path)
    assert str(refused.value) == f"BYTEMARK_ORDERS_PATH {words}"


@pytest.mark.parametrize(
    "url",
    [GOOD, "http://localhost:8765", "http://LOCALHOST", "http://127.0.0.1:1", "http://127.9.9.9", "http://[::1]:1"],
)
def test_https_or_a_loopback_host_is_used(url: str) -> None:
    assert BytemarkSettings(url).orders_url == f"{url}/v4.0/orders"


@pytest.mark.parametrize(
    ("url", "path", "words"),
    [
        ("https://[::1", "/l", "BYTEMARK_ACCOUNT_API_URL is not a URL, e.g. https://accountapi.bytemark.co"),
        ("https://me:word@host", "/l", "BYTEMARK_ACCOUNT_API_URL must not hold a user or password."),
        (
            "https://host/?a=1",
            "/l",
            "BYTEMARK_ACCOUNT_API_URL must not hold a query or fragment; paths are set by BYTEMARK_LOGIN_PATH.",
        ),
        (
            "http://host",
            "/l",
            "BYTEMARK_ACCOUNT_API_URL must be https: riders' passwords would travel readable to host.",
        ),
        (GOOD, "login", "BYTEMARK_LOGIN_PATH must be a path that begins with /, such as /users/login."),
        (GOOD, "/log in", f"BYTEMARK_LOGIN_PATH {NO_TEXT}"),
    ],
)
def test_the_account_api_has_the_same_rules(url: str, path: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        BytemarkSettings(GOOD, account_base_url=url, login_path=path)
    assert str(refused.value) == words


def test_renewal_is_on_with_the_url_and_the_client_id() -> None:
    account = "http://127.0.0.1:1/"
    both = BytemarkSettings(GOOD, account_base_url=account, client_id="me", client_secret=Secret("hushhush"))
    assert (both.renews_tokens, both.login_url) == (True, "http://127.0.0.1:1/users/login")
    assert "hushhush" not in repr(both)
    for alone in (BytemarkSettings(GOOD, account_base_url=account), BytemarkSettings(GOOD, client_id="me")):
        assert not alone.renews_tokens


@pytest.mark.parametrize("end", ["", "/", "//"])
def test_the_path_is_appended_to_the_base(end: str) -> None:
    assert BytemarkSettings(f"{GOOD}/api{end}", "/v5/x").orders_url == f"{GOOD}/api/v5/x"
