"""Tells an outage of Bytemark from the failures of single users. In an outage it lets single requests through.

The rules are in docs/contract.md#outages. The clock is passed in, and nothing is sent and nobody waits here: the
client asks `enter` before each request and reports to `leave` after it.

The time between two good answers is an era. All failures of an era in which there was an outage are forgiven: they
cost no user an attempt.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

from bytemark_sync.bytemark.errors import Eras, Kind
from bytemark_sync.bytemark.token import Token

MIN_USERS = 3
"""An outage is suspected once so many different users have failed in a row."""
MIN_SECONDS = 3.0
"""And once the first of these failed requests was sent so long ago."""
MIN_SECONDS_REFUSED = 30.0
"""The same if some of them got only 429. Bytemark may refuse everybody until a short window of its limit ends."""
TRIAL_SECONDS = (1.0, 2.0, 4.0, 5.0)
"""From the start of an outage to its first trial, then from one trial to the next. The last one repeats."""
WITNESSES = 3
"""So many users are remembered, those who were answered last. If one or two of them fail, another can be asked."""
MAX_TRIAL_SECONDS = 30.0
"""A trial that is older than this when the patience ends counts as failed."""

GOOD = frozenset({Kind.OK, Kind.TOKEN_REJECTED, Kind.REFUSED})
"""Answers which show that Bytemark works."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A user whose page came back, and the token that fetched it."""

    user: int
    token: Token


Witnesses = dict[int, Witness]
"""By user, the one who was answered last at the end."""


@dataclass(eq=False, slots=True)
class Pass:
    """The right to send one request. `witness`: if there is one, the request is for this user's page 1, as a trial."""

    era: int
    is_trial: bool = False
    witness: Witness | None = None
    sent_at: float = math.inf


class _State(Enum):
    ANSWERS = auto()
    ASKING = auto()  # the witness is asked whether Bytemark is there
    OUT = auto()


