"""What befalls the machines while runs are under way. Each is a fork of its own, or an act of the lane process."""

from __future__ import annotations

import os
import resource
import signal
import time
from contextlib import suppress
from random import Random
from typing import Any

from django.db import DatabaseError, connection, transaction

from bytemark_sync.models import Order
from tests.faults.machines import Machines
from tests.faults.processes import Child, descendants, fork
from tests.faults.scenario import Chaos

BACKGROUND = ("kill", "deadlock", "lock")


def in_background(chaos: Chaos, machines: Machines, seed: int) -> Child:
    """Start one of `BACKGROUND` in a fork; it ends by itself."""
    rng = Random(f"chaos {seed} {chaos}")
    works: dict[str, Any] = {
        "kill": lambda: _kill_connections(machines, rng),
        "deadlock": lambda: _lock_in_reverse(chaos.value, rng),
        "lock": lambda: _hold_the_write_lock(chaos.value),
    }
    return fork(works[chaos.kind], machines.folder / "chaos.log")


def _kill_connections(machines: Machines, rng: Random) -> None:
    """KILL every connection of the product, three times."""
    assert machines.databases is not None
    admin = machines.databases.connect("")
    for _ in range(3):
        cursor = admin.cursor()
        cursor.execute("SELECT id FROM information_schema.processlist WHERE user = %s", [machines.portal.name])
        for (number,) in cursor.fetchall():
            with suppress(Exception):
                cursor.execute(f"KILL {number}")
        time.sleep(rng.uniform(0.01, 0.2))


def _lock_in_reverse(seconds: float, rng: Random) -> None:
    """Sessions that lock order rows in the reverse order, again and again for `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        # The deadlock's victim may as well be this session.
        with suppress(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SELECT id FROM {Order._meta.db_table} ORDER BY id DESC LIMIT 12")
            for (order_id,) in cursor.fetchall():
                cursor.execute(f"SELECT id FROM {Order._meta.db_table} WHERE id = %s FOR UPDATE", [order_id])
                time.sleep(rng.uniform(0, 0.01))


def _hold_the_write_lock(seconds: float) -> None:
    """SQLite: somebody else writes."""
    with suppress(DatabaseError), transaction.atomic():
        time.sleep(seconds)


def limit_disk(chaos: Chaos, machines: Machines) -> None:
    """SQLite, called in the fork that is to suffer: no room for more than a few pages, of the database or of a file."""
    if chaos.kind == "full":
        options = connection.settings_dict["OPTIONS"]
        pages = machines.sqlite.stat().st_size // 4096 + int(chaos.value)
        options["init_command"] += f" PRAGMA max_page_count={pages};"
    elif chaos.kind == "file_limit":
        largest = max(machines.sqlite.stat().st_size, 100_000) + int(chaos.value) * 4096
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))


def act(chaos: Chaos, machines: Machines, clusters: list[Child], rng: Random) -> None:
    """One of the acts that the lane process does itself; returns when it is done."""
    if chaos.kind == "jump":
        machines.jump(chaos.value)
    elif chaos.kind in ("cut", "cut_write") and machines.cutter is not None:
        machines.cutter.arm(rng.randint(1, 3), every_write=chaos.kind == "cut_write")
    elif chaos.kind == "restart" and machines.mariadb is not None:
        (machines.mariadb.kill if rng.random() < 0.7 else machines.mariadb.stop)()
        time.sleep(chaos.value)
        machines.mariadb.start()
    elif chaos.kind == "redis_restart" and machines.redis is not None:
        machines.redis.kill()
        time.sleep(chaos.value)
        machines.redis.start()
    elif chaos.kind == "flush" and machines.redis is not None:
        import redis

        redis.Redis.from_url(machines.redis.url).flushall()
    elif chaos.kind == "kill_worker":
        _kill_worker(clusters, rng)


def _kill_worker(clusters: list[Child], rng: Random) -> None:
    """SIGKILL for one of a cluster's processes: guard, worker, monitor or pusher."""
    alive = [cluster for cluster in clusters if cluster.poll() is None]
    below = [pid for cluster in alive for pid in descendants(cluster.pid)]
    if below:
        with suppress(ProcessLookupError):
            os.kill(rng.choice(below), signal.SIGKILL)
