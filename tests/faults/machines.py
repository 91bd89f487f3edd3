"""What a lane runs on: database, broker, clock, and the stand-ins for Bytemark and Slack."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bytemark_sync.sandbox import Sandbox
from tests.faults.processes import Child, fork
from tests.faults.proxy import CommitCutter
from tests.faults.renewal import accounts_of
from tests.faults.scenario import Scenario
from tests.support.harness import Portal, places, sqlite_url
from tests.support.misbehaving_server import Request, Server
from tests.support.servers import Databases, MariaDB, MySQL, Redis, free_port
from tests.support.slack import reply

HERE = Path(__file__).resolve().parent


class Machines:
    """The servers of a lane and the environment that points at them. Made before Django reads its settings."""

    def __init__(self, lane: str, folder: Path) -> None:
        self.lane = lane
        self.folder = folder
        self.sqlite = folder / "portal.sqlite3"
        self.databases: Databases | None = None
        self.mariadb: MariaDB | None = None
        """The same, where it is the lane's own, to be killed and started."""
        self.url = sqlite_url(self.sqlite)
        self.redis: Redis | None = None
        self.cutter: CommitCutter | None = None
        self.sandbox_port = free_port()
        self.slack_port = free_port()
        self.slack_log = folder / "slack.jsonl"

    def environment(self) -> dict[str, str]:
        values = {
            "DEBUG": "0",  # with it on, Django keeps every query in memory
            "SECRET_KEY": "made-up-for-the-fault-campaign-" + "0" * 30,
            "BYTEMARK_CUSTOMER_API_URL": f"http://127.0.0.1:{self.sandbox_port}",
            "BYTEMARK_BACKOFF_BASE": "0.005",
            "BYTEMARK_BACKOFF_CAP": "0.05",
            "BYTEMARK_OUTAGE_PATIENCE": "5",
            "SLACK_BOT_TOKEN": "made-up-slack-token",
            "SLACK_CHANNEL_ID": "C0FAULTS",
            "SLACK_API_URL": f"http://127.0.0.1:{self.slack_port}/api/",
            "TIME_ZONE": "UTC",
        }
        if self.databases is not None and self.cutter is not None:
            self.url = self.databases.create_two_places(f"faults_{uuid.uuid4().hex[:8]}", renews=True)
            values |= places(self.url.replace(f":{self.databases.port}/", f":{self.cutter.port}/"))
        else:
            values |= places(self.url)
        if self.redis is not None:
            values["REDIS_URL"] = self.redis.url
        return values

    @property
    def portal(self) -> Portal:
        """Past the proxy, as the owner of both databases."""
        return Portal(self.url)

    def jump(self, seconds: float) -> None:
        """Set the wall clock this far off, for every process of the lane."""
        with Path(os.environ["JUMPING_CLOCK"]).open("r+b") as file:
            file.write(struct.pack("d", seconds))


@contextmanager
def machines(lane: str) -> Iterator[Machines]:
    folder = Path(tempfile.mkdtemp(prefix=f"bytemark-faults-{lane}-"))
    made = Machines(lane, folder)
    try:
        if lane in ("mariadb", "redis"):
            # A killed server must not forget what it has acknowledged: 2 writes each commit to the file.
            made.databases = made.mariadb = MariaDB(options=["--innodb-flush-log-at-trx-commit=2"])
            made.mariadb.__enter__()
        elif lane == "mysql":
            made.databases = MySQL(os.environ["TEST_MYSQL_URL"])
        if made.databases is not None:
            made.cutter = CommitCutter(made.databases.port)
        if lane == "redis":
            made.redis = Redis()
            made.redis.__enter__()
        yield made
    finally:
        if made.cutter is not None:
            made.cutter.close()
        if lane == "mysql" and made.databases is not None and "#" in made.url:
            made.databases.drop(made.url)
        for server in (made.redis, made.mariadb):
            if server is not None:
                server.__exit__(None, None, None)
        shutil.rmtree(folder, ignore_errors=True)


def clock_environment() -> dict[str, str]:
    """What a process needs in its environment to live by the clock that jumps; RuntimeError without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise RuntimeError("the clock lane needs a C compiler (cc)")
    folder = Path(tempfile.mkdtemp(prefix="bytemark-clock-"))
    library, clock = folder / "clock.so", folder / "clock"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", library, HERE / "clock.c", "-ldl", "-lm", "-pthread"]
    subprocess.run([str(part) for part in command], check=True, timeout=60)
    clock.write_bytes(struct.pack("d", 0.0))
    return {"LD_PRELOAD": str(library), "JUMPING_CLOCK": str(clock)}


def start_sandbox(scenario: Scenario, port: int, output: Path) -> Child:
    """A sandbox of its own for each scenario, so that its draws begin anew."""
    reader, writer = os.pipe()

    def serve() -> None:
        Sandbox(
            scenario.world(),
            faults=scenario.rules,
            latency=scenario.latency,
            port=port,
            seed=scenario.seed,
            envelope=scenario.envelope,
            rejection=scenario.rejection,
            limit=scenario.limit,
            **(accounts_of(scenario.renewal) if scenario.renewal else {}),
        ).run(lambda _url: os.close(writer))

    child = fork(serve, output)
    os.close(writer)
    os.read(reader, 1)  # ends when the child closes its end, or dies
    os.close(reader)
    if child.poll() is not None:
        raise RuntimeError(f"the sandbox did not start: {child.text()[-500:]}")
    return child


def start_slack(port: int, log: Path, output: Path) -> Child:
    """A Slack that takes every message and writes it down."""

    def take(request: Request, sock: socket.socket) -> None:
        with log.open("ab") as file:
            file.write(json.dumps(request.body.decode()).encode() + b"\n")
        reply()(request, sock)

    listener = socket.create_server(("127.0.0.1", port))
    child = fork(lambda: Server(take, listener=listener).closing.wait(), output)
    listener.close()
    return child
