"""The rule of the shared pace, played in virtual time (docs/decisions/0015-one-pace.md)."""

from __future__ import annotations

import itertools
import json
from functools import cache

import pytest

from bytemark_sync.bytemark.pace import exchange, fair_share
from bytemark_sync.bytemark.pace_state import Lease, PaceState, Report
from tests.bytemark.pace_simulation import World

SECONDS = 40
"""As long as a run of the benchmark, if all of the limit is used."""
SEEDS = (1, 2, 3)
BATCH = 360
"""Requests of a batch of 100 users."""

ROWS: dict[str, tuple[str, float, int, float, float]] = {
    # API: limit, good answers a second, workers, used at least, refused at most
    "100/s, Retry-After": ("rate=100,burst=20,retry_after=1", 100, 16, 0.9, 0.01),
    "100/s": ("rate=100,burst=20", 100, 16, 0.9, 0.01),
    "50/s": ("rate=50,burst=10", 50, 64, 0.9, 0.01),
    "100/s, Retry-After, 128 workers": ("rate=100,burst=20,retry_after=1", 100, 128, 0.9, 0.01),
    "8/s": ("rate=8,burst=8", 8, 64, 0.9, 0.01),
    "600 in 10 s, Retry-After": ("quota=600,window=10,retry_after=reset", 60, 16, 0.8, 0.03),
    "600 in 10 s": ("quota=600,window=10", 60, 16, 0.8, 0.03),
}


@cache
def _pair(row: str, processes: int, seed: int) -> tuple[World, World]:
    """A first run, and a second one that begins at the pace that the first has learnt."""
    limit, rate, workers, _, _ = ROWS[row]
    batch = BATCH if row.endswith("workers") and processes > 1 else float("inf")

    def world(state: PaceState, begins: float) -> World:
        return World(
            limit,
            processes,
            workers // processes,
            requests=int(rate * SECONDS),
            seed=seed,
            batch=batch,
            state=state,
            begins=begins,
        ).run()

    first = world(PaceState(), 0.0)
    return first, world(first.state, first.now + 5)


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS)
def test_a_first_run_finds_the_limit_and_loses_one_flight(row: str) -> None:
    """Two of three; by as many processes as in the benchmark."""
    _, _, workers, min_used, max_refused = ROWS[row]
    firsts = [_pair(row, 2 if row.endswith("workers") else 1, seed)[0] for seed in SEEDS]
    assert sum(one.used() >= min_used and one.refused_share(workers) <= max_refused for one in firsts) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2, 8])
@pytest.mark.parametrize("row", ROWS)
def test_a_second_run_uses_the_limit_and_rarely_meets_it(row: str, processes: int) -> None:
    """Two of three."""
    _, _, _, min_used, max_refused = ROWS[row]
    seconds = [_pair(row, processes, seed)[1] for seed in SEEDS]
    assert sum(one.used() >= min_used and one.refused_share() <= max_refused for one in seconds) >= 2


def test_a_fixed_limit_holds_from_the_start_for_all_processes_together() -> None:
    world = World("rate=1000,burst=1000", 4, 16, seconds=30, most=40.0).run()
    assert not world.refused
    assert 0.95 <= len(world.good) / (40 * 30) <= 1.02


def test_a_fixed_limit_that_is_too_high_is_learnt_like_any_other() -> None:
    world = World("quota=100,window=10,retry_after=reset", 1, 16, seconds=60, most=40.0).run()
    assert world.used() >= 0.8


@pytest.mark.slow
def test_a_limit_that_is_lifted_is_found_again() -> None:
    learnt = World("rate=50,burst=10", 1, 64, seconds=60).run()
    lifted = World("rate=400,burst=20", 1, 64, seconds=150, state=learnt.state, begins=learnt.now).run()
    assert sum(at > lifted.now - 10 for at in lifted.good) / 10 > 150


def test_an_idle_night_does_not_raise_the_pace() -> None:
    learnt = World("rate=50,burst=10", 1, 64, seconds=60).run().state
    state, lease = exchange(learnt, Report("another"), learnt.leased_until + 30_000)
    assert (state.rate, lease.rate) == (learnt.rate, learnt.rate)


def test_without_a_refusal_nothing_is_written() -> None:
    state = PaceState()
    after, lease = exchange(state, Report("one", good=500, counted=500, wanted=64), 100.0)
    assert after is state
    assert lease.rate is None


def test_the_state_survives_json() -> None:
    state = World("rate=50,burst=10", 3, 8, seconds=20).run().state
    assert PaceState.from_json(json.loads(json.dumps(state.to_json()))) == state
    assert PaceState.from_json({}) == PaceState()


@pytest.mark.parametrize(
    "text", ["[]", "null", '"text"', '{"rate": "5"}', '{"rate": 0}', '{"rate": NaN}', '{"holders": {"one": [1]}}']
)
def test_a_malformed_state_is_no_state(text: str) -> None:
    assert PaceState.from_json(json.loads(text)) == PaceState()


def test_a_clock_that_was_turned_back_stops_nobody_for_long() -> None:
    state = PaceState(rate=10.0, ceiling=10.0, leased_until=1e9, paused_until=1e9, opened_at=1e9)
    _, lease = exchange(state, Report("one", wanted=50), 100.0)
    assert lease.pause <= 3600
    later, lease = exchange(exchange(state, Report("one"), 100.0)[0], Report("one", wanted=50), 3701.0)
    assert lease.permits > 0
    assert later.leased_until < 3710


