"""requests' transport, with a deadline for the whole answer and without settings from the environment.

`requests` limits the time of each `recv` only. A server that sends one byte a second could hold the caller for ever,
even while it sends the headers. Here the response reads its socket through `_TimedReader`, which knows how much time is
left. This works with TLS too (docs/decisions/0003-a-deadline-of-our-own.md).
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any
from urllib.parse import urlencode

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from bytemark_sync.bytemark.config import BytemarkSettings

_STOP_POLL = 0.25
"""Seconds between looks at the stop event while the server is silent."""

_current = threading.local()


class Stopped(Exception):
    """The stop event was set while waiting for the answer. Not an `OSError`, which a layer would take for a broken
    connection."""


class Deadline:
    """The time by which one answer must be complete, headers included. It begins when the object is made."""

    def __init__(self, seconds: float, read_timeout: float, stop: threading.Event) -> None:
        self._until = time.monotonic() + seconds
        self._read_timeout = read_timeout
        self._stop = stop

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._until

    def check(self) -> None:
        """Raise `Stopped` or `TimeoutError` if no more may be read."""
        if self._stop.is_set():
            raise Stopped
        if self.passed:
            raise TimeoutError("the deadline of the whole answer has passed")

    def receive(self, sock: socket.socket, buffer: Any) -> int:
        """`recv_into` that waits only as long as the read timeout, the deadline and the stop event allow."""
        give_up = min(self._until, time.monotonic() + self._read_timeout)
        while True:
            self.check()
            left = give_up - time.monotonic()
            if left <= 0:
                raise TimeoutError("the server was silent for too long")
            sock.settimeout(min(left, _STOP_POLL))
            try:
                return sock.recv_into(buffer)
            except TimeoutError:
                continue


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline
        # Keeps the socket open while the answer is read, as http.client expects of makefile().
        self._keeper = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._deadline.receive(self._sock, buffer)

    def close(self) -> None:
        self._keeper.close()
        super().close()


class _TimedSocket:
    """The one method of a socket that `http.client.HTTPResponse` calls."""

    def __init__(self, sock: socket.socket, deadline: Deadline) -> None:
        self._sock = sock
        self._deadline = deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_TimedReader(self._sock, self._deadline), 16_384)


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(_TimedSocket(sock, _current.deadline), *args, **kwargs)  # type: ignore[arg-type]


class _Connection(HTTPConnection):
    response_class = _TimedResponse


class _TlsConnection(HTTPSConnection):
    response_class = _TimedResponse


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Connections whose answers have a deadline, over one TLS context that all threads share."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        super().init_poolmanager(connections, maxsize, block, ssl_context=self._context, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def cert_verify(self, *_args: Any, **_kwargs: Any) -> None:
        """The shared context verifies. requests would load all root certificates for each connection (20 ms)."""


@cache
def _context(ca_file: str) -> ssl.SSLContext:
    """Verifies certificate and host name. Made once a process, because loading root certificates takes 20 ms."""
    return ssl.create_default_context(cafile=ca_file)


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """No redirect is followed. requests would first read the whole body of a redirect, however large."""


class Transport:
    """Requests to one URL by one method, with the times of `settings`; one `requests.Session` a thread.

    `trust_env` is off on purpose. Otherwise requests would replace the rider's `Authorization` by a password from
    `.netrc`, and send tokens to any proxy that the environment names.
    `ca_file` replaces certifi's bundle.
    """

    def __init__(
        self,
        url: str,
        settings: BytemarkSettings,
        stop: threading.Event,
        *,
        ca_file: str | None = None,
        method: str = "GET",
    ) -> None:
        self._seconds = settings.request_deadline
        self._read_timeout = settings.read_timeout
        self._timeout = (min(settings.connect_timeout, self._seconds), min(self._read_timeout, self._seconds))
        self._stop = stop
        self._url = url
        self._method = method
        self._context = _context(ca_file or certifi.where())
        self._local = threading.local()

    def deadline(self) -> Deadline:
        return Deadline(self._seconds, self._read_timeout, self._stop)

    def get(self, params: dict[str, int], headers: dict[str, str], deadline: Deadline) -> requests.Response:
        """Send one request and read the headers of its answer. The caller reads the body, and closes it on failure.

        Follows no redirect and repeats nothing. Raises `Stopped` and what requests, urllib3, ssl and http.client raise.
        """
        session, request = self._session()
        request.url = f"{request.url}?{urlencode(params)}"
        return self._send(session, request, headers, deadline)

    def post(self, body: bytes, headers: dict[str, str], deadline: Deadline) -> requests.Response:
        """The same with a body."""
        session, request = self._session()
        request.body = body
        return self._send(session, request, headers | {"Content-Length": str(len(body))}, deadline)

    def _send(
        self,
        session: requests.Session,
        request: requests.PreparedRequest,
        headers: dict[str, str],
        deadline: Deadline,
    ) -> requests.Response:
        request.headers.update(headers)
        _current.deadline = deadline
        try:
            return session.send(request, timeout=self._timeout, stream=True, allow_redirects=False)
        finally:
            del _current.deadline

    def _session(self) -> tuple[requests.Session, requests.PreparedRequest]:
        """This thread's session, and a copy of its request without parameters, body and the rider's headers."""
        if not hasattr(self._local, "session"):
            session = _Session()
            session.trust_env = False
            session.mount(self._url, _Adapter(self._context))
            # A cookie of one rider must never be sent with another rider's token.
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
            self._local.session = session, session.prepare_request(requests.Request(self._method, self._url))
        own: tuple[requests.Session, requests.PreparedRequest] = self._local.session
        # A copy: to prepare each request anew takes a third of a request's processor time.
        return own[0], own[1].copy()
