"""Every answer to a login, in one closed table beside that of the order API (`errors`).

What the account API really answers is assumed (docs/bytemark-api.md#the-account-api); `cause_of` is the one place that
reads it. The server's text is only looked at, never repeated: it may hold the rider's e-mail address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec

from bytemark_sync.bytemark.body_errors import UNREADABLE, Refusal, mend, read_refusal
from bytemark_sync.bytemark.errors import (
    Answer,
    BytemarkError,
    Kind,
    PauseRule,
    RateLimited,
    TryAgain,
    parse_retry_after,
)
from bytemark_sync.bytemark.token import Credentials, Token

MAX_TOKEN = 4096
"""Characters that a request's header can be trusted to carry."""


class LoginCause(StrEnum):
    """Why a login did not renew the token. The values are stored."""

    WRONG_PASSWORD = "wrong_password"  # noqa: S105 - a name, not a secret
    UNKNOWN_ACCOUNT = "unknown_account"
    CLIENT_REFUSED = "client_refused"
    NO_TOKEN = "no_token"  # noqa: S105
    UNCLEAR = "unclear"
    NEW_TOKEN_REJECTED = "new_token_rejected"  # noqa: S105

    @property
    def words(self) -> str:
        return _WORDS[self]

    @property
    def is_the_riders(self) -> bool:
        """Whether it is certainly this rider's account that is at fault, not how we ask."""
        return self in (LoginCause.WRONG_PASSWORD, LoginCause.UNKNOWN_ACCOUNT, LoginCause.NEW_TOKEN_REJECTED)


_WORDS = {
    LoginCause.WRONG_PASSWORD: "Bytemark refuses the e-mail or password that the portal keeps for the rider",
    LoginCause.UNKNOWN_ACCOUNT: "Bytemark knows no account with the e-mail that the portal keeps for the rider",
    LoginCause.CLIENT_REFUSED: "Bytemark refuses BYTEMARK_CLIENT_ID or BYTEMARK_CLIENT_SECRET",
    LoginCause.NO_TOKEN: "the answer to the login holds no token that can be used",
    LoginCause.UNCLEAR: "Bytemark refuses the login, and does not say clearly why",
    LoginCause.NEW_TOKEN_REJECTED: "Bytemark rejected the new token at once",
}


class LoginRefused(BytemarkError):
    """The login is not repeated in this run, and later ones are deferred. `how` it was refused: status and codes."""

    def __init__(self, cause: LoginCause, how: str) -> None:
        super().__init__(Kind.LOGIN_REFUSED, f"{cause.words} ({how})")
        self.cause = cause
        self.how = how


_AGAIN = {408: (Kind.TIMEOUT, "the server gave up waiting"), 500: (Kind.SERVER_ERROR, "the server failed")}


def read_login(answer: Answer, sent: Credentials, rule: PauseRule) -> Token:
    """The token of an answer. Raises `LoginRefused`, `RateLimited` or `TryAgain`."""
    status = answer.status
    if status is not None and not 200 <= status <= 299:
        raise _by_status(answer, status, sent, rule)
    if answer.problem is not None or answer.body is None:
        raise TryAgain(answer.problem or Kind.CONNECTION, f"the account API: {answer.detail}")
    refusal = read_refusal(answer.body)
    if refusal.present:
        raise LoginRefused(cause_of(status, refusal, _texts(answer.body), sent), f"HTTP {status}: {refusal.words()}")
    token = _token(answer.body)
    if token is None:  # an error may stand where no page of orders has one
        cause = cause_of(status, refusal, _texts(answer.body), sent)
        raise LoginRefused(LoginCause.NO_TOKEN if cause is LoginCause.UNCLEAR else cause, f"HTTP {status}")
    return token


def _by_status(answer: Answer, status: int, sent: Credentials, rule: PauseRule) -> BytemarkError:
    pause = parse_retry_after(answer.retry_after, now=rule.now, cap=rule.cap)
    if status == 429:
        return RateLimited("HTTP 429: too many requests", pause)
    if status == 408 or status >= 500 or status < 200:
        kind, words = _AGAIN[408 if status == 408 else 500]
        return TryAgain(kind, f"the account API: HTTP {status}: {words}", pause if status == 503 else None)
    if status <= 399:
        return LoginRefused(LoginCause.UNCLEAR, f"HTTP {status}: a redirect, which is never followed")
    refusal = read_refusal(answer.body) if answer.body is not None else Refusal()
    told = f": {refusal.words()}" if refusal.present else ""
    return LoginRefused(cause_of(status, refusal, _texts(answer.body or b""), sent), f"HTTP {status}{told}")


_CLIENT = re.compile(r"(?<![a-z])client(?![a-z])|client_|_client")
_UNKNOWN = re.compile(
    r"not registered|not found|no such|unknown[ _](?:user|account|e-?mail)|does not exist|no (?:user|account)"
)
_PASSWORD = re.compile(r"password|invalid_grant|credential|(?:invalid|incorrect|wrong) (?:user|e-?mail|login)")


def cause_of(status: int | None, refusal: Refusal, texts: str, sent: Credentials) -> LoginCause:
    """Why a login is refused. Assumed: by codes, and by words as OAuth servers and people use them.

    What a bare 401, 403 or 404 means cannot be told: the client, the path and the rider may each be at fault.
    """
    email = sent.email.reveal().strip().lower()
    words = texts.replace(email, "") if email else texts
    if _CLIENT.search(words):
        return LoginCause.CLIENT_REFUSED
    if {400104, 50032} & set(refusal.codes) or _UNKNOWN.search(words) or (status == 404 and refusal.present):
        return LoginCause.UNKNOWN_ACCOUNT
    return LoginCause.WRONG_PASSWORD if _PASSWORD.search(words) else LoginCause.UNCLEAR


def _texts(body: bytes) -> str:
    """All texts of the members that may carry an error, in lower case."""
    try:
        whole = msgspec.json.decode(mend(body))
    except UNREADABLE:
        return ""
    inner = whole.get("data") if isinstance(whole, dict) else None
    levels = [level for level in (whole, inner) if isinstance(level, dict)]
    names = ("errors", "error", "error_description", "message", "code")
    found = (text for level in levels for name in names for text in _leaves(level.get(name)))
    return "\n".join(found)[:20_000].lower()


def _leaves(value: Any, depth: int = 0) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth < 4 and isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _leaves(part, depth + 1)


def _token(body: bytes) -> Token | None:
    try:
        whole = msgspec.json.decode(mend(body))
    except UNREADABLE:
        raise TryAgain(Kind.NOT_JSON, f"the account API: the answer is not JSON ({len(body)} bytes)") from None
    inner = whole.get("data") if isinstance(whole, dict) else None
    for level in (inner, whole):
        text = level.get("oauth_token") if isinstance(level, dict) else None
        text = text.strip() if isinstance(text, str) else ""
        if 0 < len(text) <= MAX_TOKEN and text.isascii() and text.isprintable():
            return Token(text)
    return None