def test_retry_after_of_one_process_pauses_the_others() -> None:
    state, _ = exchange(PaceState(), Report("one", pause=7.0), 100.0)
    _, lease = exchange(state, Report("other"), 102.0)
    assert lease.pause == 5.0


def test_what_one_process_leaves_the_others_share() -> None:
    demands = {"little": 2.0, "much": 500.0, "more": 900.0}
    assert [fair_share(50.0, demands, name) for name in demands] == [2.0, 24.0, 24.0]


def test_a_process_that_leaves_is_no_longer_counted() -> None:
    state = PaceState(rate=10.0, ceiling=10.0, generation=1)
    state, lease = exchange(state, Report("one", generation=1, wanted=50), 100.0)
    assert (lease.permits > 0, lease.holders) == (True, 1)
    state, _ = exchange(state, Report("one", generation=1, unused=lease.permits, leaves=True), 100.0)
    assert dict(state.holders) == {}


def due(lease: Lease, now: float) -> list[float]:
    """When each permit of a lease of `now` may be used."""
    line = [lease.delay + number * lease.step for number in range(lease.permits)]
    return [now + each for each in (*lease.again, *line)]


def test_what_was_asked_for_before_the_first_refusal_counts_also_where_it_is_answered_after_it() -> None:
    """The first answer to a flight of requests may be the refusal."""
    state, _ = exchange(PaceState(), Report("one", refused=1, pause=1.0), 100.0)
    state, _ = exchange(state, Report("one", generation=1, counted=20, had=60.0), 100.3)
    state, lease = exchange(state, Report("two", counted=5, had=15.0), 100.4)
    assert lease.rate == 75.0
    _, lease = exchange(state, Report("one", generation=1, counted=1, had=99.0), 101.5)
    assert lease.rate == 75.0


def test_a_first_trial_is_not_made_while_the_burst_is_still_used_up() -> None:
    _, lease = exchange(PaceState(), Report("one", refused=1, counted=20, had=60.0, wanted=9), 100.0)
    assert lease.permits == 1
    assert lease.delay == pytest.approx(0.25)


def test_a_first_trial_goes_on_at_a_share_of_what_was_had() -> None:
    state, _ = exchange(PaceState(), Report("one", refused=1), 100.0)
    _, lease = exchange(state, Report("one", generation=1, good=1, counted=21, had=60.0), 100.1)
    assert 20.0 <= (lease.rate or 0.0) <= 40.0


def test_what_a_process_gives_back_is_leased_again_at_its_own_time() -> None:
    """Two permits at one time would be a burst."""
    state = PaceState(rate=100.0, ceiling=100.0, generation=1)
    state, lease = exchange(state, Report("one", generation=1, wanted=90), 100.0)
    used = [at for at in due(lease, 100.0) if at < 100.2]
    left = tuple(at - 100.2 for at in due(lease, 100.0) if at > 100.25)
    state, _ = exchange(state, Report("one", generation=1, unused=len(left), leaves=True, left=left), 100.2)
    state, few = exchange(state, Report("two", generation=1, wanted=5), 100.3)
    state, many = exchange(state, Report("three", generation=1, wanted=90), 100.32)
    at = sorted(used + due(few, 100.3) + due(many, 100.32))
    taken = [each for each in at if each > 100.32]
    assert len(few.again) + len(many.again) > 20
    assert [later - before for before, later in itertools.pairwise(taken)] == pytest.approx([0.01] * (len(taken) - 1))
    assert PaceState.from_json(state.to_json()).gaps == ()


def test_a_trial_that_is_not_answered_is_soon_made_again() -> None:
    """While everything is refused, one single request finds out whether it still is."""
    state = PaceState(rate=10.0, ceiling=10.0, generation=1, blocked_since=100.0)
    state, lease = exchange(state, Report("one", generation=1, wanted=5), 100.0)
    assert lease.permits == 1
    assert exchange(state, Report("two", generation=1, wanted=5), 104.0)[1].permits == 0
    state, _ = exchange(state, Report("one", generation=1, wanted=5, unanswered=1), 104.0)
    assert exchange(state, Report("two", generation=1, wanted=5), 104.3)[1].permits == 0
    assert exchange(state, Report("two", generation=1, wanted=5), 105.0)[1].permits == 1


@pytest.mark.parametrize("leaves", [True, False])
def test_where_the_process_of_a_trial_is_gone_another_makes_it(leaves: bool) -> None:
    """It has left without using it, or was killed."""
    state = PaceState(rate=10.0, ceiling=10.0, generation=1, blocked_since=100.0)
    state, _ = exchange(state, Report("one", generation=1, wanted=5), 100.0)
    if leaves:
        state, _ = exchange(state, Report("one", generation=1, unused=1, leaves=True, left=(-1.0,)), 101.0)
    else:
        assert exchange(state, Report("two", generation=1, wanted=5), 104.0)[1].permits == 0
    assert exchange(state, Report("two", generation=1, wanted=5), 105.5)[1].permits == 1
