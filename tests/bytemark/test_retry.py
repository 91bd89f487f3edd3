"""Attempts, backoff, the pause of the whole process, and the statistics."""

from __future__ import annotations

import json
import random
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytemark_sync.bytemark.retry import Attempts, Backoff, Pause
from bytemark_sync.bytemark.stats import ApiStats, Histogram


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


def test_statistics_from_many_threads_add_up_and_begin_anew() -> None:
    stats = ApiStats()

    def work() -> None:
        for n in range(500):
            stats.record("ok" if n % 5 else "timeout", 0.01)
            stats.retry()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sample = stats.drain()
    assert (sample.requests, sample.retries) == (2000, 2000)
    assert sample.answers == {"ok": 1600, "timeout": 400}
    assert sample.latency.count == 2000
    assert stats.drain().requests == 0


durations = st.floats(0.0001, 3600)


@given(st.lists(durations, min_size=1), st.sampled_from([0.0, 0.5, 0.95, 1.0]))
def test_a_quantile_is_at_most_five_percent_high_and_never_low(values: list[float], q: float) -> None:
    histogram = Histogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[max(1, -int(-q * len(values) // 1)) - 1]
    assert exact * 0.999999 <= histogram.quantile(q) <= exact * 1.050001
    assert histogram.quantile(1.0) == histogram.maximum == max(values)


@given(st.lists(durations), st.lists(durations))
def test_histograms_merge_and_survive_json(left: list[float], right: list[float]) -> None:
    one, two, both = Histogram(), Histogram(), Histogram()
    for value in left:
        one.add(value)
        both.add(value)
    for value in right:
        two.add(value)
        both.add(value)
    one.merge(Histogram.from_json(json.loads(json.dumps(two.to_json()))))
    assert one.to_json() == both.to_json()
    assert one.count == len(left) + len(right)


@pytest.mark.parametrize("extreme", [0.0, -1.0, 1e-9, 1e12])
def test_any_duration_has_a_bucket_in_bounded_memory(extreme: float) -> None:
    histogram = Histogram()
    for n in range(5000):
        histogram.add(extreme + n * 1e-3)
    histogram.add(extreme)
    assert len(histogram.to_json()["buckets"]) <= 401
    assert histogram.quantile(1.0) == histogram.maximum


def test_an_empty_histogram_says_nothing() -> None:
    assert Histogram().quantile(0.95) == 0.0
    assert Histogram.from_json({}).count == Histogram.from_json(None).count == 0
