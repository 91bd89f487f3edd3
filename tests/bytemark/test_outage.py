"""An outage told from the failures of single users, in virtual time."""

from __future__ import annotations

import pytest

from bytemark_sync.bytemark.errors import Kind
from bytemark_sync.bytemark.outage import Outage, Pass, Witness
from bytemark_sync.bytemark.token import Token

PATIENCE = 300.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Play:
    """One process. `ask` sends a request of a user who may ask and reports what came back."""

    def __init__(self, silent_for: float | None = None) -> None:
        self.clock = Clock()
        self.outage = Outage(PATIENCE, self.clock, silent_for=silent_for)
        self.requests = 0

    def begin(self) -> Pass | None:
        one = self.outage.enter()
        if one is not None:
            self.outage.sending(one)
            self.requests += 1
        return one

    def end(self, one: Pass, user: int, kind: Kind, *, is_last: bool = False) -> tuple[int, int]:
        asked = one.witness or Witness(user, Token(f"key-{user}"))
        return self.outage.leave(one, kind, asked, is_last=is_last)

    def ask(self, user: int, kind: Kind, *, seconds: float = 0.0, is_last: bool = False) -> tuple[int, int]:
        one = self.begin()
        assert one is not None
        self.clock.now += seconds
        return self.end(one, user, kind, is_last=is_last)

    def fail(self, *users: int, seconds: float = 0.0) -> None:
        for user in users:
            self.ask(user, Kind.SERVER_ERROR, seconds=seconds)

    def trials(self, seconds: float, kind: Kind = Kind.CONNECTION) -> list[float]:
        """When trials are made within so many seconds; each fails at once."""
        made: list[float] = []
        began = self.clock.now
        while self.clock.now < began + seconds:
            if self.outage.is_open:
                return made
            if one := self.begin():
                made.append(self.clock.now - began)
                self.end(one, 99, kind)
            self.clock.now += 0.125
        return made


def out() -> Play:
    """Nobody was ever answered."""
    play = Play()
    play.fail(1, 2, 3, seconds=1.125)
    assert play.outage.silent_for is not None
    return play


def test_three_users_and_three_seconds_without_an_answer_are_an_outage() -> None:
    play = Play()
    play.fail(1, 2, 3)
    assert play.outage.is_open
    play.clock.now += 3
    play.fail(1)
    assert not play.outage.is_open
    assert play.outage.silent_for == 3


def test_one_or_two_users_are_none_however_long_it_lasts() -> None:
    play = Play()
    for _ in range(50):
        play.fail(1, 2, seconds=10)
    play.ask(1, Kind.TIMEOUT, is_last=True)
    assert play.outage.is_open


def test_a_last_attempt_does_not_wait_for_the_three_seconds() -> None:
    play = Play()
    play.ask(1, Kind.TIMEOUT, is_last=True)
    play.fail(2)
    assert play.outage.is_open
    play.fail(3)
    assert not play.outage.is_open


@pytest.mark.parametrize("kind", [Kind.OK, Kind.TOKEN_REJECTED, Kind.REFUSED])
def test_any_answer_of_a_bytemark_at_work_begins_anew(kind: Kind) -> None:
    play = Play()
    for _ in range(20):
        play.fail(1, 2, 3)
        play.clock.now += 10
        play.ask(4, kind)
    assert play.outage.is_open


def test_trials_come_after_one_two_four_and_then_every_five_seconds() -> None:
    play = out()
    assert play.trials(28.0) == [1.0, 3.0, 7.0, 12.0, 17.0, 22.0, 27.0]


def test_one_trial_at_a_time_and_the_others_wait() -> None:
    play = out()
    play.clock.now += 1
    trial = play.begin()
    assert trial is not None
    play.clock.now += 100
    assert play.begin() is None
    play.end(trial, 1, Kind.OK)
    assert [play.begin() is not None for _ in range(16)] == [True] * 16


def test_the_witness_answers_so_the_failures_are_the_users_own() -> None:
    play = Play()
    play.ask(7, Kind.OK)
    failed = [play.ask(user, Kind.TIMEOUT, seconds=2) for user in (1, 2, 3)]
    assert play.outage.is_asking
    trial = play.begin()
    assert trial is not None
    assert trial.witness is not None
    assert trial.witness.user == 7
    assert play.begin() is None
    play.end(trial, 7, Kind.OK)
    assert play.outage.is_open
    assert not any(play.outage.is_forgiven(each) for each in failed)


