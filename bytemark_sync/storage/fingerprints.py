"""Keyed hashes of riders' secrets. They show whether something changed, but not what it is."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from django.conf import settings

from bytemark_sync.bytemark.token import Credentials, Token
from bytemark_sync.storage.portal_schema import renews_tokens


def fingerprint(tokens: Iterable[str | None], credentials: Iterable[str] = ()) -> str:
    """Of a user's tokens. Where renewal is on, also of all that a login depends on.

    `credentials`: a text for each row's e-mail and password.
    """
    text = "\0".join(sorted(token or "" for token in tokens))
    if renews_tokens():
        text = "\0\0".join([text, *sorted(credentials), _client()])
    return _keyed(text)


def login_fingerprint(tokens: Iterable[Token | None], credentials: Credentials) -> str:
    """Of all that a login depends on, and of the user's tokens in `bytemark_tokens`."""
    texts = sorted(token.reveal() if token else "" for token in tokens)
    sent = credential_text(credentials.email.reveal(), credentials.password.reveal())
    return _keyed("\0\0".join([*texts, sent, _client()]))


def credential_text(email: str | None, password: str | None) -> str:
    return f"{email or ''}\0{password or ''}"


def _client() -> str:
    return "\0".join(
        [
            settings.BYTEMARK_ACCOUNT_API_URL + settings.BYTEMARK_LOGIN_PATH,
            settings.BYTEMARK_CLIENT_ID,
            settings.BYTEMARK_CLIENT_SECRET,
        ]
    )


def _keyed(text: str) -> str:
    return hmac.new(
        str(settings.SECRET_KEY).encode(), text.encode("utf-8", "surrogatepass"), hashlib.sha256
    ).hexdigest()[:32]
