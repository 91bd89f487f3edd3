"""Attempts, backoff, and the pause of the whole process."""

from __future__ import annotations

import random
import threading
import time

from bytemark_sync.bytemark.retry import Attempts, Backoff, Pause


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


def test_a_pause_holds_every_thread_and_opens_for_all() -> None:
    pause = Pause(threading.Event(), random.Random(1))
    pause.extend(0.2)
    pause.extend(0.01)
    woke: list[float] = []
    started = time.monotonic()

    def worker() -> None:
        assert pause.wait()
        woke.append(time.monotonic() - started)

    threads = [threading.Thread(target=worker) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(woke) == 8
    assert min(woke) >= 0.2
    assert len({round(moment, 5) for moment in woke}) > 1
    assert pause.wait()


class FakeTime(threading.Event):
    """A stop that never comes; a wait for it only moves the clock."""

    now = 1000.0

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.now += timeout
        return False


def test_a_pause_lasts_at_most_a_tenth_longer_than_asked() -> None:
    for seed in range(200):
        clock = FakeTime()
        pause = Pause(clock, random.Random(seed), lambda clock=clock: clock.now)  # type: ignore[misc]
        pause.extend(3)
        pause.extend(0.01)
        assert pause.wait()
        assert 1003 <= clock.now <= 1003.32


def test_a_stop_ends_a_pause_at_once() -> None:
    stop = threading.Event()
    pause = Pause(stop, random.Random(1))
    pause.extend(600)
    threading.Timer(0.05, stop.set).start()
    started = time.monotonic()
    assert not pause.wait()
    assert time.monotonic() - started < 30
