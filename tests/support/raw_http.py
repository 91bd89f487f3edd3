"""Requests to the sandbox over a plain socket: what really came over the wire."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from bytemark_sync.sandbox import Rider, Sandbox, World

WORLD = World.sample(users=3, listed=(25, 25), seed=5, accounts=True)
RIDER = WORLD.riders[0]


@dataclass
class Raw:
    """What came over the wire until the server closed, the body was whole, or `seconds` had passed."""

    head: str
    body: bytes
    closed: bool
    reset: bool
    seconds: float

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    @property
    def headers(self) -> dict[str, str]:
        lines = [line.partition(": ") for line in self.head.split("\r\n")[1:]]
        return {name.lower(): value for name, _, value in lines}

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


def ask(sandbox: Sandbox, page: int = 1, *, token: str | None = RIDER.tokens[0], seconds: float = 2.0) -> Raw:
    """One request for orders over a plain socket."""
    authorization = f"Authorization: Bearer {token}\r\n" if token is not None else ""
    request = f"GET /v4.0/orders?page={page}&per_page=10 HTTP/1.1\r\nHost: x\r\n{authorization}\r\n"
    return _exchange(sandbox, request.encode(), seconds)


def log_in(sandbox: Sandbox, rider: Rider = RIDER, *, seconds: float = 2.0, **changes: Any) -> Raw:
    """One login over a plain socket. `changes` to the JSON; a member that is None is left out."""
    sent = {"email": rider.email, "password": rider.password, "client_id": "a client"} | changes
    return post(sandbox, json.dumps({name: text for name, text in sent.items() if text is not None}), seconds=seconds)


def post(sandbox: Sandbox, body: str, *, method: str = "POST", headers: str = "", seconds: float = 2.0) -> Raw:
    head = f"{method} /users/login HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body.encode())}\r\n{headers}\r\n"
    return _exchange(sandbox, (head + body).encode(), seconds)


def _exchange(sandbox: Sandbox, request: bytes, seconds: float) -> Raw:
    started = time.monotonic()
    host, port = urlsplit(sandbox.url).netloc.split(":")
    raw, closed, reset = b"", False, False
    with socket.create_connection((host, int(port)), timeout=seconds) as connection:
        connection.sendall(request)
        try:
            while not closed and not _whole(raw):
                part = connection.recv(65536)
                raw, closed = raw + part, not part
        except ConnectionResetError:
            reset = True
        except TimeoutError:
            pass
    head, _, body = raw.partition(b"\r\n\r\n")
    return Raw(head.decode(), body, closed, reset, time.monotonic() - started)


def _whole(raw: bytes) -> bool:
    head, end, body = raw.partition(b"\r\n\r\n")
    if not end:
        return False
    if b"chunked" in head:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])


def uuids(raw: Raw) -> list[str]:
    return [order["uuid"] for order in raw.json["data"]["orders"]]
