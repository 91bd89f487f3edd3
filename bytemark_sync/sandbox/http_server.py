"""A small HTTP/1.1 server connection with keep-alive. It can also misbehave: drips, cuts, resets."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, unquote

MAX_HEAD = 64 * 1024
MAX_BODY_BYTES = 512 * 1024 * 1024
END = b"\r\n\r\n"


@dataclass(slots=True)
class Request:
    """Header names are in lower case. `first`: the first request of its connection."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""
    first: bool = False


@dataclass(slots=True)
class Answer:
    """`delay` in seconds before it begins. `delivery`: whole, chunked, or a way to misbehave of `deliver` below."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delivery: str = "whole"
    seconds: float = 0.0
    limit: int = 0
    delay: float = 0.0

    def head(self, framing: str) -> bytes:
        try:
            phrase = HTTPStatus(self.status).phrase
        except ValueError:
            phrase = "Status"
        lines = [
            f"HTTP/1.1 {self.status} {phrase}",
            *(f"{name}: {text}" for name, text in self.headers.items()),
            framing,
        ]
        return "\r\n".join(lines).encode("latin-1") + END

    def whole(self) -> bytes:
        return self.head(f"Content-Length: {len(self.body)}") + self.body

    def chunked(self) -> bytes:
        size = max(1, len(self.body) // 3)
        parts = [self.body[at : at + size] for at in range(0, len(self.body), size)]
        return self.head("Transfer-Encoding: chunked") + b"".join(map(_chunk, parts)) + b"0\r\n\r\n"


def _chunk(part: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(part), part)


class Connection(asyncio.Protocol):
    """One connection, one request at a time. `handle` gives the answer and a function to call at its end."""

    def __init__(
        self, handle: Callable[[Request], tuple[Answer, Callable[[], None]]], connections: set[Connection]
    ) -> None:
        self._handle = handle
        self._connections = connections
        self._buffer = bytearray()
        self._timer: asyncio.TimerHandle | None = None
        self._finish: Callable[[], None] | None = None
        self._keep = True
        self._first = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - for mypy; asyncio gives no other for TCP
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        self._ended()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._finish is None:
            self._next()

    def abort(self) -> None:
        self._transport.abort()

    def _next(self) -> None:
        """Answer the next request when all of it has arrived."""
        end = self._buffer.find(END)
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                self.abort()
            return
        try:
            request = _parse(bytes(self._buffer[:end]))
            length = int(request.headers.get("content-length") or 0)
        except ValueError:
            self._transport.write(Answer(400, headers={"Connection": "close"}).whole())
            self._transport.close()
            return
        if length > MAX_BODY_BYTES:
            self.abort()
            return
        if len(self._buffer) < end + 4 + length:
            return
        request.body = bytes(self._buffer[end + 4 : end + 4 + length])
        del self._buffer[: end + 4 + length]
        request.first, self._first = self._first, False
        self._keep = request.headers.get("connection", "").lower() != "close"
        answer, self._finish = self._handle(request)
        if answer.delay > 0:
            self._timer = self._loop.call_later(answer.delay, self.deliver, answer)
        else:
            self.deliver(answer)

    def deliver(self, answer: Answer) -> None:
        match answer.delivery:
            case "whole":
                self._done(answer.whole())
            case "chunked":
                self._done(answer.chunked())
            case "hang":
                self._timer = self._loop.call_later(answer.seconds, self._transport.close)
            case "close":
                self._transport.close()
            case "reset":
                self._transport.write(answer.whole()[: answer.limit])
                # A moment later, so that the reset does not overtake the bytes before it.
                self._timer = self._loop.call_later(0.02 if answer.limit else 0, self._reset)
            case "drip_headers":
                head = answer.head(f"Content-Length: {len(answer.body)}")
                self._drip(head, 0, answer.seconds, answer.body)
            case "drip_body":
                head = answer.head(f"Content-Length: {len(answer.body)}")
                self._transport.write(head)
                self._drip(answer.body, 0, answer.seconds)
            case "cut":
                self._transport.write(answer.whole()[: -max(1, len(answer.body) // 2)])
                self._transport.close()
            case "cut_chunked":
                half = answer.body[: len(answer.body) // 2]
                self._transport.write(answer.head("Transfer-Encoding: chunked") + _chunk(half))
                self._transport.close()
            case other:
                raise ValueError(other)

    def _drip(self, payload: bytes, at: int, seconds: float, rest: bytes = b"") -> None:
        if at >= len(payload):
            self._done(rest)
            return
        self._transport.write(payload[at : at + 1])
        self._timer = self._loop.call_later(seconds, self._drip, payload, at + 1, seconds, rest)

    def _reset(self) -> None:
        connected = self._transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _done(self, payload: bytes) -> None:
        # Counted before it is sent, so that a client with the answer finds it counted.
        self._ended()
        if payload:
            self._transport.write(payload)
        if not self._keep:
            self._transport.close()
        elif self._buffer:
            self._next()

    def _ended(self) -> None:
        finish, self._finish, self._timer = self._finish, None, None
        if finish is not None:
            finish()


def _parse(head: bytes) -> Request:
    """Raises `ValueError` if it is no request."""
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _version = first.split(" ")
    path, _, query = target.partition("?")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    asked = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()} if query else {}
    return Request(method, unquote(path), asked, headers)
