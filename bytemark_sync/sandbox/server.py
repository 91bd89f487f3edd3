"""The sandbox: the thread or process that serves it."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from bytemark_sync.sandbox.accounts import Accounts, Lifetime, parse_lifetimes
from bytemark_sync.sandbox.api import Api
from bytemark_sync.sandbox.control import SandboxControl
from bytemark_sync.sandbox.faults import FaultRule, parse_faults
from bytemark_sync.sandbox.http_server import Connection
from bytemark_sync.sandbox.limits import Limit, parse_limit
from bytemark_sync.sandbox.world import World


class Sandbox(SandboxControl):
    """A sandbox in a thread of this process: `with Sandbox(world) as sandbox: sandbox.url`.

    `latency` in seconds before each answer. `envelope` is `data` or `bare`. `rejection` is the answer to an unknown
    token, as a rule of kind `status` or `errors`. `limit` is on all requests for orders and logins together. `port` 0
    takes a free one. `client_ids` and `client_secret` are those that a login is accepted with, by default any.
    `lifetimes`: how long tokens live, by default for ever; a login ends the rider's older tokens, unless they are kept.
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
        login_path: str = "/users/login",
        client_ids: Iterable[str] = (),
        client_secret: str = "",
        lifetimes: Iterable[Lifetime] | str = (),
        keeps_older_tokens: bool = False,
        log_requests: bool = False,
    ) -> None:
        super().__init__()
        given = parse_lifetimes(lifetimes) if isinstance(lifetimes, str) else list(lifetimes)
        accounts = Accounts(
            world,
            time.monotonic(),
            client_ids=tuple(client_ids),
            client_secret=client_secret,
            keeps_older_tokens=keeps_older_tokens,
        )
        accounts.lifetimes = given
        self._api = Api(
            accounts,
            faults=parse_faults(faults) if isinstance(faults, str) else list(faults),
            limit=parse_limit(limit) if isinstance(limit, str) else limit,
            latency=latency,
            seed=seed,
            envelope=envelope,
            rejection=rejection,
            orders_path=orders_path,
            login_path=login_path,
            log_requests=log_requests,
            leave_for=lambda seconds: self._loop.call_soon(self._leave_for, seconds),
        )
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
        return Connection(self._api.handle, self._connections)
