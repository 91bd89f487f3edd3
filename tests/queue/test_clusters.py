"""Real clusters on real brokers and databases; servers and processes are killed and restarted in the middle.

`manage.py qcluster` runs in process groups of its own, as a service manager would start it. Whatever dies, within twice
the heartbeat limit everything is stored, once, and the run is closed truthfully.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import pytest

from bytemark_sync.sandbox import World
from tests.support.harness import SERVERS, FreshDatabase, Portal, manage, start_manage
from tests.support.servers import Databases, MariaDB, Redis, SandboxProcess, wait_for

pytestmark = pytest.mark.cluster
LIMIT = 12
"""SYNC_HEARTBEAT_LIMIT of these tests, in seconds."""
USERS = 160


class Cluster:
    """`manage.py qcluster`; SIGKILL takes the whole process group, as a machine that loses its power."""

    def __init__(self, folder: Path, database_url: str, env: dict[str, str]) -> None:
        self.log = folder / f"cluster-{len(list(folder.glob('cluster-*')))}.log"
        with self.log.open("w") as log:
            self.process: subprocess.Popen[str] = start_manage(
                "qcluster", database_url=database_url, env=env, start_new_session=True, stdout=log, stderr=log
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


class Stage:
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

    def cluster(self) -> Cluster:
        return self._stack.enter_context(Cluster(self._folder, self.url, self.env))

    def enqueue(self) -> None:
        done = manage("sync_order_items", "--enqueue", "--json", database_url=self.url, env=self.env)
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


SetUp = Callable[..., Stage]


@pytest.fixture
def set_up(fresh_database: FreshDatabase, tmp_path: Path) -> Iterator[SetUp]:
    with ExitStack() as stack:

        def build(
            backend: str = "mariadb", *, redis: Redis | None = None, url: str = "", latency: float = 0.3
        ) -> Stage:
            return Stage(stack, tmp_path, url or fresh_database(backend), redis=redis, latency=latency)

        yield build


@pytest.mark.parametrize(
    ("backend", "broker"), [("sqlite", "database"), *((each, "database") for each in SERVERS), ("mariadb", "redis")]
)
def test_two_clusters_share_a_run_and_one_is_killed(
    set_up: SetUp, request: pytest.FixtureRequest, backend: str, broker: str
) -> None:
    redis = request.getfixturevalue("redis_server") if broker == "redis" else None
    stage = set_up(backend, redis=redis)
    first, second = stage.cluster(), stage.cluster()
    stage.enqueue()
    wait_for(lambda: first.worked() and second.worked(), 30, "both clusters work")
    stage.wait_for_a_third()
    first.kill()
    stage.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT)
    assert second.stop() == 0


def test_workers_side_by_side_do_not_deadlock_on_their_run(
    set_up: SetUp, server_backend: str, server: Databases
) -> None:
    stage = set_up(server_backend, latency=0.02)
    before = server.deadlocks()
    stage.cluster(), stage.cluster()
    stage.enqueue()
    stage.everything_is_stored_once_and_told_truthfully(within=30)
    assert server.deadlocks() - before <= 1


@pytest.mark.server
def test_redis_is_restarted_in_the_middle_and_forgets_everything(set_up: SetUp) -> None:
    with Redis() as redis:
        stage = set_up(redis=redis)
        cluster = stage.cluster()
        stage.enqueue()
        stage.wait_for_a_third()
        redis.kill()
        redis.start()
        # django-q2's own pause after a lost broker is 10 s, so that much more than the limit itself is to be allowed.
        stage.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT + 10)
        assert cluster.stop() == 0


@pytest.mark.server
@pytest.mark.parametrize("broker", ["database", "redis"])
def test_the_database_is_restarted_in_the_middle(set_up: SetUp, request: pytest.FixtureRequest, broker: str) -> None:
    redis = request.getfixturevalue("redis_server") if broker == "redis" else None
    with MariaDB(durable=True) as server:
        url = server.create_two_places("restarted")
        assert manage("migrate", "-v0", database_url=url).status == 0
        stage = set_up(url=url, redis=redis)
        cluster = stage.cluster()
        stage.enqueue()
        stage.wait_for_a_third()
        server.kill()
        time.sleep(1)
        server.start()
        stage.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT + 10)
        assert cluster.stop() == 0


def test_the_only_cluster_dies_and_a_new_one_goes_on(set_up: SetUp) -> None:
    stage = set_up("sqlite")
    cluster = stage.cluster()
    stage.enqueue()
    stage.wait_for_a_third()
    cluster.kill()
    assert stage.is_closed() is False
    stage.cluster()
    stage.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT)


@pytest.mark.server
def test_a_request_while_redis_is_away_is_worked_when_it_is_back(set_up: SetUp) -> None:
    with Redis() as redis:
        stage = set_up("mariadb", redis=redis, latency=0.0)
        stage.env["SYNC_HEARTBEAT_LIMIT"] = "4"
        redis.kill()
        stage.enqueue()
        redis.start()
        stage.cluster()
        stage.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT)


def test_a_cluster_shows_that_it_lives_and_stops_in_good_order(set_up: SetUp, run_health: Callable[..., Any]) -> None:
    stage = set_up("sqlite", latency=0.15)
    assert run_health(stage)["cluster_alive"] is False
    cluster = stage.cluster()
    wait_for(lambda: bool(run_health(stage)["cluster_alive"]), 20, "the cluster's sign of life")
    stage.enqueue()
    stage.wait_for_a_third()
    assert cluster.stop() == 0
    (run,) = stage.portal.runs()
    assert run["status"] == "running"  # the rest waits in the queue for the next cluster
    stage.cluster()
    stage.everything_is_stored_once_and_told_truthfully(within=2 * LIMIT)


@pytest.fixture
def run_health() -> Callable[..., Any]:
    def health(stage: Stage) -> dict[str, Any]:
        return manage("sync_status", "--json", database_url=stage.url, env=stage.env).json

    return health


def _children(pid: int) -> list[int]:
    """Processes whose parent is `pid`, oldest first."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found.append(int(stat.parent.name))
    return sorted(found)


@pytest.mark.parametrize("victim", ["idle workers", "guard"])
def test_a_cluster_works_on_after_any_of_its_processes_is_killed(set_up: SetUp, victim: str) -> None:
    """An idle worker dies with the lock of the queue in its hands; a guard leaves its workers and pusher behind."""
    stage = set_up("sqlite", latency=0.0)
    cluster = stage.cluster()
    wait_for(lambda: "pushing tasks" in cluster.log.read_text(), 30, "the cluster is complete")
    (guard,) = _children(cluster.process.pid)
    orphans = _children(guard)
    for pid in orphans[:4] if victim == "idle workers" else [guard]:
        os.kill(pid, signal.SIGKILL)
    time.sleep(2)  # by now the guard has replaced its workers, and whoever has no guard is gone
    stage.enqueue()
    stage.everything_is_stored_once_and_told_truthfully(within=60)
    assert not any(Path(f"/proc/{pid}").exists() for pid in (orphans if victim == "guard" else orphans[:4]))
    assert cluster.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_for_the_whole_group_stops_the_cluster(
    tmp_path: Path, sqlite_database_url: str, number: signal.Signals
) -> None:
    with Cluster(tmp_path, sqlite_database_url, {}) as cluster:
        os.killpg(cluster.process.pid, number)
        assert cluster.process.wait(30) == 0
