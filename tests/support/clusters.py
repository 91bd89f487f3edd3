"""Real clusters, `manage.py qcluster`, in process groups of their own, as a service manager would start them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from bytemark_sync.sandbox import World
from tests.support.harness import Portal, manage, start_manage, unique_name
from tests.support.servers import ROOT, Redis, SandboxProcess, wait_for

LIMIT = 12
"""SYNC_HEARTBEAT_LIMIT of these tests, in seconds."""
USERS = 160


class Cluster:
    """`manage.py qcluster`; SIGKILL takes the whole process group, as a machine that loses its power."""

    def __init__(self, folder: Path, database_url: str, env: dict[str, str], tree: Path = ROOT) -> None:
        self.log = folder / f"{unique_name('cluster')}.log"
        with self.log.open("w") as log:
            self.process: subprocess.Popen[str] = start_manage(
                "qcluster",
                database_url=database_url,
                env=env,
                tree=tree,
                start_new_session=True,
                stdout=log,
                stderr=log,
            )

    def __enter__(self) -> Self:
        wait_for(lambda: "ready for work" in self.log.read_text(), 30, "the cluster is up")
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(30)

    def stop(self) -> int:
        """SIGTERM to the first process, as systemd's KillMode=mixed does."""
        self.process.terminate()
        return self.process.wait(60)

    def worked(self) -> bool:
        return "processing sync_batch" in self.log.read_text()


class Network:
    """A machine's way to Bytemark, which can be cut: what is connected is closed, and nothing connects any more."""

    def __init__(self, url: str) -> None:
        self._there = "127.0.0.1", urlsplit(url).port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._ends: list[socket.socket] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, name="network", daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        for each in [self._listener, *self._ends]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                there = socket.create_connection(self._there)
                self._ends += [here, there]
                for source, target in ((here, there), (there, here)):
                    threading.Thread(target=self._carry, args=(source, target), name="carried", daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)


class ClusterScenario:
    """A world in a database, the API that knows it, and a way to start clusters on it."""

    def __init__(self, stack: ExitStack, folder: Path, url: str, *, redis: Redis | None, latency: float) -> None:
        self.world = World.sample(users=USERS, listed=(3, 12), seed=7, trouble=0.1)
        self.portal, self.url = Portal(url), url
        self.portal.fill(self.world)
        self.sandbox = stack.enter_context(SandboxProcess(self.world, latency=latency))
        self.env = {
            "BYTEMARK_CUSTOMER_API_URL": self.sandbox.url,
            "BYTEMARK_WORKERS": "2",
            "SYNC_BATCH_USERS": "8",
            "SYNC_HEARTBEAT_LIMIT": str(LIMIT),
            "REDIS_URL": redis.url if redis else "",
        }
        self._stack, self._folder = stack, folder

    def cluster(self, network: Network | None = None, tree: Path = ROOT) -> Cluster:
        """`network`: its only way to Bytemark. `tree`: whose code."""
        way = {"BYTEMARK_CUSTOMER_API_URL": network.url} if network else {}
        return self._stack.enter_context(Cluster(self._folder, self.url, self.env | way, tree))

    def enqueue(self, tree: Path = ROOT) -> None:
        done = manage("sync_order_items", "--enqueue", "--json", database_url=self.url, env=self.env, tree=tree)
        assert done.status == 0, done.stderr
        assert done.json["status"] == "queued"

    def stored(self) -> int:
        """Orders stored so far; -1 while the database is away."""
        try:
            return int(self.portal.value("SELECT COUNT(*) FROM bytemark_sync_stored_order"))
        except Exception:
            return -1

    def wait_for_a_third(self) -> None:
        orders = len(self.world.pending())
        wait_for(lambda: self.stored() > orders / 3, 60, "a third is stored")
        assert 0 <= self.stored() < orders * 0.8, "too fast for a test of what happens in the middle"

    def is_closed(self) -> bool:
        with suppress(Exception):
            return bool(self.portal.runs()[0]["finished_at"])
        return False

    def everything_is_stored_once_and_told_truthfully(self, within: float) -> None:
        wait_for(self.is_closed, within, "the run is closed", every=0.2)
        (run,) = self.portal.runs()
        assert self.portal.items() == self.world.expected_items()
        assert self.portal.reasons() == self.world.expected_reasons()
        assert (run["users"], run["users_planned"]) == (USERS, USERS)
        assert run["users_failed"] == len(self.world.expected_failed_users())
        assert run["orders"] == len(self.world.pending())
        assert run["orders_synced"] == len(self.world.pending()) - len(self.world.expected_reasons())
        assert run["status"] == "partial"
        assert run["error"] == ""
        statuses = self.portal.all("SELECT DISTINCT status FROM bytemark_sync_batch")
        assert statuses == [("done",)]

    def health(self) -> dict[str, Any]:
        return manage("sync_status", "--json", database_url=self.url, env=self.env).json


MakeClusterScenario = Callable[..., ClusterScenario]
