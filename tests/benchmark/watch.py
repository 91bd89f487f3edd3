"""What a measurement costs while it goes on: each process's memory and processor time, and the database's work."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.support.servers import MariaDB

EVERY_SECONDS = 2.0
_TICKS = os.sysconf("SC_CLK_TCK")
Pids = Callable[[], Iterable[int]]


@dataclass(frozen=True)
class Process:
    """As the kernel counts it: resident memory now and at its peak, in MiB; processor seconds since its start."""

    memory: float
    peak: float
    processor: float


def look(pid: int) -> Process | None:
    """None where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        # The name in parentheses may hold anything.
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    kib = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB", status, re.MULTILINE))
    if not kib:  # it has ended, and nobody has asked for its status yet
        return None
    return Process(int(kib["VmRSS"]) / 1024, int(kib["VmHWM"]) / 1024, (int(stat[11]) + int(stat[12])) / _TICKS)


def children(pid: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


@dataclass
class Role:
    """The processes of one kind. `moments`: (seconds on the monotonic clock, memory of the largest of them, MiB)."""

    pids: Pids
    peak: float = 0.0
    most: int = 0
    moments: list[tuple[float, float]] = field(default_factory=list)
    begun: dict[int, float] = field(default_factory=dict)
    ended: dict[int, float] = field(default_factory=dict)

    def look(self, now: float) -> None:
        found = {pid: seen for pid in set(self.pids()) if (seen := look(pid)) is not None}
        if not found:
            return
        self.most = max(self.most, len(found))
        self.peak = max(self.peak, *(seen.peak for seen in found.values()))
        self.moments.append((now, max(seen.memory for seen in found.values())))
        for pid, seen in found.items():
            self.begun.setdefault(pid, seen.processor)
            self.ended[pid] = seen.processor

    def processor(self) -> float:
        """Seconds that all of them took while they were watched."""
        return sum(self.ended.values()) - sum(self.begun.values())

    def quarters(self, begun: float, ended: float) -> list[float]:
        """The most memory that the largest had in each quarter of a time, MiB."""
        found = []
        for number in range(4):
            first, last = (begun + (ended - begun) * part / 4 for part in (number, number + 1))
            found.append(max((memory for at, memory in self.moments if first <= at <= last), default=0.0))
        return found


class Watch:
    """`with Watch({name: pids}) as watch:`; a thread looks at all of them every two seconds."""

    def __init__(self, roles: dict[str, Pids]) -> None:
        self.roles = {name: Role(pids) for name, pids in roles.items()}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _work(self) -> None:
        while True:
            for role in self.roles.values():
                role.look(time.monotonic())
            if self._end.wait(EVERY_SECONDS):
                return


class ClusterProcesses:
    """Which process of each cluster is what: from its tree, and from what it says in its log."""

    def __init__(self, clusters: list[tuple[int, Path]]) -> None:
        """`clusters`: the first process of each and its log. It may grow."""
        self._clusters = clusters

    def first(self) -> Iterator[int]:
        yield from (pid for pid, _ in self._clusters)

    def guards(self) -> Iterator[int]:
        for pid, _ in self._clusters:
            yield from children(pid)

    def workers(self) -> Iterator[int]:
        yield from self._grandchildren(workers=True)

    def others(self) -> Iterator[int]:
        """The pusher and the monitor."""
        yield from self._grandchildren(workers=False)

    def _grandchildren(self, *, workers: bool) -> Iterator[int]:
        for pid, log in self._clusters:
            said = {int(each) for each in re.findall(r"ready for work at (\d+)", log.read_text())}
            for guard in children(pid):
                yield from (child for child in children(guard) if (child in said) == workers)


class DatabaseWork:
    """`of(server)` is what it has done since it started; `since` another such count, what it did in between."""

    COUNTS = (
        *("Questions", "Com_commit", "Rows_read", "Innodb_row_lock_waits", "Innodb_row_lock_time"),
        *("Innodb_deadlocks", "Max_used_connections"),
    )

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts

    @classmethod
    def of(cls, server: MariaDB) -> DatabaseWork:
        connection = server.connect("")
        try:
            cursor = connection.cursor()
            cursor.execute("SHOW GLOBAL STATUS")
            status = dict(cursor.fetchall())
        finally:
            connection.close()
        return cls({name: int(status[name]) for name in cls.COUNTS})

    def since(self, before: DatabaseWork) -> dict[str, int]:
        return {name: count - before.counts[name] for name, count in self.counts.items()}
