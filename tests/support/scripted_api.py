"""Bytemark's list of orders as a test scripts it, over a real socket; and a fetch's result in short."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.domain.matching import UserResult
from bytemark_sync.domain.reasons import Reason
from tests.support.misbehaving_server import Request, Server, reset, send, serve


def order(uuid: str, *passes: str, product: str = "PRODUCT-1") -> dict[str, Any]:
    """An order as Bytemark lists it."""
    items = [{"uuid": "item", "product": {"uuid": product}, "passes": [{"uuid": p, "status": "ok"} for p in passes]}]
    return {"uuid": uuid, "order_items": items}


def page(*orders: Any, total: Any = None, errors: Any = ()) -> dict[str, Any]:
    """A page in the `data` envelope."""
    data: dict[str, Any] = {"orders": list(orders)}
    if total is not None:
        data["total_count"] = total
    return {"server_time": "2026-01-01T00:00:00Z", "data": data, "errors": list(errors)}


class Api:
    """A server whose answers a test scripts: `answer(request)` gives status and body, or raises to drop the line."""

    def __init__(self) -> None:
        self.answer: Callable[[Request], tuple[int, Any]] = lambda _request: (200, page(total=0))
        self.headers: dict[str, str] = {}
        self.server: Server

    def handle(self, request: Request, sock: socket.socket) -> None:
        try:
            status, body = self.answer(request)
        except ConnectionError:
            reset(sock)
        else:
            send(sock, status, body, self.headers)

    def client(self, stop: threading.Event | None = None, **more: Any) -> BytemarkClient:
        quick = {"backoff_base": 0.002, "backoff_cap": 0.01, "read_timeout": 2.0, "request_deadline": 3.0} | more
        return BytemarkClient(BytemarkSettings(self.server.url, **quick), stop=stop)

    @property
    def asked(self) -> list[tuple[str, int]]:
        return [(request.token, request.page) for request in self.server.requests]

    @classmethod
    @contextmanager
    def serving(cls) -> Iterator[Self]:
        scripted = cls()
        with serve(scripted.handle) as server:
            scripted.server = server
            yield scripted


def paged(listed: list[Any], size: int = 10, total: Any = "exact") -> Callable[[Request], tuple[int, Any]]:
    """A list in pages of `size`, as Bytemark would serve it."""

    def answer(request: Request) -> tuple[int, Any]:
        start = (request.page - 1) * size
        return 200, page(*listed[start : start + size], total=len(listed) if total == "exact" else total)

    return answer


def stored(result: UserResult) -> dict[str, list[str]]:
    return {one.order.uuid: [item.pass_uuid for item in one.items] for one in result.found}


def reasons(result: UserResult) -> dict[str, Reason]:
    return {one.order.uuid: one.reason for one in result.left}
