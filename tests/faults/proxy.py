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

from tests.support.children import die_with_parent

_QUERY = b"\x00\x03"
"""The end of a packet's head: number 0, and the command COM_QUERY; the text follows."""
_WRITES = (b"COMMIT", b"INSERT", b"UPDATE", b"DELETE")


class CommitCutter:
    """Listens on `port`; `arm(n)` cuts the next `n` commits after the server took them, before the answer.

    With `every_write`, other writes as well: outside a transaction each of them is a commit.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._shared = mmap.mmap(-1, 3)  # the commits still to cut, those that were, and whether to cut every write
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

    def arm(self, commits: int, *, every_write: bool = False) -> None:
        self._shared[2] = every_write
        self._shared[0] = commits

    @property
    def cut(self) -> int:
        return self._shared[1]

    def _take(self, data: bytes) -> bool:
        """Whether to cut here; a query's packet begins with three bytes of its length."""
        if data[3:5] != _QUERY or not data[5:].startswith(_WRITES if self._shared[2] else _WRITES[:1]):
            return False
        if len(data) < 4 + int.from_bytes(data[:3], "little"):
            return False  # only a part of it: the server would wait for the rest
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
                    if self._take(data):
                        server.recv(65_536)  # the server's "done", which nobody will hear
                        return
                else:
                    client.sendall(data)
