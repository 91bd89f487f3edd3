"""The rule of the shared pace, played in virtual time (docs/decisions/0015-one-pace.md)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from bytemark_sync.bytemark.pace import PaceState, Report, exchange, fair_share
from tests.bytemark.pace_simulation import Bucket, Window, World

Api = Callable[[], Bucket | Window]
ROWS: dict[str, tuple[Api, int, float, float]] = {
    # API, workers, used at least, refused at most
    "100/s, Retry-After": (lambda: Bucket(100, 20, 1), 64, 0.9, 0.01),
    "100/s": (lambda: Bucket(100, 20), 64, 0.9, 0.01),
    "50/s": (lambda: Bucket(50, 10), 64, 0.9, 0.01),
    "100/s, 128 workers": (lambda: Bucket(100, 20, 1), 128, 0.9, 0.01),
    "8/s": (lambda: Bucket(8, 8), 64, 0.9, 0.01),
    "600 in 10 s": (lambda: Window(600, 10, offset=3.1), 64, 0.8, 0.03),
    "600 in 10 s, Retry-After": (lambda: Window(600, 10, offset=3.1, header=True), 64, 0.8, 0.03),
}


@pytest.mark.parametrize("processes", [1, 2, 4])
@pytest.mark.parametrize("row", ROWS)
def test_the_limit_is_used_and_rarely_met(row: str, processes: int) -> None:
    """Two of three runs that begin at the learnt pace; of first runs, without one flight of the workers."""
    api, workers, min_used, max_refused = ROWS[row]
    seconds = 120 if row == "8/s" else 60
    seconds_held = firsts_used = 0
    for seed in (1, 2, 3):
        first = World(api(), processes, workers // processes, seconds, seed=seed).run()
        second = World(
            api(), processes, workers // processes, seconds, seed=seed, state=first.state, begins=first.now + 3600
        ).run()
        firsts_used += first.used() >= min_used - 0.05
        seconds_held += second.used() >= min_used and second.refused_share() <= max_refused
    assert firsts_used >= 2
    assert seconds_held >= 2


def test_a_fixed_limit_holds_from_the_start_for_all_processes_together() -> None:
    world = World(Bucket(1000, 1000), 4, 16, 30, most=40.0).run()
    assert not world.refused
    assert 0.95 <= len(world.good) / (40 * 30) <= 1.02


def test_a_limit_that_is_lifted_is_found_again() -> None:
    learnt = World(Bucket(50, 10), 1, 64, 60).run()
    lifted = World(Bucket(400, 20), 1, 64, 150, state=learnt.state, begins=learnt.now).run()
    assert sum(at > lifted.now - 10 for at in lifted.good) / 10 > 150


def test_an_idle_night_does_not_raise_the_pace() -> None:
    learnt = World(Bucket(50, 10), 1, 64, 60).run().state
    state, lease = exchange(learnt, Report("another"), learnt.leased_until + 30_000)
    assert (state.rate, lease.rate) == (learnt.rate, learnt.rate)


def test_without_a_refusal_nothing_is_written() -> None:
    state = PaceState()
    after, lease = exchange(state, Report("one", good=500, counted=500, wanted=64), 100.0)
    assert after is state
    assert lease.rate is None


def test_the_state_survives_json() -> None:
    state = World(Bucket(50, 10), 3, 8, 20).run().state
    assert PaceState.from_json(json.loads(json.dumps(state.to_json()))) == state
    assert PaceState.from_json({}) == PaceState()


def test_retry_after_of_one_process_pauses_the_others() -> None:
    state, _ = exchange(PaceState(), Report("one", pause=7.0), 100.0)
    _, lease = exchange(state, Report("other"), 102.0)
    assert lease.pause == 5.0


def test_what_one_process_leaves_the_others_share() -> None:
    demands = {"little": 2.0, "much": 500.0, "more": 900.0}
    assert [fair_share(50.0, demands, name) for name in demands] == [2.0, 24.0, 24.0]


def test_a_process_that_leaves_gives_its_permits_back() -> None:
    state = PaceState(rate=10.0, ceiling=10.0, generation=1)
    state, lease = exchange(state, Report("one", generation=1, wanted=50), 100.0)
    assert lease.permits > 0
    state, _ = exchange(state, Report("one", generation=1, unused=lease.permits, leaves=True), 100.0)
    assert (state.leased_until, dict(state.holders)) == (100.0, {})
