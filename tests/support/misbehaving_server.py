"""A scriptable HTTP server over real sockets: a function answers each request as badly as it likes."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
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
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    closing: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
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
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(65536)
        if not piece:
            return None
        head += piece
    first, *lines = head.split(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    parts = urlsplit(first.split(" ")[1])
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(
        parts.path, {k: v[0] for k, v in parse_qs(parts.query).items()}, headers, number, first.split(" ")[0]
    )


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
