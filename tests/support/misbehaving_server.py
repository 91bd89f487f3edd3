"""A scriptable HTTP server over real sockets: a function answers each request as badly as it likes."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Request:
    """One request as it arrived; header names in lower case. `connection` counts the connections from 0."""

    path: str
    query: dict[str, str]
    headers: dict[str, str]
    connection: int
    method: str = "GET"
    body: bytes = b""

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    @property
    def page(self) -> int:
        return int(self.query["page"])


Handler = Callable[[Request, socket.socket], None]


@dataclass
class Server:
    handler: Handler
    context: ssl.SSLContext | None = None
    listener: socket.socket | None = None
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listener = self.listener or socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        scheme = "https" if self.context else "http"
        return f"{scheme}://localhost:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self.closing.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in list(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            number, self.connections = self.connections, self.connections + 1
            threading.Thread(target=self._serve, args=(sock, number), daemon=True).start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        self._open.add(sock)
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
            while (request := _read_request(sock, number)) is not None:
                self.requests.append(request)
                self.handler(request, sock)
        with contextlib.suppress(OSError):
            sock.close()


@contextlib.contextmanager
def serve(handler: Handler, context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(handler, context)
    try:
        yield server
    finally:
        server.close()


def _read_request(sock: socket.socket, number: int) -> Request | None:
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = sock.recv(65536)
        if not piece:
            return None
        raw += piece
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = urlsplit(first.split(" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        piece = sock.recv(65536)
        if not piece:
            return None
        body += piece
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return Request(parts.path, query, headers, number, first.split(" ")[0], body)


def send(sock: socket.socket, status: int = 200, body: Any = b"", headers: dict[str, str] | None = None) -> None:
    """A whole answer; `body` is JSON unless it is bytes already."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": "application/json", "Content-Length": str(len(data))} | (headers or {})
    head = f"HTTP/1.1 {status} Words\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    sock.sendall(head.encode("latin-1") + b"\r\n" + data)


def reset(sock: socket.socket) -> None:
    """Drop the connection with a TCP reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    sock.close()


def sending(*pieces: bytes, pause: float = 0.0, then: Callable[[socket.socket], None] = socket.socket.close) -> Handler:
    """Send raw bytes, a pause before each piece but the first, and then do something to the connection."""

    def handler(_request: Request, sock: socket.socket) -> None:
        for number, piece in enumerate(pieces):
            time.sleep(pause if number else 0)
            sock.sendall(piece)
        then(sock)

    return handler


def dripping(start: bytes, drop: bytes) -> Handler:
    """Never silent for long, never done, until the client goes."""

    def handler(_request: Request, sock: socket.socket) -> None:
        sock.sendall(start)
        while True:
            time.sleep(0.05)
            sock.sendall(drop)

    return handler


def hang(_request: Request, sock: socket.socket) -> None:
    """No answer for as long as the client stays."""
    sock.recv(1)
