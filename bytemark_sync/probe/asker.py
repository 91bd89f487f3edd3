"""Asks one request after the other, never more than `MAX_REQUESTS`, and waits where the server says so."""

from __future__ import annotations

import time
from collections.abc import Callable

from bytemark_sync.bytemark.errors import (
    Answer,
    BytemarkError,
    Interrupted,
    Kind,
    PauseRule,
    RateLimited,
    TokenRejected,
    TryAgain,
    classify,
    parse_retry_after,
)
from bytemark_sync.bytemark.token import Credentials, Token
from bytemark_sync.probe.evidence import Evidence, Exchange, LoginTry
from bytemark_sync.probe.reading import read_answer

MAX_REQUESTS = 60
"""The most requests of one probe, repeated ones included (docs/contract.md#managepy-bytemark_probe)."""

MAX_FAILURES = 3
"""Failures of one request after which Bytemark counts as down."""

MAX_WAIT_SECONDS = 90.0
"""The most that the probe waits in all because the server says so."""

_FAILED = {Kind.CONNECTION, Kind.TIMEOUT, Kind.DEADLINE, Kind.CUT, Kind.SERVER_ERROR}

Get = Callable[[Token, int, int], Answer]
"""Token, page, per_page; as `BytemarkClient.get_answer`."""

LogIn = Callable[[Credentials], Token]
"""As `AccountClient.log_in`."""


class Spent(Exception):
    """No request is left."""


class Down(Exception):
    """Bytemark does not answer; the text says how."""


class Asker:
    """`wait` sleeps for seconds, or raises what ends the probe. `say` tells a person why nothing happens.

    `turn` is called before each request, and waits until the pace that all processes share lets it through.
    """

    def __init__(
        self,
        evidence: Evidence,
        get: Get,
        *,
        wait: Callable[[float], None],
        say: Callable[[str], None],
        turn: Callable[[], None] = lambda: None,
    ) -> None:
        self.evidence = evidence
        self._get = get
        self._wait = wait
        self._say = say
        self._turn = turn

    @property
    def left(self) -> int:
        return MAX_REQUESTS - self.evidence.requests

    def ask(self, rider: int | None, token: Token, page: int, per_page: int, *, odd: bool = False) -> Exchange:
        """The answer to one request. It is repeated while the server fails or says "later". Raises `Spent`, `Down`.

        An `odd` request may be the reason why the server fails. So it is not repeated, and its failure does not
        mean that Bytemark is down.
        """
        failures = 0
        while True:
            exchange = self._once(rider, token, page, per_page)
            pause = _told_to_wait(exchange.answer, failures)
            if pause is None:
                if odd or exchange.error is None or exchange.error.kind not in _FAILED:
                    return exchange
                pause = 0.5 * 2.0**failures
            else:
                self._may_wait(exchange, pause)
            failures += 1
            if failures >= MAX_FAILURES and exchange.answer.status != 429:
                raise Down(exchange.words)
            self._wait(pause)

    def log_in(self, send: LogIn, credentials: Credentials) -> LoginTry:
        """What a login came to. It is repeated while the account API fails or says "later". Raises `Interrupted`."""
        failures = 0
        while True:
            self._turn()
            one = _login_once(send, credentials)
            self.evidence.logins.append(one)
            failures += 1
            if not isinstance(one.error, TryAgain | RateLimited) or failures >= MAX_FAILURES or self.left <= 0:
                return one
            pause = one.error.pause
            if pause is None:
                self._wait(2.0**failures / 2)
                continue
            if self.evidence.waited + pause > MAX_WAIT_SECONDS:
                return one
            self.evidence.waited += pause
            self._say(f"{one.error.detail}: waiting {pause:.1f} s")
            self._wait(pause)

    def _once(self, rider: int | None, token: Token, page: int, per_page: int) -> Exchange:
        if self.left <= 0:
            raise Spent
        self._turn()
        try:
            answer = self._get(token, page, per_page)
        except TokenRejected as error:
            # A token that no header can hold costs no request.
            return Exchange(rider, page, per_page, Answer(), error, None)
        refusal = judged(answer)
        reading = read_answer(answer.body or b"") if refusal is None else None
        if refusal is None and reading is None:
            refusal = BytemarkError(Kind.WRONG_SHAPE, f"HTTP {answer.status}, but not JSON with a list of orders")
        exchange = Exchange(rider, page, per_page, answer, refusal, reading)
        self.evidence.exchanges.append(exchange)
        return exchange

    def _may_wait(self, exchange: Exchange, pause: float) -> None:
        if self.evidence.waited + pause > MAX_WAIT_SECONDS:
            raise Down(f"{exchange.words}; it says to wait {pause:,.0f} s more, which is too long for a probe")
        self.evidence.waited += pause
        self._say(f"{exchange.words}: waiting {pause:.1f} s")


def _login_once(send: LogIn, credentials: Credentials) -> LoginTry:
    try:
        return LoginTry(None, send(credentials))
    except Interrupted:
        raise
    except BytemarkError as error:
        return LoginTry(error)


def judged(answer: Answer) -> BytemarkError | None:
    """The product's own judgement of an answer; `None` if it may be read as a page."""
    return classify(answer, PauseRule(cap=0.0, now=time.time()))


def _told_to_wait(answer: Answer, failures: int) -> float | None:
    """Seconds that the server says to wait. `None` if it does not say so.

    A 429 without a header counts as 1, 2, 4 ... seconds.
    """
    if answer.status not in (429, 503):
        return None
    told = parse_retry_after(answer.retry_after, now=time.time(), cap=86_400.0)
    return 2.0 ** min(failures, 5) if told is None and answer.status == 429 else told
