"""A backlog of a million orders, worked by two clusters of which one is killed, and the whole product beside it."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import md5
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bytemark_sync.sandbox import World
from tests.benchmark.harness import ORDERS_PER_USER, SEED, Cost, Harness, environment, sandbox
from tests.benchmark.limits import AS_INSTALLED
from tests.benchmark.report import Row, Section
from tests.benchmark.visitor import METRICS_TOKEN, Times, Visitor, web
from tests.benchmark.watch import ClusterProcesses, DatabaseWork, Role, Watch, children
from tests.support.clusters import Cluster
from tests.support.harness import Portal
from tests.support.servers import Redis, SandboxProcess, wait_for

TITLE = "A million pending orders"
ORDERS, QUICK_ORDERS = 1_000_000, 20_000
LISTED = (3, 10)
TROUBLE = 0.01
PAGE_SIZE = 100
HEARTBEAT_LIMIT = 60
UNDER_WAY = 500
"""Users whose pages a cluster has, and has not stored, at most: 4 a thread, 16 threads, 4 workers, and some more."""
MIN_ORDERS_PER_SECOND = 300
"""A run that is slower than this is given up."""
DIGEST = "CONV(LEFT(MD5(CONCAT_WS('|', order_id, order_uuid, oauth_token, product_uuid, pass_uuid)), 15), 16, 10)"
CHECKSUM = f"SELECT COUNT(*), SUM(CAST({DIGEST} AS UNSIGNED)) FROM bytemark_order_items"


@dataclass(frozen=True)
class Goal:
    """What a correct run leaves behind. `items`: their number and `checksum`; `pages`: those that it must ask for."""

    users: int
    orders: int
    items: tuple[int, int]
    reasons: dict[int, str]
    users_failed: int

    @classmethod
    def of(cls, world: World) -> Goal:
        pending = world.pending()
        return cls(
            users=len({order.user_id for order in pending}),
            orders=len(pending),
            items=checksum(world.expected_items()),
            reasons={order: str(reason.value) for order, reason in world.expected_reasons().items()},
            users_failed=len(world.expected_failed_users()),
        )

    @property
    def pages(self) -> int:
        """One a user, for no list is longer than a page; of those who fail no token opens a list."""
        return self.users - self.users_failed


def checksum(items: Iterable[tuple[object, ...]]) -> tuple[int, int]:
    """Number and sum of digests, as `CHECKSUM` has the server count them: the same for the same rows in any order."""
    count = total = 0
    for item in items:
        count += 1
        total += int(md5("|".join(map(str, item)).encode(), usedforsecurity=False).hexdigest()[:15], 16)
    return count, total


@dataclass
class Story:
    """What was seen while the run was worked. Times are seconds on the monotonic clock."""

    begun: float = 0.0
    ended: float = 0.0
    progress: list[tuple[float, int]] = field(default_factory=list)
    told: float = 0.0
    killed_at: int = 0
    commands: dict[str, Cost] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    database: dict[str, int] = field(default_factory=dict)
    pages: dict[str, Times] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        return self.ended - self.begun

    def note(self, stored: int) -> None:
        now = time.monotonic()
        self.progress.append((now, stored))
        if now - self.told >= 30:
            self.told = now
            print(f"      {now - self.begun:4.0f} s  {stored:,} orders are stored", file=sys.stderr, flush=True)

    def quarters(self, stored: int) -> list[float]:
        """Orders a second in each quarter of the time, from what was noted."""
        marks = [(self.begun, 0), *self.progress, (self.ended, stored)]
        found = []
        for number in range(4):
            edges = [self.begun + self.seconds * part / 4 for part in (number, number + 1)]
            first, last = (min(marks, key=lambda mark: abs(mark[0] - edge)) for edge in edges)
            found.append((last[1] - first[1]) / max(1e-9, last[0] - first[0]))
        return found


def million(harness: Harness, quick: bool) -> Section:
    """SCALE=100000 takes as many orders instead."""
    orders = int(os.environ.get("SCALE") or (QUICK_ORDERS if quick else ORDERS))
    marks = [time.monotonic()]
    with harness.portal() as portal:
        served, goal = _prepare(portal, orders, marks)
        with served as api:
            marks.append(time.monotonic())
            story = _work(harness, portal, api, goal)
            statuses = api.stats().statuses
        rows = [*_result(portal, goal, story, statuses), *_costs(story)]
    made, filled, loaded = (after - before for before, after in pairwise(marks))
    return Section(TITLE, _note(goal, made, filled, loaded), rows)


def _prepare(portal: Portal, orders: int, marks: list[float]) -> tuple[SandboxProcess, Goal]:
    """Without the garbage collector, which would look through millions of objects again and again."""
    gc.disable()
    try:
        users = -(-orders // ORDERS_PER_USER)
        world = World.sample(users, ORDERS_PER_USER, listed=LISTED, seed=SEED, trouble=TROUBLE)
        goal = Goal.of(world)
        marks.append(time.monotonic())
        portal.fill(world)
        marks.append(time.monotonic())
        return sandbox(world, 0), goal
    finally:
        gc.enable()


def _note(goal: Goal, made: float, filled: float, loaded: float) -> str:
    return (
        f"{goal.orders:,} pending orders of {goal.users:,} users on MariaDB with two databases, lists of {LISTED[0]}"
        f" to {LISTED[1]} orders, pages of {PAGE_SIZE}, {TROUBLE * 100:.0f} % of the users with something wrong; Redis;"
        " two `manage.py qcluster` as installed (4 workers, 16 users side by side in each), one of which is killed"
        " (SIGKILL for all its processes) when half is stored, and replaced by a new one; SYNC_HEARTBEAT_LIMIT is"
        f" {HEARTBEAT_LIMIT}. The sandbox answers at once, and shares the machine with all else. Meanwhile a person"
        " opens a page of the admin every two seconds (gunicorn with 8 threads, a real login). Figures in four parts"
        " are those of the four quarters of the run. Of each kind of process the memory is that of the largest, and the"
        " cores are what all of them took together. In vain:"
        f" answers with a page beyond those that were needed. Made in {made:.0f} s, put into the portal in"
        f" {filled:.0f} s, loaded by the sandbox in {loaded:.0f} s."
    )


# --- The run --------------------------------------------------------------------------------------------------------


def _work(harness: Harness, portal: Portal, api: SandboxProcess, goal: Goal) -> Story:
    story = Story()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="bytemark-bench-")))
        redis = stack.enter_context(Redis())
        env = _environment(portal, goal, api.url, redis.url)
        url, web_pid = stack.enter_context(web(folder, portal, env))
        clusters = [stack.enter_context(Cluster(folder, portal.url, env)) for _ in range(2)]
        seen = [(cluster.process.pid, cluster.log) for cluster in clusters]
        watch = stack.enter_context(Watch(_roles(harness, redis, api, web_pid, ClusterProcesses(seen))))
        before = DatabaseWork.of(harness.server)
        story.begun = time.monotonic()
        asked = harness.run(portal, api.url, "manage.py", "sync_order_items", "--enqueue", "--json", env=env)
        with Visitor(url, asked.json["run_id"]) as visitor:
            _wait(story, portal, goal, goal.orders // 2)
            clusters[0].kill()
            story.killed_at = _run(portal)["orders_synced"]
            clusters[0] = stack.enter_context(Cluster(folder, portal.url, env))
            seen.append((clusters[0].process.pid, clusters[0].log))
            looked = harness.run(portal, api.url, "manage.py", "sync_status", "--json", env=env, statuses=(0, 1))
            story.commands = {"sync_order_items --enqueue": asked, "sync_status": looked}
            _wait(story, portal, goal, None)
            story.ended = time.monotonic()
        story.database = DatabaseWork.of(harness.server).since(before)
        assert [cluster.stop() for cluster in clusters] == [0, 0]
    story.roles, story.pages = watch.roles, visitor.times
    return story


def _environment(portal: Portal, goal: Goal, api_url: str, redis_url: str) -> dict[str, str]:
    settings = {
        "ALLOWED_HOSTS": "127.0.0.1",
        "REDIS_URL": redis_url,
        "METRICS_TOKEN": METRICS_TOKEN,
        "BYTEMARK_PAGE_SIZE": str(PAGE_SIZE),
        "SYNC_HEARTBEAT_LIMIT": str(HEARTBEAT_LIMIT),
        # As installed for a million; of fewer there are so many batches that some are under way when a cluster dies.
        "SYNC_BATCH_USERS": str(max(10, min(500, goal.users // 40))),
    }
    return environment(portal, api_url, AS_INSTALLED | settings)


def _roles(harness: Harness, redis: Redis, api: SandboxProcess, web_pid: int, clusters: ClusterProcesses) -> Any:
    def of(process: Any) -> Any:
        return lambda: [process.pid]

    return {
        "Worker of a cluster": clusters.workers,
        "Guard of a cluster": clusters.guards,
        "Pusher and monitor of a cluster": clusters.others,
        "First process of a cluster": clusters.first,
        "Web (gunicorn)": lambda: [web_pid, *children(web_pid)],
        "mariadbd": of(harness.server.process),
        "Redis": of(redis.process),
        "Sandbox": of(api.process),
    }


def _wait(story: Story, portal: Portal, goal: Goal, stored: int | None) -> None:
    """Until so many orders are stored, or None: until the run has ended."""

    def there() -> bool:
        run = _run(portal)
        story.note(run["orders_synced"])
        return run["finished_at"] is not None or (stored is not None and run["orders_synced"] >= stored)

    wait_for(there, 300 + goal.orders / MIN_ORDERS_PER_SECOND, "the run gets on", every=0.5)


def _run(portal: Portal) -> dict[str, Any]:
    (run,) = portal.rows("SELECT * FROM bytemark_sync_run ORDER BY id LIMIT 1")
    return run


# --- Figures --------------------------------------------------------------------------------------------------------


def _result(portal: Portal, goal: Goal, story: Story, statuses: dict[str, int]) -> list[Row]:
    run = _run(portal)
    ((count, total),) = portal.all(CHECKSUM)
    exact = (count, int(total or 0)) == goal.items
    reasons = portal.reasons()
    failed = run["users_failed"]
    again = portal.value("SELECT SUM(tries) FROM bytemark_sync_batch")
    requests, vain = sum(statuses.values()), statuses.get("200", 0) - goal.pages
    allowed = UNDER_WAY + goal.pages // 500
    rate = run["orders_synced"] / story.seconds
    return [
        Row("From asking for the run to its end", f"{story.seconds:,.0f} s"),
        Row("Orders a second", f"{rate:,.0f} ({_parts(story.quarters(run['orders_synced']))})"),
        Row("Requests a second", f"{requests / story.seconds:,.0f}"),
        Row("Order items stored", f"{count:,}", f"{goal.items[0]:,}, each once, no other", exact),
        Row("Orders left with the reason that they must have", f"{len(reasons):,}", "all", reasons == goal.reasons),
        Row("Users failed", f"{failed:,}", f"{goal.users_failed:,}", failed == goal.users_failed),
        Row("Orders stored when the cluster was killed", f"{story.killed_at:,}"),
        Row("Batches handed out again for it", f"{again}", ">= 1", again >= 1),
        Row(
            "Pages asked for in vain",
            f"{vain:,} of {goal.pages:,}, {vain / goal.pages:.2%}",
            f"<= {allowed:,}",
            0 <= vain <= allowed,
        ),
        Row("Other answers (rejected tokens)", f"{requests - statuses.get('200', 0):,}"),
    ]


def _costs(story: Story) -> list[Row]:
    rows = [
        Row(f"`manage.py {name}`", f"{cost.memory_kib / 1024:.0f} MiB, {cost.seconds:.1f} s")
        for name, cost in story.commands.items()
    ]
    for name, role in story.roles.items():
        memory = f"{role.peak:,.0f} MiB ({_parts(role.quarters(story.begun, story.ended))})"
        rows.append(Row(f"{name}", f"{memory}, {role.processor() / story.seconds:.2f} cores"))
    each = {name: count / story.seconds for name, count in story.database.items()}
    waits, waited = story.database["Innodb_row_lock_waits"], story.database["Innodb_row_lock_time"]
    rows += [
        Row("Database, statements and transactions a second", f"{each['Questions']:,.0f}, {each['Com_commit']:,.0f}"),
        Row("Database, rows read a second", f"{each['Rows_read']:,.0f}"),
        Row("Database, waits for a row's lock", f"{waits:,}, {waited / max(1, waits):,.0f} ms on average"),
        Row("Database, deadlocks", f"{story.database['Innodb_deadlocks']:,}"),
    ]
    for name, times in story.pages.items():
        figure = f"{times.median * 1000:,.0f} ms, at worst {times.worst * 1000:,.0f} ms, of {len(times.seconds)}"
        bad = f"; {len(times.failed)} failed ({times.failed[0]})" if times.failed else ""
        rows.append(Row(f"Page, {name}", figure + bad, "all answer", not times.failed))
    return rows


def _parts(figures: Iterable[float]) -> str:
    return " / ".join(f"{figure:,.0f}" for figure in figures)