class Outage:
    """What one process knows of Bytemark's answers. Shared by its threads."""

    def __init__(
        self,
        patience: float,
        clock: Callable[[], float] = time.monotonic,
        *,
        silent_for: float | None = None,
        witnesses: Witnesses | None = None,
    ) -> None:
        """`patience` in seconds. `silent_for`: it begins within an outage that is known for so many seconds.

        `witnesses`: who was answered before in this process. It is kept up to date.
        """
        self._patience = patience
        self._clock = clock
        self._lock = threading.Lock()
        self._good_at = clock() - (silent_for or 0.0)
        self._era = 0
        self._out_eras: set[int] = set()
        self._witnesses = {} if witnesses is None else witnesses
        self._trial: Pass | None = None
        self._trials = 0
        self._has_given_up = False
        self.has_heard = False
        """Whether there was a good answer."""
        self._forget_failures()
        if silent_for is not None:
            self._begin(clock(), first_trial_in=0.0)

    # --- For the threads that ask ---------------------------------------------------------------------------------
    def enter(self) -> Pass | None:
        """The right to send one request. None: the caller must wait. Every pass is given back by `leave`."""
        with self._lock:
            if self._state is _State.ANSWERS:
                return Pass(self._era)
            if self._trial is not None or self._clock() < self._next_trial:
                return None
            self._trial = Pass(self._era, is_trial=True, witness=self._witness())
            return self._trial

    def sending(self, one: Pass) -> bool:
        """The request is being sent now. It may have waited for its turn since `enter`.

        False: the pass is no longer good, for an outage was thought of meanwhile. The caller must wait for another.
        """
        with self._lock:
            if self._state is not _State.ANSWERS and not one.is_trial:
                return False
            one.era, one.sent_at = self._era, self._clock()
            return True

    def give_back(self, unsent: Pass) -> None:
        """Nothing was sent with this pass, and nothing will be."""
        with self._lock:
            if self._trial is unsent:
                self._trial = None

    def leave(self, sent: Pass, kind: Kind, asked: Witness, *, is_last: bool = False) -> Eras:
        """Report the answer to a request for `asked`. `is_last`: it was the user's last attempt, or the last but one.

        The result matters only if the request failed.
        """
        with self._lock:
            now = self._clock()
            if self._trial is sent:
                self._trial = None
            if kind in GOOD:
                self._good(sent, now, asked if kind is Kind.OK else None)
            elif kind is not Kind.INTERRUPTED:
                self._failed(sent, kind, asked.user, now, is_last=is_last)
            return sent.era, self._era

    def doubt(self, failed: Eras) -> None:
        """Something other than a request for orders failed. The witness is asked whether Bytemark works at all."""
        with self._lock:
            if self._state is _State.ANSWERS and self._witnesses and failed[1] == self._era:
                self._suspect(self._clock())

    @property
    def is_open(self) -> bool:
        """Whether everybody may ask."""
        return self._state is _State.ANSWERS

    @property
    def is_asking(self) -> bool:
        """Whether the witness is being asked if there is an outage."""
        return self._state is _State.ASKING

    def is_forgiven(self, failed: Eras) -> bool:
        """Whether the request failed in an outage. Then it costs no attempt."""
        return any(failed[0] <= era <= failed[1] for era in self._out_eras)

    def is_unclear(self, failed: Eras) -> bool:
        """Whether no good answer has come since this failure. Until then nobody knows whose fault it is."""
        return failed[1] == self._era

    # --- For whoever leads the run ----------------------------------------------------------------------------------
    @property
    def silent_for(self) -> float | None:
        """In an outage: seconds since the last good answer, or since the start. Else None."""
        with self._lock:
            return self._clock() - self._good_at if self._state is _State.OUT else None

    @property
    def out_for(self) -> float:
        """Seconds since this process noticed the outage. 0 without one."""
        with self._lock:
            return self._clock() - self._out_at if self._state is _State.OUT else 0.0

    @property
    def has_witness(self) -> bool:
        """Somebody was answered who can be asked whether Bytemark is back."""
        return bool(self._witnesses)

    @property
    def blind_trials(self) -> int:
        """Trials of an outage in which nobody was ever answered. The users under way may all fail by themselves."""
        return self._trials + 1 if self._state is _State.OUT and not self._witnesses else 0

    @property
    def heard_ago(self) -> float:
        """Seconds since the last good answer, or since the start if there was none."""
        with self._lock:
            return self._clock() - self._good_at

    @property
    def has_given_up(self) -> bool:
        """Whether a trial has failed, or hangs, later than the patience after the last good answer."""
        with self._lock:
            if self._state is not _State.OUT:
                return False
            now = self._clock()
            hangs = self._trial is not None and now - self._trial.sent_at > MAX_TRIAL_SECONDS
            return self._has_given_up or (hangs and now - self._good_at > self._patience)

    # --- The rules --------------------------------------------------------------------------------------------------
    def _good(self, sent: Pass, now: float, witness: Witness | None) -> None:
        if witness is not None:
            self._witnesses.pop(witness.user, None)
            self._witnesses[witness.user] = witness
            if len(self._witnesses) > WITNESSES:
                del self._witnesses[next(iter(self._witnesses))]
        self._good_at = now
        self.has_heard = True
        if self._state is _State.ASKING and not sent.is_trial:
            return  # it was sent before the failures were known, perhaps before the outage
        self._era += 1
        self._has_given_up = False
        self._forget_failures()

    def _forget_failures(self) -> None:
        self._state = _State.ANSWERS
        self._failed_users: set[int] = set()
        self._refused_users: set[int] = set()
        self._first_failed = self._first_refused = math.inf
        self._some_at_last = False
        self._next_trial = self._out_at = 0.0

    def _failed(self, sent: Pass, kind: Kind, user: int, now: float, *, is_last: bool) -> None:
        if self._state is not _State.OUT:
            self._note(sent, kind, user, is_last=is_last)
        if self._state is _State.ANSWERS:
            if now - self._first_refused > self._patience:  # nobody was let through for so long
                self._begin(now, first_trial_in=TRIAL_SECONDS[-1])
                self._has_given_up = True
            elif self._is_suspicious(now):
                self._suspect(now)
        elif sent.is_trial and self._state is _State.ASKING:
            if kind is Kind.RATE_LIMITED and now - self._first_refused < MIN_SECONDS_REFUSED:
                return  # it says nothing about an outage, so the witness is asked again
            self._begin(now, first_trial_in=TRIAL_SECONDS[0])
            self._has_given_up = now - self._good_at > self._patience
        elif sent.is_trial:
            self._trials += 1
            self._next_trial = now + TRIAL_SECONDS[min(self._trials, len(TRIAL_SECONDS) - 1)]
            self._has_given_up = now - self._good_at > self._patience

    def _note(self, sent: Pass, kind: Kind, user: int, *, is_last: bool) -> None:
        if kind is Kind.RATE_LIMITED:
            self._refused_users.add(user)
            self._first_refused = min(self._first_refused, sent.sent_at)
        else:
            self._failed_users.add(user)
            self._first_failed = min(self._first_failed, sent.sent_at)
            self._some_at_last = self._some_at_last or is_last

    def _is_suspicious(self, now: float) -> bool:
        failed = len(self._failed_users)
        if failed >= MIN_USERS and (self._some_at_last or now - self._first_failed >= MIN_SECONDS):
            return True
        # Where only one or two are left, somebody who was answered is the third.
        if self._some_at_last and not self._witnesses.keys() <= self._failed_users:
            return True
        unanswered = len(self._failed_users | self._refused_users)
        return unanswered >= MIN_USERS and now - self._first_refused >= MIN_SECONDS_REFUSED

    def _suspect(self, now: float) -> None:
        if not self._witnesses:
            self._begin(now, first_trial_in=TRIAL_SECONDS[0])
            return
        self._state = _State.ASKING
        self._next_trial = now

    def _witness(self) -> Witness | None:
        """The user who was answered last. Those who have failed since are the second choice."""
        newest_first = list(reversed(self._witnesses.values()))
        return next(
            (each for each in newest_first if each.user not in self._failed_users), next(iter(newest_first), None)
        )

    def _begin(self, now: float, *, first_trial_in: float) -> None:
        self._state = _State.OUT
        self._out_eras.add(self._era)
        self._out_at = now
        self._trials = 0
        self._next_trial = now + first_trial_in
