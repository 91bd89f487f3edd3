"""How often and how soon a request is repeated, apart from the transport (docs/contract.md#what-each-answer-costs)."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable


class Attempts:
    """The failed requests that one user may cost in one run, over all pages and tokens."""

    def __init__(self, maximum: int, *, used: int = 0) -> None:
        self.maximum = maximum
        self.used = used

    def spend(self) -> bool:
        """Count one failed request; false where it was the last."""
        self.used += 1
        return self.used < self.maximum


class Backoff:
    """Exponential with full jitter: the n-th delay is anywhere in 0 .. min(cap, base * 2^(n-1)) seconds."""

    def __init__(self, base: float, cap: float, rng: random.Random) -> None:
        self._base = base
        self._cap = cap
        self._rng = rng

    def ceiling(self, attempt: int) -> float:
        return min(self._cap, self._base * 2.0 ** min(max(attempt, 1) - 1, 62))

    def delay(self, attempt: int) -> float:
        return self._rng.uniform(0, self.ceiling(attempt))


class Pause:
    """The gate that every request of the process passes; closed for a while after 429, or 503 with `Retry-After`."""

    def __init__(self, stop: threading.Event, rng: random.Random, clock: Callable[[], float] = time.monotonic) -> None:
        self._stop = stop
        self._rng = rng
        self._clock = clock
        self._lock = threading.Lock()
        self._until = 0.0

    def extend(self, seconds: float) -> None:
        """Hold all for `seconds` from now; never shortens a longer pause."""
        with self._lock:
            self._until = max(self._until, self._clock() + seconds)

    def wait(self) -> bool:
        """Return once the gate is open, up to a tenth later than others do; false at once when asked to stop."""
        while not self._stop.is_set():
            left = self._until - self._clock()
            if left <= 0:
                return True
            # Workers that wake together would meet the limit together.
            self._stop.wait(left + self._rng.uniform(0, min(1.0, 0.1 * left + 0.02)))
        return False
