"""Against an API that limits, and one that goes away: how much of the limit is used, and what it costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.benchmark.harness import Harness, environment, sample, sandbox
from tests.benchmark.report import Row, Section
from tests.support.clusters import Cluster
from tests.support.harness import Portal, manage
from tests.support.servers import SandboxProcess, wait_for

MILLISECONDS = 50
REQUESTS_PER_USER = 3.6
"""About, in the benchmark's world."""
SECONDS, QUICK_SECONDS = 40, 15
TIMES = 3
"""Pairs of runs of each row, of which two must hold."""
SIDE_BY_SIDE = 3
"""Rows that are measured at once: each waits most of its time."""
PATIENCE = 60
AS_INSTALLED = {
    "BYTEMARK_BACKOFF_BASE": "0.5",
    "BYTEMARK_BACKOFF_CAP": "30",
    "BYTEMARK_CONNECT_TIMEOUT": "5",
    "BYTEMARK_READ_TIMEOUT": "30",
    "BYTEMARK_REQUEST_DEADLINE": "60",
}


@dataclass(frozen=True)
class Api:
    """What the API allows (`spec`, as for --limit; `rate` in good answers a second), and by whom it is asked."""

    words: str
    spec: str
    rate: float
    workers: int
    clusters: int = 0
    """0: one command. Else as many clusters with one worker process each, which share the workers."""
    min_used: float = 0.90
    max_refused: float = 0.01


APIS = (
    Api("100/s, burst 20, Retry-After 1", "rate=100,burst=20,retry_after=1", 100, 16),
    Api("100/s, burst 20, no header", "rate=100,burst=20", 100, 16),
    Api("50/s, burst 10, no header", "rate=50,burst=10", 50, 64),
    Api("100/s, burst 20, Retry-After 1", "rate=100,burst=20,retry_after=1", 100, 128, clusters=2),
    Api("8/s, burst 8, no header", "rate=8,burst=8", 8, 64),
    Api("600 in each 10 s, Retry-After", "quota=600,window=10,retry_after=reset", 60, 16, 0, 0.80, 0.03),
    Api("600 in each 10 s, no header", "quota=600,window=10", 60, 16, 0, 0.80, 0.03),
)


@dataclass(frozen=True)
class Usage:
    """Of one run, as the sandbox saw it: shares of the limit and of all requests, and the run's failed users."""

    used: float
    refused: float
    beyond_a_flight: float
    """Share of the requests that was refused, without the first `workers` of them."""
    users_failed: int


def limits(harness: Harness, quick: bool) -> Section:
    times = 1 if quick else TIMES
    seconds = QUICK_SECONDS if quick else SECONDS
    works: list[Callable[[], list[Row]]] = [partial(_limited, harness, api, times, seconds) for api in APIS]
    works += [partial(_comes_back, harness, times), partial(_gone_for_good, harness, times)]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        rows = [row for found in pool.map(lambda work: work(), works) for row in found]
    note = (
        f"The sandbox answers after {MILLISECONDS} ms and limits all requests together. Used: good answers a second"
        " from the first request to the last, of what is allowed. Refused: the share of requests answered 429; of a"
        " first run, which knows nothing of the limit, one flight of its workers is not counted. A second run begins"
        f" at the learnt pace. {times} pairs of runs of about {seconds} s, {SIDE_BY_SIDE} rows side by side; of three,"
        " two must hold. Two clusters are two `manage.py qcluster` with 64 workers each on one database."
        " In an outage every connection is closed without an answer; "
        f"BYTEMARK_OUTAGE_PATIENCE is {PATIENCE} s where the API is gone for good."
    )
    return Section("Limits and outages", note, rows)


def _limited(harness: Harness, api: Api, times: int, seconds: float) -> list[Row]:
    firsts, seconds_ = [], []
    for _ in range(times):
        first, second = _pair(harness, api, max(20, round(api.rate * seconds / REQUESTS_PER_USER)))
        firsts.append(first)
        seconds_.append(second)
    asked_by = f"two clusters, {api.workers}" if api.clusters else f"{api.workers} workers"
    target = f"used >= {api.min_used:.0%}, refused <= {api.max_refused:.0%}, failed 0".replace("%", " %")
    rows = []
    for name, usages, beyond in (("first run", firsts, True), ("second run", seconds_, False)):
        held = [
            one.used >= api.min_used
            and (one.beyond_a_flight if beyond else one.refused) <= api.max_refused
            and one.users_failed == 0
            for one in usages
        ]
        figure = f"used {_percents([one.used for one in usages])}, refused {_percents([one.refused for one in usages])}"
        if beyond:
            figure += f" (beyond a flight {_percents([one.beyond_a_flight for one in usages])})"
        figure += f", failed {_list(one.users_failed for one in usages)}"
        rows.append(Row(f"{api.words}; {asked_by}; {name}", figure, target, _most(held)))
    return rows


