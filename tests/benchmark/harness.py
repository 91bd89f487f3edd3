"""What every measurement needs: a durable private MariaDB, a sandbox process, and commands whose cost is taken."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bytemark_sync.sandbox import World
from tests.support.children import spawn
from tests.support.harness import Portal, copy_database, manage, places
from tests.support.servers import ROOT, MariaDB, SandboxProcess, clean_environment

PENDING_USERS, ORDERS_PER_USER, LISTED, SEED = 200, 3, (10, 60), 1
FIRST_BULK_USER = 1_000_000


@dataclass(frozen=True)
class Cost:
    """Of one whole process: wall and processor seconds, peak memory in KiB, and the JSON line that it printed."""

    seconds: float
    processor: float
    memory_kib: int
    status: int
    json: dict[str, Any]


class Harness:
    """`with Harness() as harness:`; databases are made from one that is migrated once."""

    def __enter__(self) -> Harness:
        # Durable as installed: each commit is on the disk before it is answered.
        self.server = MariaDB(durable=True, options=["--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M"])
        self.server.__enter__()
        try:
            self._template = self.server.create_two_places("template")
            done = manage("migrate", "-v0", database_url=self._template)
            if done.status:
                raise RuntimeError(done.stderr)
        except BaseException:
            self.server.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.server.__exit__(None, None, None)

    @contextmanager
    def portal(self, world: World | None = None) -> Iterator[Portal]:
        """A fresh database, with `world` in it."""
        name = f"bench_{uuid.uuid4().hex[:8]}"
        portal = Portal(self.server.create_two_places(name))
        copy_database(Portal(self._template), portal)
        if world is not None:
            portal.fill(world)
        yield portal
        self.server.drop(portal.url)

    def run(
        self,
        portal: Portal,
        sandbox_url: str,
        *command: object,
        env: Mapping[str, str] | None = None,
        statuses: tuple[int, ...] = (0,),
    ) -> Cost:
        """A Python command (`manage.py ...`, `-m ...`) as in production; its last line of output is JSON.

        Any other exit status than `statuses` is a RuntimeError.
        """
        file = self.server.folder / f"cost-{uuid.uuid4().hex[:8]}"
        process = spawn(
            [sys.executable, "-S", "-E", ROOT / "tests/benchmark/timed.py", file, sys.executable, *map(str, command)],
            env=environment(portal, sandbox_url, env),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        stdout, stderr = process.communicate(timeout=900)
        cost = json.loads(Path(file).read_text())
        if cost["status"] not in statuses:
            raise RuntimeError(f"{command} ended with {cost['status']}: {stdout[-1000:]}{stderr[-2000:]}")
        return Cost(**cost, json=json.loads(stdout.strip().splitlines()[-1]))

    def sync(self, portal: Portal, sandbox_url: str, workers: int) -> Cost:
        """`manage.py sync_order_items`."""
        return self.run(portal, sandbox_url, "manage.py", "sync_order_items", "-v0", "--json", "--workers", workers)

    def old_way(self, portal: Portal, sandbox_url: str) -> Cost:
        return self.run(portal, sandbox_url, "-m", "tests.benchmark.old_way")


def environment(portal: Portal, sandbox_url: str, env: Mapping[str, str] | None = None) -> dict[str, str]:
    production = {
        "DEBUG": "0",
        "SECRET_KEY": "made-up-for-the-benchmark-" + "0" * 30,
        **places(portal.url),
        "BYTEMARK_CUSTOMER_API_URL": sandbox_url,
    }
    return clean_environment(production | dict(env or {}))


def sample(users: int = PENDING_USERS) -> World:
    """The benchmark's world: 3 pending orders a user among 10 to 60 listed ones."""
    return World.sample(users=users, orders_per_user=ORDERS_PER_USER, listed=LISTED, seed=SEED)


def sandbox(world: World, milliseconds: float, faults: str = "") -> SandboxProcess:
    return SandboxProcess(world, latency=milliseconds / 1000, faults=faults)


def fill_bulk(portal: Portal, pending: int, stored: int = 0, orders_per_user: int = 10) -> None:
    """A great many orders, made by the server itself, without riders. Stored ones come first, as in life."""
    total = pending + stored
    users = max(1, -(-total // orders_per_user))
    user = f"{FIRST_BULK_USER} + MOD(seq - 1, {users})"
    uuid_of = "CONCAT('00000000-0000-4000-a000-', LPAD(seq, 12, '0'))"
    for first in range(1, total + 1, 50_000):
        last = min(total, first + 49_999)
        portal.execute(
            "INSERT INTO bytemark_orders (id, order_uuid, user_id, oauth_token, amount)"
            f" SELECT seq, {uuid_of}, {user}, CONCAT('bulk-', {user}), '0' FROM seq_{first}_to_{last}"
        )
        if first <= stored:
            portal.execute(
                "INSERT INTO bytemark_order_items (order_id, order_uuid, oauth_token, product_uuid, pass_uuid)"
                f" SELECT seq, {uuid_of}, CONCAT('bulk-', {user}), CONCAT('product-', MOD(seq, 8)),"
                f" CONCAT('pass-', seq) FROM seq_{first}_to_{min(last, stored)}"
            )
    portal.execute(
        "INSERT INTO bytemark_tokens (user_id, token, status)"
        f" SELECT {FIRST_BULK_USER} + seq, CONCAT('bulk-', {FIRST_BULK_USER} + seq), 'active' FROM seq_0_to_{users - 1}"
    )
