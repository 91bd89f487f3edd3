"""What each request to the sandbox gets: pages of orders, logins, and the controls of whoever tests with it."""

from __future__ import annotations

import gzip
import sys
import time
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import msgspec

from bytemark_sync.sandbox.accounts import Accounts, Credentials, Lifetime
from bytemark_sync.sandbox.answers import HANG_SECONDS, JSON, READY, error, misdeliver, refuse_login, status_answer
from bytemark_sync.sandbox.faults import ANSWERS, SENDING, FaultBook, FaultRule, decode_rules
from bytemark_sync.sandbox.http_server import Answer, Request
from bytemark_sync.sandbox.limits import Limit, Limiter
from bytemark_sync.sandbox.listing import Listing
from bytemark_sync.sandbox.outages import Outages
from bytemark_sync.sandbox.records import Rider
from bytemark_sync.sandbox.request_counts import RequestCounts, Seen, SeenLogin, fingerprint
from bytemark_sync.sandbox.wire import encode, login_json
from bytemark_sync.sandbox.world import World

TOO_MANY = b'{"data":null,"errors":["Too many requests"]}'
NOBODY = Credentials("", "")


class _Outcome(NamedTuple):
    """`outcome` and `token` as `SeenLogin` has them; the token itself here."""

    answer: Answer
    outcome: str = ""
    token: str = ""


