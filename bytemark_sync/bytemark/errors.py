"""Every bad answer of Bytemark's API, in one closed table. The class of the error says what happens next.

The rules are in docs/contract.md#what-each-answer-costs. An error holds only the status, error numbers and our
own words. The server's text is left out because it may repeat the rider's token.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import StrEnum

from bytemark_sync.bytemark.body_errors import Refusal, read_refusal


class Kind(StrEnum):
    """What kind of answer a request got; the statistics count by it. `LOGIN`: a login that gave a token."""

    OK = "ok"
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    CUT = "cut"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    WRONG_SHAPE = "wrong_shape"
    API_ERROR = "api_error"
    TOKEN_REJECTED = "token_rejected"  # noqa: S105 - a name, not a secret
    REFUSED = "refused"
    REDIRECT = "redirect"
    LOGIN = "login"
    LOGIN_REFUSED = "login_refused"
    INTERRUPTED = "interrupted"


class BytemarkError(Exception):
    """A request that gave no page. `detail` is for a person and never holds a token."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


Eras = tuple[int, int]
"""The eras (see `outage`) in which a request began and ended."""


class TryAgain(BytemarkError):
    """Costs the user one attempt, unless there was an outage in its `eras`. Then the same page is requested again.

    `pause`: seconds for which everybody waits (`Retry-After` of a 503); `None` if only this user waits.
    """

    def __init__(self, kind: Kind, detail: str, pause: float | None = None) -> None:
        super().__init__(kind, detail)
        self.pause = pause
        self.eras: Eras = (0, 0)


class RateLimited(BytemarkError):
    """Bytemark allows no more requests now: costs no attempt, the same request waits for its turn again.

    `pause`: seconds for which everybody waits (`Retry-After`); `None` if the answer does not say.
    """

    def __init__(self, detail: str, pause: float | None) -> None:
        super().__init__(Kind.RATE_LIMITED, detail)
        self.pause = pause


class TokenRejected(BytemarkError):
    """The token is not used again. The user's next token is tried."""

    def __init__(self, detail: str) -> None:
        super().__init__(Kind.TOKEN_REJECTED, detail)


class GiveUp(BytemarkError):
    """Repeating the request would not help. The user fails at once."""


class Interrupted(BytemarkError):
    """The process was asked to stop. This costs the user no attempt."""

    def __init__(self) -> None:
        super().__init__(Kind.INTERRUPTED, "the run was asked to stop")


@dataclass(frozen=True, slots=True)
class Answer:
    """What one request brought back. `body` is `None` if it could not be read; `problem` then says why.

    `status` is `None` if no headers arrived. `retry_after` is the header as it was sent. Names in `headers` are in
    lower case. `seconds` is the time until the whole answer was there.
    """

    status: int | None = None
    retry_after: str | None = None
    body: bytes | None = None
    problem: Kind | None = None
    detail: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class PauseRule:
    """How long everybody pauses, in seconds. `cap` bounds `Retry-After`.

    `now` is the wall clock (seconds since 1970). A `Retry-After` that is a date needs it.
    """

    cap: float
    now: float


@dataclass(frozen=True, slots=True)
class _StatusRule:
    first: int
    last: int
    error: type[TryAgain] | type[RateLimited] | type[TokenRejected] | type[GiveUp]
    kind: Kind
    words: str


_STATUS_TABLE = (
    _StatusRule(304, 304, GiveUp, Kind.REDIRECT, "not modified, which only a cache may say; is one in between?"),
    _StatusRule(300, 399, GiveUp, Kind.REDIRECT, "a redirect, which is never followed"),
    _StatusRule(401, 401, TokenRejected, Kind.TOKEN_REJECTED, "the token is rejected"),
    _StatusRule(403, 403, TokenRejected, Kind.TOKEN_REJECTED, "the token is rejected"),
    _StatusRule(408, 408, TryAgain, Kind.TIMEOUT, "the server gave up waiting"),
    _StatusRule(429, 429, RateLimited, Kind.RATE_LIMITED, "too many requests"),
    _StatusRule(400, 499, GiveUp, Kind.REFUSED, "the request is refused"),
    _StatusRule(500, 599, TryAgain, Kind.SERVER_ERROR, "the server failed"),
)
"""The first row that contains the status decides. No row contains 2xx, where the body decides."""


def classify(answer: Answer, rule: PauseRule) -> BytemarkError | None:
    """The error of an answer; `None` if its body may be decoded as a page."""
    refusal = read_refusal(answer.body) if answer.body is not None else Refusal()
    status = answer.status
    if refusal.rejects_token:
        return TokenRejected(f"HTTP {status}: {refusal.words()}")
    if status is not None and not 200 <= status <= 299:
        return _by_status(status, refusal, answer.retry_after, rule)
    if answer.problem is not None:
        return TryAgain(answer.problem, answer.detail)
    if refusal.present:
        return TryAgain(Kind.API_ERROR, f"HTTP {status}: {refusal.words()}")
    return None


def _by_status(status: int, refusal: Refusal, retry_after: str | None, pause: PauseRule) -> BytemarkError:
    for row in _STATUS_TABLE:
        if row.first <= status <= row.last:
            detail = f"HTTP {status}: {row.words}" + (f" ({refusal.words()})" if refusal.present else "")
            if row.error is RateLimited:
                return RateLimited(detail, _pause(status, retry_after, pause))
            if row.error is TryAgain:
                return TryAgain(row.kind, detail, _pause(status, retry_after, pause))
            return TokenRejected(detail) if row.error is TokenRejected else GiveUp(row.kind, detail)
    return TryAgain(Kind.WRONG_SHAPE, f"HTTP {status}: not a known status")


def _pause(status: int, retry_after: str | None, rule: PauseRule) -> float | None:
    """Seconds for which everybody pauses: what a 429 or 503 says in `Retry-After`."""
    if status not in (429, 503):
        return None
    return parse_retry_after(retry_after, now=rule.now, cap=rule.cap)


def parse_retry_after(value: str | None, *, now: float, cap: float) -> float | None:
    """Seconds to wait, at most `cap`; `None` if the header is absent, malformed or in the past (RFC 9110, 10.2.3)."""
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", text, re.ASCII):
        return min(float(text), cap)
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now
    except (ValueError, TypeError, OverflowError, IndexError, OSError):
        return None
    return min(seconds, cap) if seconds >= 0 else None
