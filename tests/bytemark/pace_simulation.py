"""Processes that share a pace towards an API that limits, in virtual time: the rule and the gate are the real ones."""

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
from bytemark_sync.bytemark.pace import PaceState, exchange


class Bucket:
    """`rate` requests a second, `burst` at once. A refused request takes no token."""

    def __init__(self, rate: float, burst: float, retry_after: float | None = None) -> None:
        self.rate, self.burst, self.retry_after = rate, burst, retry_after
        self._tokens, self._at = burst, 0.0

    def takes(self, now: float) -> bool:
        self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def wait(self, _now: float) -> float | None:
        return self.retry_after


class Window:
    """`quota` requests in each window of `seconds`; the header tells when the next begins, where there is one."""

    def __init__(self, quota: int, seconds: float, *, offset: float = 0.0, header: bool = False) -> None:
        self.rate, self._quota, self._seconds, self._offset, self._header = (
            quota / seconds,
            quota,
            seconds,
            offset,
            header,
        )
        self._window, self._taken = -1, 0

    def takes(self, now: float) -> bool:
        window = int((now + self._offset) // self._seconds)
        if window != self._window:
            self._window, self._taken = window, 0
        self._taken += 1
        return self._taken <= self._quota

    def wait(self, now: float) -> float | None:
        return self._seconds - (now + self._offset) % self._seconds if self._header else None


@dataclass
class World:
    """`threads` a process, each with a request under way or waiting for its turn until `seconds` are over."""

    api: Bucket | Window
    processes: int
    threads: int
    seconds: float
    latency: float = 0.05
    seed: int = 1
    state: PaceState = field(default_factory=PaceState)
    most: float | None = None
    store_is_away: Callable[[float], bool] = lambda _now: False
    begins: float = 0.0
    good: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    flight: int = 0
    exchanges: int = 0

    def run(self) -> World:
        self.now = self.begins
        self._rng = random.Random(self.seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        gates = [Gate(threading.Event(), is_shared=True, clock=lambda: self.now) for _ in range(self.processes)]
        for gate in gates:
            queue: deque[int] = deque()
            offset = self._rng.uniform(0, 0.3)
            for thread in range(self.threads):
                self._at(offset, partial(self._wait, gate, queue, thread))
            self._at(offset, partial(self._tick, gate))
        until = self.begins + self.seconds
        while self._events and self._events[0][0] < until:
            self.now, _, do = heapq.heappop(self._events)
            do()
        return self

    def _at(self, delay: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self.now + delay, next(self._numbers), do))

    def _tick(self, gate: Gate) -> None:
        """The engine: looks every tenth of a second, and is sometimes late."""
        if gate.is_due and not self.store_is_away(self.now):
            report = gate.report()
            self.exchanges += 1
            self.state, lease = exchange(self.state, report, self.now, self.most)
            gate.accept(report, lease)
        late = self._rng.random() < 0.02
        self._at(self._rng.uniform(0.3, 0.6) if late else self._rng.uniform(0.01, 0.1), lambda: self._tick(gate))

    def _wait(self, gate: Gate, queue: deque[int], thread: int) -> None:
        queue.append(thread)
        gate._waiting += 1
        if len(queue) == 1:
            self._pass(gate, queue)

    def _pass(self, gate: Gate, queue: deque[int]) -> None:
        """The first of those who wait goes when there is a permit; then the next looks."""
        while queue:
            left = gate.seconds_left()
            if left > 0:
                self._at(min(left, 0.05) + 0.0005, lambda: self._pass(gate, queue))
                return
            thread = queue.popleft()
            gate._waiting -= 1
            generation = gate._generation
            there = self.latency * self._rng.uniform(0.3, 0.6)
            self._at(there, partial(self._asked, gate, queue, thread, generation))

    def _asked(self, gate: Gate, queue: deque[int], thread: int, generation: int) -> None:
        taken = self.api.takes(self.now)
        pause = None if taken else self.api.wait(self.now)
        back = self.latency * self._rng.uniform(0.3, 0.6)
        self._at(back, lambda: self._answered(gate, queue, thread, generation, taken, pause))

    def _answered(
        self, gate: Gate, queue: deque[int], thread: int, generation: int, taken: bool, pause: float | None
    ) -> None:
        (self.good if taken else self.refused).append(self.now)
        if taken:
            gate.good(generation)
        else:
            gate.refused(generation, pause)
        self._wait(gate, queue, thread)

    def used(self, since: float = 0.0) -> float:
        """Share of the limit that was used."""
        return sum(at >= self.begins + since for at in self.good) / (self.api.rate * (self.seconds - since))

    def refused_share(self, flight: int = 0) -> float:
        """Share of the answers that were refused, without `flight` of them."""
        return max(0, len(self.refused) - flight) / max(1, len(self.good) + len(self.refused))