class Api:
    """`leave_for(seconds)` is called where the server shall take no connections for a while."""

    def __init__(
        self,
        accounts: Accounts,
        *,
        faults: list[FaultRule],
        limit: Limit | None,
        latency: float,
        seed: int,
        envelope: str,
        rejection: FaultRule | None,
        orders_path: str,
        login_path: str,
        log_requests: bool,
        leave_for: Callable[[float], object],
    ) -> None:
        self._accounts = accounts
        self._book = FaultBook(faults, seed)
        self._outages = Outages(faults)
        self._limiter = Limiter(limit)
        self._listing = Listing(envelope, seed)
        self._envelope = envelope
        self._counts = RequestCounts()
        self._rng = Random(f"latency {seed}")
        self._latency = latency
        self._rejection = rejection or FaultRule("status", status=401, code=50020)
        self._orders_path = orders_path
        self._login_path = login_path
        self._log_requests = log_requests
        self._leave_for = leave_for

    def handle(self, request: Request) -> tuple[Answer, Callable[[], None]]:
        """The answer, and what to call at its end."""
        if request.path.startswith("/_sandbox/"):
            return self._control(request), _nothing
        if request.path == self._login_path:
            self._counts.begin_login(request.first)
            return self._login(request), self._counts.end_login
        if request.path != self._orders_path:
            return self._elsewhere(request), _nothing
        self._counts.begin(request.first)
        return self._orders(request), self._counts.end

    # --- Orders -----------------------------------------------------------------------------------------------------
    def _orders(self, request: Request) -> Answer:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        rider = self._accounts.rider(token) if scheme == "Bearer" else None
        page, per_page = _number(request, "page", 1), _number(request, "per_page", 10)
        user_id = rider.user_id if rider else None
        now, wall = time.monotonic(), time.time()
        answer, names = self._kept_out("orders", now, wall)
        if answer is None:
            rules = self._book.choose(user_id, page)
            answer = self._page(request, rider, token, page, per_page, rules)
            self._send(answer, rules)
            names = " ".join(rule.kind for rule in rules)
        seen = Seen(user_id, fingerprint(token) if token else "", page, per_page, answer.status, names, wall)
        self._counts.add(request.path, seen)
        if self._log_requests:
            sys.stderr.write(f"page={page} user={user_id} token={seen.token} -> {answer.status} {names}\n")
        return answer

    def _page(
        self, request: Request, rider: Rider | None, token: str, page: int, per_page: int, rules: list[FaultRule]
    ) -> Answer:
        bad = next((rule for rule in rules if rule.kind in ANSWERS), None)
        if request.method != "GET":
            return error(405, 0, "")
        if bad is not None and bad.kind in READY:
            return READY[bad.kind](bad)
        if rider is None or not self._accounts.lets_in(token, time.monotonic()):
            return READY[self._rejection.kind](self._rejection)
        if not (page >= 1 and 1 <= per_page <= 1000):
            return error(400, 0, "")
        shaping = [rule for rule in rules if rule.kind not in ANSWERS and rule.kind not in SENDING]
        answer = Answer(200, self._listing.page(rider, page, per_page, shaping), dict(JSON))
        if bad is not None:
            misdeliver(answer, bad)
        return answer

    # --- Logins -----------------------------------------------------------------------------------------------------
    def _login(self, request: Request) -> Answer:
        credentials = _credentials(request)
        rider = self._accounts.by_email(credentials.email)
        user_id = rider.user_id if rider else None
        now, wall = time.monotonic(), time.time()
        answer, names = self._kept_out("login", now, wall)
        outcome, token = "", ""
        if answer is None:
            rules = self._book.choose(user_id, 0, "login")
            answer, outcome, token = self._log_in(request, credentials, rules)
            self._send(answer, rules)
            names = " ".join(rule.kind for rule in rules)
        seen = SeenLogin(
            user_id,
            credentials.client_id,
            bool(credentials.client_secret),
            "authorization" in request.headers,
            outcome,
            fingerprint(token) if token else "",
            answer.status,
            names,
            wall,
        )
        self._counts.add_login(seen)
        if self._log_requests:
            sys.stderr.write(f"login user={user_id} {outcome} token={seen.token} -> {answer.status} {names}\n")
        return answer

    def _log_in(self, request: Request, credentials: Credentials, rules: list[FaultRule]) -> _Outcome:
        bad = next((rule for rule in rules if rule.kind in ANSWERS), None)
        if request.method != "POST":
            return _Outcome(error(405, 0, ""))
        if bad is not None and bad.kind == "refuse":
            reason = bad.reason or "unclear"
            return _Outcome(refuse_login(reason, credentials.email, bad), reason)
        if bad is not None and bad.kind in READY:
            return _Outcome(READY[bad.kind](bad), bad.kind if bad.kind == "no_token" else "")
        rider = self._accounts.by_email(credentials.email)
        reason = "unclear" if credentials is NOBODY else self._accounts.refuses(credentials)
        if reason or rider is None:
            return _Outcome(refuse_login(reason, credentials.email), reason)
        token = self._accounts.log_in(rider, time.monotonic())
        answer = Answer(200, encode(login_json(token, credentials.email, self._envelope)), dict(JSON))
        if bad is not None and bad.kind == "dead_token":
            self._accounts.end_tokens([rider.user_id])
        elif bad is not None:
            misdeliver(answer, bad)
        return _Outcome(answer, "granted", token)

    # --- Both -------------------------------------------------------------------------------------------------------
    def _kept_out(self, place: str, now: float, wall: float) -> tuple[Answer | None, str]:
        """The answer to a request that meets an outage or the limit, and which of them."""
        if (outage := self._outages.under_way(now, place)) is not None:
            return self._outage(*outage), "outage"
        if (retry_after := self._limiter.refuses(now, wall)) is not None:
            headers = JSON | {"Retry-After": retry_after} if retry_after else dict(JSON)
            return Answer(429, TOO_MANY, headers, delay=self._latency), "limit"
        return None, ""

    def _outage(self, rule: FaultRule, left: float) -> Answer:
        if rule.form == "refuse":
            self._leave_for(left)
            return Answer(0, delivery="reset")
        if rule.form == "close":
            return Answer(0, delivery="close")
        if rule.form == "hang":
            return Answer(0, delivery="hang", seconds=min(left, HANG_SECONDS))
        answer = status_answer(rule)
        answer.delay = self._latency
        return answer

    def _send(self, answer: Answer, rules: list[FaultRule]) -> None:
        """How the answer is sent, whatever is in it."""
        answer.delay = self._latency
        for rule in rules:
            if rule.kind == "latency":
                answer.delay += (rule.seconds or 0.0) + self._rng.random() * rule.jitter
            elif rule.kind == "gzip":
                answer.body = gzip.compress(answer.body)
                answer.headers["Content-Encoding"] = "gzip"
            elif rule.kind == "chunked" and answer.delivery == "whole":
                answer.delivery = "chunked"

    def _elsewhere(self, request: Request) -> Answer:
        """Any other path. A followed redirect would arrive here."""
        self._counts.add_elsewhere(request.path, "authorization" in request.headers)
        return error(404, 0, "")

    # --- Controls ---------------------------------------------------------------------------------------------------
    def _control(self, request: Request) -> Answer:
        what = request.path.removeprefix("/_sandbox/")
        try:
            found = self._look(what) if request.method == "GET" else self._change(what, request)
        except KeyError:
            return Answer(404, b"{}", JSON)
        except (ValueError, msgspec.MsgspecError) as wrong:
            return Answer(400, encode({"error": str(wrong)}), JSON)
        return Answer(200, found, JSON)

    def _look(self, what: str) -> bytes:
        return {
            "stats": lambda: encode(msgspec.structs.replace(self._counts.stats, limit=self._limiter.counts)),
            "requests": lambda: encode(list(self._counts.seen)),
            "logins": lambda: encode(list(self._counts.seen_logins)),
            "tokens": lambda: encode(self._accounts.states(time.monotonic())),
        }[what]()

    def _change(self, what: str, request: Request) -> bytes:
        match what:
            case "faults":
                self._set_faults(decode_rules(request.body))
            case "limit":
                self._limiter.replace(msgspec.json.decode(request.body, type=Limit | None))
            case "lifetimes":
                self._accounts.lifetimes = msgspec.json.decode(request.body, type=list[Lifetime])
            case "end_tokens":
                self._accounts.end_tokens(msgspec.json.decode(request.body, type=list[int] | None))
            case "world":
                world = msgspec.json.decode(request.body, type=World)
                self._accounts.replace(world, time.monotonic(), keep_tokens="keep_tokens" in request.query)
                self._listing.replace()
            case "reset":
                self._counts.reset()
                self._set_faults([])
                self._limiter.replace(None)
                self._accounts.lifetimes = []
            case _:
                raise KeyError(what)
        return b"{}"

    def _set_faults(self, rules: list[FaultRule]) -> None:
        self._book.replace(rules)
        self._outages.replace(rules)


def _nothing() -> None:
    pass


def _number(request: Request, name: str, default: int) -> int:
    try:
        return int(request.query.get(name, default))
    except ValueError:
        return 0


def _credentials(request: Request) -> Credentials:
    """`NOBODY` where the body is no JSON object with an e-mail and a password."""
    try:
        return msgspec.json.decode(request.body, type=Credentials)
    except (ValueError, msgspec.MsgspecError):
        return NOBODY
