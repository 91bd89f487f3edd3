"""The gate, driven by a clock of its own: it keeps a process to its lease, and never stops work for good."""

from __future__ import annotations

import queue
import threading

import pytest

from bytemark_sync.bytemark.gate import OVERDUE_SECONDS, Gate
from bytemark_sync.bytemark.pace_state import Lease
from tests.support.servers import wait_for


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> Gate:
    return Gate(threading.Event(), is_shared=True, clock=clock)


def passes(gate: Gate, clock: Clock, seconds: float) -> int:
    """Requests that are let through in so long, by one who asks all the time."""
    passed, end = 0, clock.now + seconds
    while clock.now < end:
        passed += gate.seconds_left() <= 0
        clock.now += 0.001
    return passed


def lease(gate: Gate, **values: object) -> None:
    gate.accept(gate.report(), Lease(**({"generation": 1, "rate": 10.0} | values)))  # type: ignore[arg-type]


def test_nobody_passes_before_the_pace_is_known_and_all_pass_where_there_is_no_limit(gate: Gate) -> None:
    assert gate.is_due
    assert gate.seconds_left() > 0
    gate.accept(gate.report(), Lease(0, None))
    assert [gate.enter() for _ in range(1000)] == [0] * 1000


def test_a_lease_lets_as_many_pass_as_it_has_permits_and_not_before_their_time(gate: Gate, clock: Clock) -> None:
    lease(gate, permits=5, delay=0.1, step=0.1)
    assert passes(gate, clock, 0.09) == 0
    assert passes(gate, clock, 0.25) == 3
    assert passes(gate, clock, 0.9) == 2


def test_a_pause_holds_all_for_its_whole_length(gate: Gate, clock: Clock) -> None:
    gate.accept(gate.report(), Lease(0, None))
    gate.refused(0, 7.0)
    assert gate.report().pause == 7.0
    gate.accept(gate.report(), Lease(1, 10.0, pause=7.0))
    assert passes(gate, clock, 6.9) == 0


def test_permits_for_the_time_after_a_pause_are_kept_by_the_exchanges_in_it(gate: Gate, clock: Clock) -> None:
    lease(gate, permits=2, pause=0.4, delay=0.4, step=0.1)
    clock.now += 0.3
    lease(gate, permits=1, pause=0.1, delay=0.3, step=0.1)
    assert passes(gate, clock, 0.09) == 0
    assert passes(gate, clock, 0.11) == 1
    assert passes(gate, clock, 0.2) == 2


def test_permits_that_are_due_in_a_pause_are_not_used_at_its_end(gate: Gate, clock: Clock) -> None:
    lease(gate, permits=3, delay=0.1, step=0.1)
    lease(gate, permits=1, pause=0.35, delay=0.35)
    assert passes(gate, clock, 1.0) == 1


def test_a_refusal_holds_the_process_until_the_new_pace_is_known(gate: Gate, clock: Clock) -> None:
    gate.accept(gate.report(), Lease(0, None))
    assert gate.enter() == 0
    gate.refused(0, None)
    assert gate.is_due
    assert gate.seconds_left() > 0
    assert gate.report().refused == 1
    lease(gate, permits=1)
    assert gate.enter() == 1
    gate.refused(0, None)  # of a request that was under way with it: all know already
    assert gate.report().refused == 0


def test_without_exchanges_it_goes_on_at_its_part_of_the_last_pace(gate: Gate, clock: Clock) -> None:
    lease(gate, permits=1, holders=4)
    assert passes(gate, clock, OVERDUE_SECONDS) == 1
    assert 9 <= passes(gate, clock, 4.0) <= 11
    assert gate.report().overdrawn > 8


def test_what_nobody_wanted_in_its_time_is_no_burst_later(gate: Gate, clock: Clock) -> None:
    lease(gate, permits=8, step=0.1)
    clock.now += 1.0
    assert passes(gate, clock, 0.05) <= 4


def test_permits_that_another_has_given_back_are_used_in_their_time(gate: Gate, clock: Clock) -> None:
    lease(gate, permits=1, delay=0.3)
    lease(gate, permits=1, delay=0.4, again=(0.1, 0.2))
    assert passes(gate, clock, 0.09) == 0
    assert passes(gate, clock, 0.13) == 2
    assert passes(gate, clock, 0.5) == 2


def test_who_leaves_gives_back_what_it_has_not_used(gate: Gate, clock: Clock) -> None:
    lease(gate, permits=3, step=0.1)
    assert passes(gate, clock, 0.05) == 1
    assert gate.report(leaves=True).left == pytest.approx((0.05, 0.15))
    assert gate.report().left == ()


def test_a_process_that_wants_more_than_before_asks_at_once(gate: Gate, clock: Clock) -> None:
    """It began without a request, and got a lease without a permit."""
    lease(gate)
    assert not gate.is_due
    asks = threading.Thread(target=gate.enter, daemon=True)
    asks.start()
    while not gate.report().wanted:
        asks.join(0.001)
    assert gate.is_due
    lease(gate, permits=1)
    asks.join(10)
    assert not asks.is_alive()


def test_who_is_to_be_first_has_the_next_permit_whoever_waits(gate: Gate, clock: Clock) -> None:
    lease(gate)
    passed: queue.SimpleQueue[str] = queue.SimpleQueue()

    def enter(name: str, is_first: bool) -> None:
        if gate.enter(is_first=is_first) is not None:
            passed.put(name)

    waiting = [("one", False), ("two", False), ("trial", True)]
    threads = [threading.Thread(target=enter, args=each) for each in waiting]
    for number, thread in enumerate(threads, 1):
        thread.start()
        wait_for(lambda number=number: gate.report().wanted == number, 10, "it waits")  # type: ignore[misc]
    lease(gate, permits=1)
    assert passed.get(timeout=10) == "trial"
    lease(gate, permits=2)
    assert {passed.get(timeout=10), passed.get(timeout=10)} == {"one", "two"}
    for thread in threads:
        thread.join(10)
