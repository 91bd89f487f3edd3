"""Beyond the targets: other latencies, more workers and processes, more orders, long lists."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack

from bytemark_sync.sandbox import ListedOrder, Rider, World
from tests.benchmark.harness import FIRST_BULK_USER, Harness, fill_bulk, sample, sandbox
from tests.benchmark.report import Row, Section
from tests.support.harness import Portal, manage, start_manage
from tests.support.servers import Redis, wait_for

LONG_LIST, LONG_LIST_MILLISECONDS = 300, 10


def speed(harness: Harness, quick: bool) -> Section:
    """Whole processes at 16 and 64 workers, against the old way."""
    rows = []
    for milliseconds, users in ((0, 200),) if quick else ((0, 200), (50, 200), (200, 100)):
        world = sample(users)
        with sandbox(world, milliseconds) as api:
            with harness.portal(world) as portal:
                old = harness.old_way(portal, api.url)
            rows.append(Row(f"{milliseconds} ms, {users} users, old way", f"{old.seconds:.1f} s"))
            for workers in (16, 64):
                with harness.portal(world) as portal:
                    new = harness.sync(portal, api.url, workers)
                    assert portal.items() == world.expected_items()
                text = f"{old.seconds / new.seconds:.1f} times as fast"
                rows.append(Row(f"{milliseconds} ms, {users} users, {workers} workers", text))
    note = "Whole processes, start-up included (a third of a second, which is most of a run at 0 ms)."
    return Section("Latency and workers", note, rows)


def long_lists(harness: Harness, quick: bool) -> Section:
    """Users whose lists are long, and twice as many of them."""
    few = 1_000  # and no fewer: a thousand pending orders are read at once
    many = few * 3 // 2 if quick else few * 2
    tokens = [f"bulk-{FIRST_BULK_USER + number}" for number in range(many)]
    listed = [ListedOrder(f"long-{number}") for number in range(LONG_LIST * 3 // 2)]
    riders = [Rider(number + 1, tokens[number::31], listed[: LONG_LIST // 2 + 10 * number]) for number in range(31)]
    rows, peaks = [], {}
    with sandbox(World(riders), LONG_LIST_MILLISECONDS) as api:
        for users in (few, many):
            with harness.portal() as portal:
                fill_bulk(portal, users, orders_per_user=1)
                cost = harness.sync(portal, api.url, 16)
            assert cost.json["orders_not_found"] == users
            peaks[users] = cost.memory_kib
            text = f"{cost.memory_kib / 1024:.1f} MiB, {cost.json['api_requests']:,} requests"
            rows.append(Row(f"Peak memory, {users:,} users", text))
    each = (peaks[many] - peaks[few]) / (many - few)
    rows.append(Row("One more user", f"{each:.1f} KiB", "<= 2 KiB", each <= 2))
    note = (
        f"Users with {LONG_LIST // 2} to {LONG_LIST * 3 // 2} listed orders, {LONG_LIST} on average, and a pending one"
        f" that is not among them, so each list is read to its end; {LONG_LIST_MILLISECONDS} ms a page, 16 workers."
    )
    return Section("Long lists", note, rows)


def planning(harness: Harness, quick: bool) -> Section:
    """Planning a run of everything for the queue."""
    rows, peaks = [], []
    for pending in (1_000, 100_000) if quick else (1_000, 100_000, 1_000_000):
        with harness.portal() as portal:
            fill_bulk(portal, pending, stored=pending // 2, orders_per_user=3)
            cost = harness.run(portal, "http://127.0.0.1:9", "-m", "tests.benchmark.planning")
        peaks.append(cost.memory_kib)
        text = f"{cost.json['seconds']:.2f} s, {cost.memory_kib / 1024:.0f} MiB"
        rows.append(Row(f"{pending:,} pending: {cost.json['users']:,} users in {cost.json['batches']} batches", text))
    ratio = peaks[-1] / peaks[0]
    rows.append(Row("Peak memory, most / fewest pending", f"{ratio:.2f}", "<= 1.25", ratio <= 1.25))
    return Section("Planning for the queue", "Half as many orders again are stored already.", rows)


def clusters(harness: Harness, quick: bool) -> Section:
    """The same run by one, two and four worker processes on Redis."""
    world = sample(200 if quick else 1000)
    seconds = {}
    with Redis() as redis, sandbox(world, 50) as api:
        for processes in (1, 2, 4):
            with harness.portal(world) as portal:
                seconds[processes] = _queued(harness, portal, api.url, redis.url, processes)
                assert portal.items() == world.expected_items()
    rows = [Row("1 worker process", f"{seconds[1]:.1f} s")]
    for processes in (2, 4):
        text = f"{seconds[1] / seconds[processes]:.1f} times as fast"
        rows.append(Row(f"{processes} worker processes", text))
    note = (
        "From asking for the run to its end, 16 requests side by side in each process, 50 ms a page. All processes, the"
        " database, Redis and the sandbox share the machine's cores."
    )
    return Section("Worker processes on Redis", note, rows)


def _queued(harness: Harness, portal: Portal, api_url: str, redis_url: str, processes: int) -> float:
    env = {
        "DJANGO_SETTINGS_MODULE": "tests.benchmark.cluster_settings",
        "BENCH_CLUSTER_WORKERS": str(processes),
        "BYTEMARK_CUSTOMER_API_URL": api_url,
        "REDIS_URL": redis_url,
        "SYNC_BATCH_USERS": "25",
        "DEBUG": "0",
        "SECRET_KEY": "made-up-for-the-benchmark-" + "0" * 30,
    }
    log = harness.server.folder / f"cluster-{processes}.log"
    with ExitStack() as stack:
        output = stack.enter_context(log.open("w"))
        cluster = start_manage("qcluster", database_url=portal.url, env=env, stdout=output, stderr=subprocess.STDOUT)
        stack.callback(cluster.wait, 30)
        stack.callback(cluster.terminate)
        wait_for(lambda: log.read_text().count("ready for work") >= processes, 60, "the cluster is up")
        started = time.monotonic()
        asked = manage("sync_order_items", "--enqueue", "--json", database_url=portal.url, env=env)
        assert asked.status == 0, asked.stderr
        wait_for(lambda: portal.runs()[-1]["finished_at"] is not None, 300, "the run ends")
        return time.monotonic() - started
