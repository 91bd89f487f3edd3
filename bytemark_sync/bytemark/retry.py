"""How often and how soon a request is repeated (docs/contract.md#what-each-answer-costs). Sends nothing itself."""

from __future__ import annotations

import random
from collections.abc import Callable

from bytemark_sync.bytemark.errors import Eras


class Attempts:
    """Counts one user's failed requests in one run, over all pages and tokens. What is forgiven does not count."""

    def __init__(
        self, maximum: int, is_forgiven: Callable[[Eras], bool] = lambda _: False, *, user: int = 0, used: int = 0
    ) -> None:
        self.maximum = maximum
        self.user = user
        self._is_forgiven = is_forgiven
        self._used_before = used
        self._failed: list[Eras] = []

    @property
    def used(self) -> int:
        self._failed = [each for each in self._failed if not self._is_forgiven(each)]
        return self._used_before + len(self._failed)

    def spend(self, failed: Eras = (0, 0)) -> bool:
        """Count one failed request. False if the user has no attempt left."""
        self._failed.append(failed)
        return self.are_left

    @property
    def are_left(self) -> bool:
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
