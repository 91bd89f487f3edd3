"""The statistics of requests, and the histogram of their latency."""

from __future__ import annotations

import json
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bytemark_sync.bytemark.stats import ApiStats, Histogram


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
