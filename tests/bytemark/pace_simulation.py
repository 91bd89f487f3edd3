"""Processes that share a pace towards an API that limits, in virtual time. Rule, gate and limiter are the real ones."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from bytemark_sync.bytemark.gate import Gate
from bytemark_sync.bytemark.pace import exchange
from bytemark_sync.bytemark.pace_state import Lease, PaceState
from bytemark_sync.sandbox.limits import Limiter, parse_limit

LATE_SHARE, LATE_SECONDS = 0.02, (0.3, 0.6)
"""So often the engine, which makes the exchanges, is held up by something else, and so long."""

READ_SECONDS = 0.02
"""A process reads its first users. Before and after it looks whether an exchange is due."""
THREAD_SECONDS = 0.001
"""A process needs so long to start a thread."""


@dataclass
class World:
    """`threads` in each process, which all ask as soon as they may, until there are so many good answers."""

    limit: str
    """As for the sandbox's `--limit`."""
    processes: int
    threads: int
    requests: float = float("inf")
    seconds: float = float("inf")
    latency: float = 0.05
    seed: int = 1
    state: PaceState = field(default_factory=PaceState)
    most: float | None = None
    batch: float = float("inf")
    """Requests after which a process leaves, and comes again with a gate of its own."""
    begins: float = 0.0
    good: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    watch: Callable[[float, PaceState, Lease], None] | None = None

    def run(self) -> World:
        self.now = self.begins
        self._rng = random.Random(self.seed)
        self._events: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()
        self._limiter = Limiter(parse_limit(self.limit))
        self._asked = 0
        for _ in range(self.processes):
            self.after(self._rng.uniform(0, 0.3), partial(_Process, self))
        while self._events and len(self.good) < self.requests:
            self.now, _, do = heapq.heappop(self._events)
            if self.now >= self.begins + self.seconds:
                break
            do()
        return self

    def takes(self) -> str | None:
        """A request arrives. None: let through, else the text of `Retry-After`."""
        refused = self._limiter.refuses(self.now, self.now)
        (self.good if refused is None else self.refused).append(self.now)
        return refused

    def has_work(self) -> bool:
        self._asked += 1
        return self._asked <= self.requests

    def exchange(self, gate: Gate, *, users_left: float = float("inf"), leaves: bool = False) -> None:
        report = gate.report(users_left=users_left, leaves=leaves)
        self.state, lease = exchange(self.state, report, self.now, self.most)
        gate.accept(report, lease)
        if self.watch:
            self.watch(self.now, self.state, lease)

    def between(self, low: float, high: float) -> float:
        return self._rng.uniform(low, high)

    def after(self, delay: float, do: Callable[[], object]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._numbers), do))

    def used(self) -> float:
        """Share of the limit that was used, from the first request to the last."""
        limit = parse_limit(self.limit)
        assert limit is not None
        rate = limit.rate or (limit.quota or 0) / (limit.window or 1)
        seen = self.good + self.refused
        return len(self.good) / (max(seen) - min(seen)) / rate

    def refused_share(self, flight: int = 0) -> float:
        """Share of the requests that were refused, without `flight` of them."""
        return max(0, len(self.refused) - flight) / (len(self.good) + len(self.refused))


class _Process:
    """Its engine looks when an answer comes, else every tenth of a second, and is sometimes late."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._gate = Gate(threading.Event(), is_shared=True, clock=lambda: world.now)
        self._queue: deque[bool] = deque()
        self._left = world.batch
        self._under_way = 0
        self._is_over = False
        self._looks_at = self._late_until = world.now
        world.after(0, self._look)
        world.after(READ_SECONDS, self._tick)
        for number in range(world.threads):
            world.after(number * THREAD_SECONDS, self._next)

    def _next(self) -> None:
        """A thread is free, and waits for its turn if there is work."""
        if self._left > 0 and self._world.has_work():
            self._left -= 1
            self._under_way += 1
            self._wait()
        elif not self._under_way and not self._is_over:
            self._is_over = True
            self._world.exchange(self._gate, leaves=True)
            if self._left <= 0:
                self._world.after(self._world.between(0.1, 0.4), partial(_Process, self._world))

    def _look(self) -> None:
        if not self._is_over:
            self._tick()
            self._world.after(0.1, self._look)

    def _tick(self) -> None:
        world = self._world
        if world.now < self._late_until or self._is_over:
            return
        if world.between(0, 1) < LATE_SHARE * (world.now - self._looks_at) / 0.1:
            self._late_until = world.now + world.between(*LATE_SECONDS)
            world.after(self._late_until - world.now, self._tick)
        elif self._gate.is_due:
            world.exchange(self._gate, users_left=self._left + self._under_way)
        self._looks_at = world.now

    def _wait(self) -> None:
        self._queue.append(True)
        self._gate._waiting += 1
        if len(self._queue) == 1:
            self._pass()

    def _pass(self) -> None:
        """The first of those who wait goes when there is a permit; then the next looks."""
        gate, world = self._gate, self._world
        while self._queue:
            left = gate.seconds_left()
            if left > 0:
                world.after(min(left, 0.05) + world.between(0, 0.002), self._pass)
                return
            self._queue.popleft()
            gate._waiting -= 1
            world.after(world.between(0.001, 0.006), partial(self._arrives, gate._generation))

    def _arrives(self, generation: int) -> None:
        refused = self._world.takes()
        back = self._world.latency * self._world.between(1.0, 1.2)
        self._world.after(back, partial(self._answered, generation, refused))

    def _answered(self, generation: int, refused: str | None) -> None:
        if refused is None:
            self._gate.good(generation)
            self._under_way -= 1
            self._next()
        else:
            self._gate.refused(generation, float(refused) if refused else None)
            self._wait()
        self._tick()