def test_the_witness_fails_too_so_nothing_costs_an_attempt() -> None:
    play = Play()
    before = play.ask(1, Kind.TIMEOUT)
    play.ask(7, Kind.OK)
    long_before = play.begin()
    failed = [play.ask(user, Kind.TIMEOUT, seconds=2) for user in (1, 2, 3)]
    trial = play.begin()
    assert trial is not None
    play.end(trial, 7, Kind.TIMEOUT)
    assert not play.outage.is_open
    assert play.trials(3.5) == [1.0, 3.0]
    play.clock.now += 4
    back = play.begin()
    assert back is not None
    play.end(back, 7, Kind.OK)
    assert long_before is not None
    late = play.end(long_before, 4, Kind.TIMEOUT)  # sent before the outage, reported after it
    after = play.ask(5, Kind.TIMEOUT)
    assert [play.outage.is_forgiven(each) for each in [before, *failed, late, after]] == [False] + [True] * 4 + [False]


def test_where_one_user_is_left_the_witness_is_asked_at_the_last_attempt() -> None:
    play = Play()
    play.ask(7, Kind.OK)
    play.fail(1, seconds=10)
    assert play.outage.is_open
    play.ask(1, Kind.TIMEOUT, is_last=True)
    assert play.outage.is_asking


def test_a_witness_who_is_the_failing_user_proves_nothing() -> None:
    play = Play()
    play.ask(7, Kind.OK)
    play.fail(7)
    play.ask(7, Kind.TIMEOUT, is_last=True)
    assert play.outage.is_open


@pytest.mark.parametrize("left", [(7,), (7, 6)], ids=["one", "two"])
def test_the_last_users_of_a_run_were_answered_last_and_yet_another_is_asked(left: tuple[int, ...]) -> None:
    """The longest lists are read to the end alone, and their users were those of the last pages."""
    play = Play()
    for user in (4, 5, 6, 7, 6, 7, 7):
        play.ask(user, Kind.OK)
    sent = [play.begin() for _ in left]
    failed = [play.end(one, user, Kind.TIMEOUT, is_last=True) for one, user in zip(sent, left, strict=True) if one]
    assert play.outage.is_asking
    trial = play.begin()
    assert trial is not None
    assert trial.witness is not None
    assert trial.witness.user not in left
    play.end(trial, trial.witness.user, Kind.TIMEOUT)
    assert not play.outage.is_open
    assert all(play.outage.is_forgiven(each) for each in failed)


def test_patience_is_over_when_a_trial_fails_behind_it() -> None:
    play = out()
    trials = play.trials(PATIENCE - 4)
    assert not play.outage.has_given_up
    assert len(trials) < 65
    play.trials(6)
    assert play.outage.has_given_up
    play.clock.now += 5
    back = play.begin()
    assert back is not None
    play.end(back, 1, Kind.OK)
    assert not play.outage.has_given_up


def test_a_witness_who_fails_behind_the_patience_ends_it() -> None:
    """A server that hangs: each request takes longer than the patience."""
    play = Play()
    play.ask(7, Kind.OK)
    hanging = [play.begin() for _ in range(3)]
    play.clock.now += PATIENCE + 1
    for user, one in enumerate(hanging):
        assert one is not None
        play.end(one, user, Kind.TIMEOUT)
    assert play.outage.is_asking
    play.ask(7, Kind.TIMEOUT, seconds=30)
    assert play.outage.has_given_up


def test_a_long_sleep_gives_nothing_up_before_a_trial() -> None:
    play = out()
    play.clock.now += 10_000
    assert not play.outage.has_given_up
    one = play.outage.enter()
    assert one is not None
    play.clock.now += 200  # it waits for its turn; nothing is sent
    assert not play.outage.has_given_up
    play.outage.sending(one)
    play.clock.now += 31  # it hangs
    assert play.outage.has_given_up


def test_an_outage_that_is_known_begins_with_a_trial_and_counts_on() -> None:
    play = Play(silent_for=299)
    assert not play.outage.is_open
    assert not play.outage.has_given_up
    assert play.trials(2.0) == [0.0]
    assert not play.outage.has_given_up
    play.clock.now += 2
    assert play.trials(0.05) == [0.0]
    assert play.outage.has_given_up


