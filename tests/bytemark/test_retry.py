"""Attempts and backoff."""

from __future__ import annotations

import random

from bytemark_sync.bytemark.retry import Attempts, Backoff


def test_attempts_count_down_to_the_last() -> None:
    attempts = Attempts(3)
    assert [attempts.spend() for _ in range(3)] == [True, True, False]
    assert attempts.used == 3


def test_backoff_doubles_up_to_its_cap_and_jitters_over_the_whole_of_it() -> None:
    backoff = Backoff(0.5, 30.0, random.Random(1))
    assert [backoff.ceiling(n) for n in (1, 2, 3, 6, 7, 10_000)] == [0.5, 1.0, 2.0, 16.0, 30.0, 30.0]
    delays = [backoff.delay(3) for _ in range(2000)]
    assert 0 <= min(delays) < 0.02
    assert 1.98 < max(delays) <= 2.0
    assert 0.9 < sum(delays) / len(delays) < 1.1
