"""requests' transport with what it lacks: a deadline for the whole answer, and nothing taken from the environment.

`requests` times each `recv`, so a server that drips a byte a second holds its caller for ever, in the headers already.
Here the response reads its socket through `_TimedReader`, which knows how much time is left; TLS included
(docs/decisions/0003-a-deadline-of-our-own.md).
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import certifi
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

_STOP_POLL = 0.25
"""Seconds between looks at the stop event while the server is silent."""

_current = threading.local()


class Stopped(Exception):
    """The stop event was set while the answer was awaited. No `OSError`, so no layer takes it for a broken line."""


class Deadline:
    """When one answer must be complete, status line and headers included; seconds from its making."""

    def __init__(self, seconds: float, read_timeout: float, stop: threading.Event) -> None:
        self._until = time.monotonic() + seconds
        self._read_timeout = read_timeout
        self._stop = stop

    @property
    def passed(self) -> bool:
        return time.monotonic() >= self._until

    def check(self) -> None:
        """Raise `Stopped` or `TimeoutError` where no more may be read."""
        if self._stop.is_set():
            raise Stopped
        if self.passed:
            raise TimeoutError("the deadline of the whole answer has passed")

    def receive(self, sock: socket.socket, buffer: Any) -> int:
        """`recv_into`, waiting no longer than the read timeout, the deadline or the stop event allow."""
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
        # Holds the socket open for as long as the answer is read, as http.client expects of a makefile().
        self._keeper = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._deadline.receive(self._sock, buffer)

    def close(self) -> None:
        self._keeper.close()
        super().close()


class _TimedSocket:
    """The one thing that `http.client.HTTPResponse` asks of a socket."""

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
        """The shared context verifies; requests would load all root certificates anew, 20 ms for each connection."""


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """None is followed. requests would read the whole body of a redirect, however large, to prepare for it."""


class Transport:
    """GET requests to the host of `url`; one `requests.Session` a thread.

    `trust_env` is off, deliberately: requests would otherwise put the password of a `.netrc` in the place of the
    rider's `Authorization`, and hand tokens to whatever proxy the environment names.
    `ca_file` replaces certifi's bundle.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout: float,
        read_timeout: float,
        request_deadline: float,
        stop: threading.Event,
        ca_file: str | None = None,
    ) -> None:
        self._timeout = (min(connect_timeout, request_deadline), min(read_timeout, request_deadline))
        self._read_timeout = read_timeout
        self._seconds = request_deadline
        self._stop = stop
        self._url = url
        # Verifies certificate and host name; made once, and shared, for its root certificates cost 20 ms to load.
        self._context = ssl.create_default_context(cafile=ca_file or certifi.where())
        self._local = threading.local()

    def deadline(self) -> Deadline:
        return Deadline(self._seconds, self._read_timeout, self._stop)

    def get(self, params: dict[str, int], headers: dict[str, str], deadline: Deadline) -> requests.Response:
        """Send one GET and read the headers of its answer; the caller reads the body and closes it on failure.

        Redirects are not followed and nothing is repeated. Raises what requests, urllib3, ssl and http.client raise,
        and `Stopped`.
        """
        _current.deadline = deadline
        try:
            return self._session().get(
                self._url, params=params, headers=headers, timeout=self._timeout, stream=True, allow_redirects=False
            )
        finally:
            del _current.deadline

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = _Session()
            session.trust_env = False
            session.mount(self._url, _Adapter(self._context))
            # A cookie of one rider must never travel with another's token.
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
            self._local.session = session
        return session