def test_429_is_no_outage_for_half_a_minute() -> None:
    play = Play()
    for second in range(30):
        play.ask(second % 5, Kind.RATE_LIMITED, seconds=0.99)
        assert play.outage.is_open
    play.clock.now += 1
    play.ask(1, Kind.RATE_LIMITED)
    assert not play.outage.is_open


def asking() -> Play:
    play = Play()
    play.ask(7, Kind.OK)
    play.ask(1, Kind.TIMEOUT, is_last=True)
    assert play.outage.is_asking
    return play


def test_a_witness_who_is_refused_with_429_is_asked_again() -> None:
    play = asking()
    for _ in range(3):
        play.ask(7, Kind.RATE_LIMITED, seconds=2)
        assert play.outage.is_asking
        assert play.outage.silent_for is None
    play.ask(7, Kind.OK)
    assert play.outage.is_open
    assert play.ask(1, Kind.OK)


def test_a_witness_whom_429_keeps_out_for_half_a_minute_shows_an_outage() -> None:
    play = asking()
    for _ in range(3):
        play.ask(7, Kind.RATE_LIMITED, seconds=10)
    assert play.outage.silent_for is not None


def test_a_single_user_whom_429_keeps_out_ends_the_run_after_the_patience() -> None:
    play = Play()
    for _ in range(11):
        play.ask(1, Kind.RATE_LIMITED, seconds=30)
        assert not play.outage.has_given_up or play.requests == 11
    assert play.outage.has_given_up


def test_a_good_answer_begins_the_patience_with_429_anew() -> None:
    play = Play()
    for _ in range(4):
        for _ in range(9):
            play.ask(1, Kind.RATE_LIMITED, seconds=30)
        play.ask(2, Kind.OK)
    assert play.outage.is_open
    assert not play.outage.has_given_up


def test_who_waits_for_a_permit_sends_nothing_once_an_outage_is_thought_of() -> None:
    play = Play()
    play.ask(7, Kind.OK)
    waiting = [play.outage.enter() for _ in range(13)]
    play.ask(1, Kind.TIMEOUT, is_last=True)
    assert [play.outage.sending(one) for one in waiting if one] == [False] * 13
    play.ask(7, Kind.TIMEOUT)
    assert play.outage.silent_for is not None
    assert [play.outage.sending(one) for one in waiting if one] == [False] * 13
    play.clock.now += 1
    play.ask(7, Kind.OK)
    assert [play.outage.sending(one) for one in waiting if one] == [True] * 13


def test_a_request_that_waited_through_an_outage_fails_by_itself_after_it() -> None:
    play = Play()
    play.ask(7, Kind.OK)
    waiting = play.outage.enter()
    assert waiting is not None
    play.ask(1, Kind.TIMEOUT, is_last=True)
    play.ask(7, Kind.TIMEOUT)
    play.clock.now += 1
    play.ask(7, Kind.OK)
    assert play.outage.sending(waiting)
    assert not play.outage.is_forgiven(play.end(waiting, 2, Kind.TIMEOUT))


def test_an_answer_to_a_request_from_before_does_not_speak_for_the_witness() -> None:
    play = Play()
    play.ask(7, Kind.OK)
    slow = play.begin()
    assert slow is not None
    failed = play.ask(1, Kind.TIMEOUT, is_last=True)
    play.end(slow, 2, Kind.OK)
    assert play.outage.is_asking
    assert play.outage.is_unclear(failed)
    trial = play.begin()
    assert trial is not None
    play.end(trial, 2, Kind.TIMEOUT)
    assert play.outage.silent_for == 0
    assert play.outage.is_forgiven(failed)


def test_a_trial_that_is_not_sent_leaves_the_turn_to_the_next() -> None:
    play = asking()
    trial = play.outage.enter()
    assert trial is not None
    assert play.outage.enter() is None
    play.outage.give_back(trial)
    assert play.begin() is not None


def test_a_stop_is_no_failure() -> None:
    play = Play()
    for user in range(20):
        play.ask(user, Kind.INTERRUPTED, seconds=1)
    assert play.outage.is_open