def _pair(harness: Harness, api: Api, users: int) -> tuple[Usage, Usage]:
    """Two runs, one after the other, each with half of the riders."""
    world = sample(2 * users)
    with sandbox(world, MILLISECONDS) as served, harness.portal(world) as portal:
        with _asker(harness, api, portal, served) as ask:
            usages = []
            for _ in range(2):
                served.reset()
                served.set_limit(api.spec)
                said = ask(users)
                usages.append(_usage(api, served, said))
        if not any(one.users_failed for one in usages):
            assert portal.items() == world.expected_items()
    return usages[0], usages[1]


def _usage(api: Api, served: SandboxProcess, said: dict[str, Any]) -> Usage:
    stats = served.stats()
    good, refused = stats.statuses.get("200", 0), stats.statuses.get("429", 0)
    return Usage(
        used=good / (stats.last_at - stats.first_at) / api.rate,
        refused=refused / stats.requests,
        beyond_a_flight=max(0, refused - api.workers) / stats.requests,
        users_failed=int(said["users_failed"]),
    )


Ask = Callable[[int], dict[str, Any]]
"""Runs that many users, and gives the run's counts."""


@contextmanager
def _asker(harness: Harness, api: Api, portal: Portal, served: SandboxProcess) -> Iterator[Ask]:
    if not api.clusters:
        yield lambda users: _command(harness, portal, served, api.workers, users)
        return
    env = environment(
        portal,
        served.url,
        AS_INSTALLED
        | {
            "DJANGO_SETTINGS_MODULE": "tests.benchmark.cluster_settings",
            "BENCH_CLUSTER_WORKERS": "1",
            "BYTEMARK_WORKERS": str(api.workers // api.clusters),
            "SYNC_BATCH_USERS": "100",
        },
    )
    with TemporaryDirectory(prefix="bytemark-bench-") as folder, ExitStack() as stack:
        for _ in range(api.clusters):
            stack.enter_context(Cluster(Path(folder), portal.url, env))

        def ask(users: int) -> dict[str, Any]:
            args = ("sync_order_items", "--enqueue", "--json", "--limit", users)
            asked = manage(*args, database_url=portal.url, env=env)
            assert asked.status == 0, asked.stderr
            wait_for(lambda: portal.runs()[-1]["finished_at"] is not None, 300, "the run ends")
            return portal.runs()[-1]

        yield ask


def _command(
    harness: Harness, portal: Portal, served: SandboxProcess, workers: int, users: int, **settings: str
) -> dict[str, Any]:
    args = ("manage.py", "sync_order_items", "-v0", "--json", "--workers", workers, "--limit", users)
    cost = harness.run(portal, served.url, *args, env=AS_INSTALLED | settings, statuses=(0, 1))
    return cost.json | {"wall": cost.seconds}


def _comes_back(harness: Harness, times: int, users: int = 300, seconds: int = 25) -> list[Row]:
    failed, repeated = [], []
    world = sample(users)
    for _ in range(times):
        rule = f"outage:form=close,after_requests=500,seconds={seconds}"
        with sandbox(world, MILLISECONDS, faults=rule) as served, harness.portal(world) as portal:
            said = _command(harness, portal, served, 16, users)
            stats = served.stats()
            failed.append(int(said["users_failed"]))
            repeated.append(stats.requests - stats.statuses["200"])
            if not said["users_failed"]:
                assert portal.items() == world.expected_items()
    held = [lost == 0 and again <= 200 for lost, again in zip(failed, repeated, strict=True)]
    figure = f"failed {_list(failed)}, repeated {_list(repeated)}"
    what = f"Gone for {seconds} s in the middle of a run of {users} users; 16 workers"
    return [Row(what, figure, "failed 0, repeated <= 200", _most(held))]


def _gone_for_good(harness: Harness, times: int, users: int = 5_000) -> list[Row]:
    vain, seconds, failed = [], [], []
    world = sample(users)
    for _ in range(times):
        with (
            sandbox(world, MILLISECONDS, faults="outage:form=close,after_requests=500") as served,
            harness.portal(world) as portal,
        ):
            said = _command(harness, portal, served, 16, users, BYTEMARK_OUTAGE_PATIENCE=str(PATIENCE))
            vain.append(served.stats().faults["outage"])
            seconds.append(round(said["wall"]))
            failed.append(int(said["users_failed"]) + len(portal.reasons()))
    within = PATIENCE + 60
    held = [
        asked <= 1_000 and took <= within and lost == 0 for asked, took, lost in zip(vain, seconds, failed, strict=True)
    ]
    figure = f"in vain {_list(vain)}, ended after {_list(seconds)} s, failed {_list(failed)}"
    what = f"Gone for good, {users:,} users; 16 workers"
    return [Row(what, figure, f"in vain <= 1,000, ended <= {within} s, failed 0", _most(held))]


def _most(held: Sequence[bool]) -> bool:
    """Two of three."""
    return 3 * sum(held) >= 2 * len(held)


def _percents(shares: Sequence[float]) -> str:
    return " / ".join(f"{share * 100:.1f}" for share in shares) + " %"


def _list(numbers: Any) -> str:
    return " / ".join(f"{number:,}" for number in numbers)
