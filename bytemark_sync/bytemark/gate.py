"""The gate that each request of a process passes: it keeps the process to its lease of the shared pace (pace.py).

While no limit is known, passing costs one look. Otherwise one thread at a time waits for the next permit, the others
wait for their turn behind it. No thread waits for the store.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext

from bytemark_sync.bytemark.pace_state import PERIOD_SECONDS, Lease, Report

LONGEST_LOOK_SECONDS = 0.05
"""A thread that waits for a permit looks so often whether a new lease or a pause has changed its wait."""
OVERDUE_SECONDS = 1.5
"""After so long without an exchange the process goes on by itself: at the last rate, divided by the processes."""


STALE_SECONDS = 0.3
"""A permit is of no use for longer."""
HAD_SECONDS = (0.3, 1.0)
"""Good answers a second are told of the last second; half a second at least, since a burst says little."""
MAX_GOOD_TIMES = 20_000


class Gate:
    """Shared by all threads of a process. `stop` ends every wait. The engine makes the exchanges."""

    def __init__(
        self, stop: threading.Event, *, is_shared: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stop = stop
        self._clock = clock
        self._holder = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
        self._turn = threading.Lock()
        self._lock = threading.Lock()
        self._generation = 0
        self._rate: float | None = None
        self._holders = 1
        self._period = PERIOD_SECONDS
        self._permits: deque[float] = deque()
        self._paused_until = 0.0
        self._pause_wish_until = 0.0
        self._exchanged_at = clock()
        self._next_own = 0.0
        self._held_since = clock() if is_shared else None
        self._waiting = 0
        self._first_waits = False
        self._is_sated = False
        self._was_bound = False
        self._used = self._overdrawn = 0
        self._good = self._refused = self._unanswered = self._counted = 0
        self._begun_at = self._counting_since = clock()
        self._good_times: deque[float] = deque(maxlen=MAX_GOOD_TIMES)
        self._is_open = not is_shared
        self.last_good_at = 0.0
        """When the last request was let through."""
        self.has_held = False
        """Requests had to wait for a pause, or for the pace."""

    # --- What the requests do ------------------------------------------------------------------------------------

    def enter(self, meanwhile: Callable[[], None] = lambda: None, *, is_first: bool = False) -> int | None:
        """Wait for a permit; returns its generation, or None if asked to stop.

        `is_first`: for the next permit, before all others who wait.
        `meanwhile` is called again and again while waiting: a process of one thread makes its exchanges there.
        """
        if self._stop.is_set():
            return None
        if self._is_open:
            self._used += 1
            return self._generation
        with self._lock:
            self._waiting += 1
            self._first_waits = self._first_waits or is_first
        try:
            with nullcontext() if is_first else self._turn:
                while not self._stop.is_set():
                    left = self.seconds_left(is_first=is_first)
                    if left <= 0:
                        return self._generation
                    meanwhile()
                    self._stop.wait(min(left, LONGEST_LOOK_SECONDS))
        finally:
            with self._lock:
                self._waiting -= 1
                self._first_waits = self._first_waits and not is_first
        return None

    @property
    def is_open(self) -> bool:
        """Whether nobody has to wait: no limit is known, and there is no pause."""
        return self._is_open

    def seconds_left(self, *, is_first: bool = False) -> float:
        """0 and a permit is taken; otherwise the seconds until one may be there."""
        with self._lock:
            now = self._clock()
            left = self._left(now) if is_first or not self._first_waits else LONGEST_LOOK_SECONDS
            if left <= 0:
                self._used += 1
            else:
                self._was_bound = True
                self.has_held = self.has_held or self._rate is not None or now < self._paused_until
            return left

    def _left(self, now: float) -> float:
        if now < self._paused_until:
            return self._paused_until - now
        is_overdue = now - self._exchanged_at > OVERDUE_SECONDS
        if self._held_since is not None and not is_overdue and now - self._held_since < OVERDUE_SECONDS:
            return LONGEST_LOOK_SECONDS
        if self._rate is None:
            return 0.0
        while len(self._permits) > 1 and self._permits[0] < now - STALE_SECONDS:
            self._permits.popleft()  # nobody wanted it then, and many at once would be a burst
        if self._permits:
            left = self._permits[0] - now
            if left <= 0:
                self._permits.popleft()
            return left
        if not is_overdue:
            return LONGEST_LOOK_SECONDS
        left = self._next_own - now
        if left <= 0:
            self._next_own = now + self._holders / self._rate
            self._overdrawn += 1
        return left

    def good(self, generation: int) -> None:
        """An answer that was not refused has come to a permit of `generation`."""
        with self._lock:
            self._counted += 1
            self.last_good_at = self._clock()
            self._good_times.append(self.last_good_at)
            if generation == self._generation:
                self._good += 1

    def unanswered(self, generation: int) -> None:
        """Nothing that tells of the pace has come to a permit of `generation`, and nothing will."""
        with self._lock:
            self._unanswered += generation == self._generation

    def refused(self, generation: int, pause: float | None) -> None:
        """An answer 429. Nothing more is requested until the next exchange has told the new pace."""
        with self._lock:
            now = self._clock()
            if generation == self._generation:
                self._refused += 1
                self._held_since = self._held_since or now
                self._is_open = False
        if pause:
            self.pause(pause)

    def pause(self, seconds: float) -> None:
        """Nobody requests anything for `seconds` from now: here at once, elsewhere with the next exchange."""
        with self._lock:
            until = self._clock() + seconds
            self._paused_until = max(self._paused_until, until)
            self._pause_wish_until = max(self._pause_wish_until, until)
            self._is_open = False

    # --- What the engine does ------------------------------------------------------------------------------------

    @property
    def has_lease(self) -> bool:
        """A limit is known, and this process is among those that share it."""
        return self._rate is not None

    @property
    def is_due(self) -> bool:
        """Whether an exchange is due: after a period, after a refusal, or where more is wanted than before."""
        wants_more = self._is_sated and self._waiting > 0 and not self._permits
        return wants_more or self._held_since is not None or self._clock() - self._exchanged_at >= self._period

    def report(self, *, users_left: float = math.inf, leaves: bool = False) -> Report:
        """What the store is told. `accept` follows with its answer.

        No more permits are wanted than there are `users_left`: permits that nobody needs are lost to the others.
        """
        with self._lock:
            now = self._clock()
            return Report(
                holder=self._holder,
                generation=self._generation,
                good=self._good,
                refused=self._refused,
                unanswered=self._unanswered,
                counted=self._counted,
                counted_seconds=now - self._counting_since,
                had=self._had(now),
                pause=max(0.0, self._pause_wish_until - now),
                wanted=int(min(self._used + self._waiting, users_left)),
                seconds=now - self._exchanged_at,
                is_bound=self._was_bound,
                unused=len(self._permits),
                overdrawn=self._overdrawn,
                leaves=leaves,
                left=tuple(at - now for at in self._permits) if leaves else (),
            )

    def _had(self, now: float) -> float:
        recent = sum(now - at <= HAD_SECONDS[1] for at in self._good_times)
        return recent / min(HAD_SECONDS[1], max(HAD_SECONDS[0], now - self._begun_at))

    def accept(self, report: Report, lease: Lease) -> None:
        """The store has taken the report and given a lease."""
        with self._lock:
            now = self._clock()
            if lease.pause:  # permits that are due in it must not all be used at its end
                self._permits = deque(at for at in self._permits if at >= now + lease.pause)
            if lease.generation != self._generation:
                self._permits.clear()
                self._good = self._refused = self._unanswered = 0
            else:
                self._good -= report.good
                self._refused -= report.refused
                self._unanswered -= report.unanswered
            if lease.rate is not None:  # without a limit nobody keeps the count but this process
                self._counted = max(0, self._counted - report.counted)
                self._counting_since = now
            self._overdrawn -= report.overdrawn
            self._generation, self._rate, self._holders = lease.generation, lease.rate, lease.holders
            self._period = lease.period
            self._is_sated = lease.rate is not None and lease.permits + len(lease.again) >= report.wanted
            own = [lease.delay + number * lease.step for number in range(lease.permits)]
            self._permits = deque(sorted([*self._permits, *(now + each for each in (*lease.again, *own))]))
            self._paused_until = max(now + lease.pause, self._pause_wish_until)
            self._used, self._was_bound = 0, False
            self._held_since = now if self._refused else None
            self._exchanged_at = now
            self._is_open = lease.rate is None and self._paused_until <= now and self._held_since is None
