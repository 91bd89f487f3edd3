"""The sandbox: how each request is answered, and the thread or process that serves it."""

from __future__ import annotations

import asyncio
import gzip
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from random import Random
from types import TracebackType
from typing import Self

import msgspec

from bytemark_sync.sandbox.answers import HANG_SECONDS, JSON, READY, error, misdeliver, status_answer
from bytemark_sync.sandbox.control import SandboxControl
from bytemark_sync.sandbox.faults import ANSWERS, FaultBook, FaultRule, decode_rules, parse_faults
from bytemark_sync.sandbox.http_server import Answer, Connection, Request
from bytemark_sync.sandbox.limits import Limit, Limiter, parse_limit
from bytemark_sync.sandbox.listing import Listing
from bytemark_sync.sandbox.outages import Outages
from bytemark_sync.sandbox.records import Rider
from bytemark_sync.sandbox.request_counts import RequestCounts, Seen, fingerprint
from bytemark_sync.sandbox.wire import encode
from bytemark_sync.sandbox.world import World

TOO_MANY = b'{"data":null,"errors":["Too many requests"]}'


class Sandbox(SandboxControl):
    """A sandbox in a thread of this process: `with Sandbox(world) as sandbox: sandbox.url`.

    `latency` in seconds before each answer. `envelope` is `data` or `bare`. `rejection` is the answer to an unknown
    token, as a rule of kind `status` or `errors`. `limit` is on all requests for orders together. `port` 0 takes a
    free one.
    """

    def __init__(
        self,
        world: World,
        *,
        faults: Iterable[FaultRule] | str = (),
        limit: Limit | str | None = None,
        latency: float = 0.0,
        port: int = 0,
        seed: int = 0,
        envelope: str = "data",
        rejection: FaultRule | None = None,
        orders_path: str = "/v4.0/orders",
        log_requests: bool = False,
    ) -> None:
        super().__init__()
        rules = parse_faults(faults) if isinstance(faults, str) else list(faults)
        self._book = FaultBook(rules, seed)
        self._outages = Outages(rules)
        self._limiter = Limiter(parse_limit(limit) if isinstance(limit, str) else limit)
        self._listing = Listing(world, envelope, seed)
        self._counts = RequestCounts()
        self._rng = Random(f"latency {seed}")
        self._latency = latency
        self._rejection = rejection or FaultRule("status", status=401, code=50020)
        self._orders_path = orders_path
        self._log_requests = log_requests
        self._port = port
        self._connections: set[Connection] = set()
        self._thread: threading.Thread | None = None

    # --- Running ----------------------------------------------------------------------------------------------------
    def __enter__(self) -> Self:
        started: threading.Event = threading.Event()
        failed: list[BaseException] = []

        def work() -> None:
            try:
                asyncio.run(self._serve(started.set))
            except OSError as error:
                failed.append(error)
                started.set()

        self._thread = threading.Thread(target=work, name="bytemark-sandbox", daemon=True)
        self._thread.start()
        started.wait()
        if failed:
            raise failed[0]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join()

    def run(self, ready: Callable[[str], None]) -> None:
        """Serve in this thread until SIGINT or SIGTERM. `ready` gets the URL. `OSError` if the port is taken."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            serving = asyncio.create_task(self._serve(lambda: ready(self.url)))
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, lambda: self._stop.set())
            await serving

        asyncio.run(main())

    async def _serve(self, ready: Callable[[], object]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        await self._listen()
        self._port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        ready()
        await self._stop.wait()
        self._leave()

    async def _listen(self) -> None:
        self._server = await self._loop.create_server(
            lambda: self._connected(), "127.0.0.1", self._port, backlog=512, reuse_address=True
        )

    def _leave(self) -> None:
        """Take no connection any more, and reset those that are open."""
        self._server.close()
        for connection in list(self._connections):
            connection.abort()

    def _leave_for(self, seconds: float) -> None:
        self._leave()
        self._loop.call_later(seconds, self._come_back)

    def _come_back(self) -> None:
        self._coming_back = self._loop.create_task(self._listen())

    def _connected(self) -> Connection:
        return Connection(self._handle, self._connections)

    # --- What a request gets ----------------------------------------------------------------------------------------
    def _handle(self, request: Request) -> tuple[Answer, Callable[[], None]]:
        if request.path.startswith("/_sandbox/"):
            return self._control(request), _nothing
        if request.path != self._orders_path:
            return self._elsewhere(request), _nothing
        self._counts.begin(request.first)
        return self._orders(request), self._counts.end

    def _orders(self, request: Request) -> Answer:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        rider = self._listing.rider(token) if scheme == "Bearer" else None
        page, per_page = _number(request, "page", 1), _number(request, "per_page", 10)
        user_id = rider.user_id if rider else None
        now, wall = time.monotonic(), time.time()
        if (outage := self._outages.under_way(now)) is not None:
            answer, names = self._outage(*outage), "outage"
        elif (retry_after := self._limiter.refuses(now, wall)) is not None:
            answer, names = self._refusal(retry_after), "limit"
        else:
            rules = self._book.choose(user_id, page)
            answer = self._answer(request, rider, page, per_page, rules)
            names = " ".join(rule.kind for rule in rules)
        seen = Seen(user_id, fingerprint(token) if token else "", page, per_page, answer.status, names, wall)
        self._counts.add(request.path, seen)
        if self._log_requests:
            sys.stderr.write(f"page={page} user={user_id} token={seen.token} -> {answer.status} {names}\n")
        return answer

    def _answer(
        self, request: Request, rider: Rider | None, page: int, per_page: int, rules: list[FaultRule]
    ) -> Answer:
        changes = [rule for rule in rules if rule.kind not in ANSWERS]
        bad = next((rule for rule in rules if rule.kind in ANSWERS), None)
        if request.method != "GET":
            answer = error(405, 0, "")
        elif bad is not None and bad.kind in READY:
            answer = READY[bad.kind](bad)
        elif rider is None:
            answer = READY[self._rejection.kind](self._rejection)
        elif not (page >= 1 and 1 <= per_page <= 1000):
            answer = error(400, 0, "")
        else:
            shaping = [rule for rule in changes if rule.kind not in ("latency", "gzip", "chunked")]
            answer = Answer(200, self._listing.page(rider, page, per_page, shaping), dict(JSON))
            if bad is not None:
                misdeliver(answer, bad)
        answer.delay = self._latency
        for rule in changes:
            if rule.kind == "latency":
                answer.delay += (rule.seconds or 0.0) + self._rng.random() * rule.jitter
            elif rule.kind == "gzip":
                answer.body = gzip.compress(answer.body)
                answer.headers["Content-Encoding"] = "gzip"
            elif rule.kind == "chunked" and answer.delivery == "whole":
                answer.delivery = "chunked"
        return answer

    def _outage(self, rule: FaultRule, left: float) -> Answer:
        if rule.form == "refuse":
            self._loop.call_soon(self._leave_for, left)
            return Answer(0, delivery="reset")
        if rule.form == "close":
            return Answer(0, delivery="close")
        if rule.form == "hang":
            return Answer(0, delivery="hang", seconds=min(left, HANG_SECONDS))
        answer = status_answer(rule)
        answer.delay = self._latency
        return answer

    def _refusal(self, retry_after: str) -> Answer:
        headers = JSON | {"Retry-After": retry_after} if retry_after else dict(JSON)
        return Answer(429, TOO_MANY, headers, delay=self._latency)

    def _elsewhere(self, request: Request) -> Answer:
        """Any other path. A followed redirect would arrive here."""
        self._counts.add_elsewhere(request.path, "authorization" in request.headers)
        return error(404, 0, "")

    def _control(self, request: Request) -> Answer:
        what = request.path.removeprefix("/_sandbox/")
        try:
            match request.method, what:
                case "GET", "stats":
                    stats = msgspec.structs.replace(self._counts.stats, limit=self._limiter.counts)
                    return Answer(200, encode(stats), JSON)
                case "GET", "requests":
                    return Answer(200, encode(list(self._counts.seen)), JSON)
                case "POST", "faults":
                    self._set_faults(decode_rules(request.body))
                case "POST", "limit":
                    self._limiter.replace(msgspec.json.decode(request.body, type=Limit | None))
                case "POST", "world":
                    self._listing.replace(msgspec.json.decode(request.body, type=World))
                case "POST", "reset":
                    self._counts.reset()
                    self._set_faults([])
                    self._limiter.replace(None)
                case _:
                    return Answer(404, b"{}", JSON)
        except (ValueError, msgspec.MsgspecError) as wrong:
            return Answer(400, encode({"error": str(wrong)}), JSON)
        return Answer(200, b"{}", JSON)

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
