"""A TCP proxy before MariaDB that cuts a connection between a commit and its answer: the worst moment there is.

The server has committed, the client cannot know. A process of its own: forks of the lane must not hold its sockets.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import socket
import threading
from contextlib import suppress

from tests.servers import die_with_parent

_COMMIT = b"\x07\x00\x00\x00\x03COMMIT"
"""The packet: length 7, number 0, COM_QUERY, text."""


class CommitCutter:
    """Listens on `port`; `arm(n)` cuts the next `n` commits after the server took them, before the answer."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._shared = mmap.mmap(-1, 2)  # the commits still to cut, and those that were
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = int(self._listener.getsockname()[1])
        self._pid = os.fork()
        if not self._pid:
            die_with_parent()
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            try:
                self._accept()
            finally:
                os._exit(1)
        self._listener.close()

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)

    def arm(self, commits: int) -> None:
        self._shared[0] = commits

    @property
    def cut(self) -> int:
        return self._shared[1]

    def _take(self) -> bool:
        with self._lock:
            if not self._shared[0]:
                return False
            self._shared[0] -= 1
            self._shared[1] = (self._shared[1] + 1) % 256
            return True

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(client,), name="proxied", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            server = socket.create_connection(("127.0.0.1", self._server_port), timeout=5)
            server.settimeout(None)
            with server:
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._pump(client, server)

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        while True:
            for source in select.select([client, server], [], [])[0]:
                data = source.recv(65_536)
                if not data:
                    return
                if source is client:
                    server.sendall(data)
                    if data.endswith(_COMMIT) and self._take():
                        server.recv(65_536)  # the server's "done", which nobody will hear
                        return
                else:
                    client.sendall(data)
