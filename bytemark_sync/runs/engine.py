"""The work of a run: pending users -> HTTP threads -> one storing thread -> counts (docs/architecture.md).

The caller's thread reads the pending users and writes the results, over one connection. The pool's threads do only
HTTP (docs/decisions/0002-one-writer-thread.md).
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto
from typing import Protocol

from bytemark_sync.bytemark.account import AccountClient
from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.bytemark.gate import Gate
from bytemark_sync.bytemark.stats import ApiSample, ApiStats
from bytemark_sync.domain.counters import Counts, Flushed, Totals
from bytemark_sync.domain.matching import UserResult
from bytemark_sync.fetch.pool import FetchPool
from bytemark_sync.fetch.questions import Question
from bytemark_sync.runs import lifecycle
from bytemark_sync.runs.outage_watch import Advice, HeardOf, Known, OutageWatch
from bytemark_sync.runs.pace_keeper import PaceKeeper
from bytemark_sync.runs.renewal import Renewal
from bytemark_sync.runs.writer import Worked
from bytemark_sync.storage.logins import Logins
from bytemark_sync.storage.pending import DueUser, ReadUpTo

logger = logging.getLogger(__name__)

USERS_PER_FLUSH = 64
SECONDS_PER_FLUSH = 0.5
SECONDS_PER_LAST_FLUSH = 0.1
"""Used once every user is handed out, so that the last write, for which the run waits, is a small one."""
TICK_SECONDS = 0.1
STOP_GRACE_SECONDS = 3.0
"""Seconds that requests in flight may still take once a run is stopped. What arrives in time is stored."""

Progress = Callable[[Counts, int, datetime | None], None]
"""Called after each write with the counts so far, the users still in flight, and since when an outage lasts."""


class _End(Enum):
    """Why the work ended before all users were done."""

    STOPPED = auto()
    TIMED_OUT = auto()
    CUT_OFF = auto()
    GAVE_UP = auto()


class Writer(HeardOf, Protocol):
    def flush(self, worked: list[Worked], sample: ApiSample) -> Flushed: ...
    def beat(self) -> None: ...
    def end(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Terms:
    """How users are worked through, whoever they are.

    `stop` ends the work at once. `deadline` (a `time.monotonic()` value) hands back the rest. `known`: what a
    process of the queue knows from earlier batches.
    """

    client_settings: BytemarkSettings
    workers: int
    stop: threading.Event
    deadline: float | None = None
    progress: Progress | None = None
    known: Known = field(default_factory=Known)
    dry_run: bool = False
    logins: Logins | None = None
    """Those of the run, where tokens are renewed."""


def work(users: Iterator[DueUser | ReadUpTo], writer: Writer, terms: Terms, totals: Totals) -> None:
    """Work through `users` until the end, a stop or the deadline, counting in `totals`.

    In an outage it gives up in the end, or, with a deadline, hands back; `totals` say which.

    Raises `DatabaseGone`, `ClaimLost` or `RunClosed`. What was written before stays; the rest is still pending.
    """
    _Engine(users, writer, terms, totals).run()


class _Engine:
    def __init__(self, users: Iterator[DueUser | ReadUpTo], writer: Writer, terms: Terms, totals: Totals) -> None:
        self._users = users
        self._writer = writer
        self._stop = terms.stop
        self._deadline = terms.deadline
        self._progress = terms.progress
        self._stats = ApiStats()
        api = terms.client_settings
        self._watch = OutageWatch(writer, api.outage_patience, self._flush, terms.known)
        self._gate = Gate(terms.stop, is_shared=True)
        self._pace = PaceKeeper(self._gate, api.requests_per_second, dry_run=terms.dry_run)
        client = BytemarkClient(api, stop=terms.stop, stats=self._stats, outage=self._watch.outage, gate=self._gate)
        renews = terms.logins is not None and api.renews_tokens
        self._pool = FetchPool(client, terms.workers, AccountClient(api, client) if renews else None, self._ask)
        self._renewal: Renewal | None = None
        if terms.logins is not None and renews:
            self._renewal = Renewal(terms.logins, self._pool.answer, totals, dry_run=terms.dry_run)
        self._told_since: datetime | None = None
        self._in_flight: dict[int, DueUser] = {}
        self._buffer: list[Worked] = []
        self._buffered_at = 0.0
        self._beat_every = lifecycle.beat_every()
        self._beaten_at = time.monotonic()
        self._exhausted = False
        self._stopped_at: float | None = None
        self._cut_short = False
        self._end = _End.STOPPED
        self._totals = totals

    def run(self) -> None:
        try:
            while not self._done():
                self._keep_pace()
                reads_on = self._feed()
                self._keep_pace()  # now the threads of new users wait for permits
                if self._renewal:
                    self._renewal.tick()
                self._take(self._pool.next(0 if reads_on else TICK_SECONDS) if self._pool.in_flight else None)
                self._flush_when_due()
                self._beat_when_due()
            self._pace.leave()
            self._flush()
            self._writer.end()
        except BaseException:
            self._stop.set()
            raise
        finally:
            self._pool.close()
        if self._in_flight or not self._exhausted or self._cut_short:
            self._totals.interrupted = self._end is _End.STOPPED
            self._totals.unreached = self._end in (_End.TIMED_OUT, _End.CUT_OFF)
            self._totals.is_cut_off = self._end is _End.CUT_OFF
            self._totals.held = self._watch.since is not None or self._gate.has_held
            self._totals.unanswered_since = self._watch.since if self._end is _End.GAVE_UP else None

    def _done(self) -> bool:
        if not self._stop.is_set() and (end := self._why_to_end()):
            self._end = end
            self._stop.set()
        if not self._stop.is_set():
            return self._exhausted and not self._pool.in_flight
        self._stopped_at = self._stopped_at or time.monotonic()
        if self._renewal:
            self._renewal.stop()
        return not self._pool.in_flight or time.monotonic() - self._stopped_at > STOP_GRACE_SECONDS

    def _why_to_end(self) -> _End | None:
        """Why the work ends before all users are done, other than by a stop."""
        advice = self._watch.look(can_hand_back=self._deadline is not None)
        if self._watch.since != self._told_since:
            self._told_since = self._watch.since
            self._tell()
        if advice is Advice.GIVE_UP:
            return _End.GAVE_UP
        if advice is Advice.HAND_BACK:
            return _End.CUT_OFF
        timed_out = self._deadline is not None and time.monotonic() >= self._deadline
        return _End.TIMED_OUT if timed_out else None

    def _keep_pace(self) -> None:
        self._pace.tick(self._pool.in_flight if self._exhausted else math.inf)

    def _feed(self) -> bool:
        """Hand out users while the pool has room, up to the end of the group of orders being read.

        True if it stopped at a group's end, so that there is more to read at once.
        """
        while self._has_room() and not self._exhausted and not self._stop.is_set():
            due = next(self._users, None)
            if isinstance(due, ReadUpTo):
                return True
            if due is None:
                self._exhausted = True
            else:
                self._in_flight[due.pending.user_id] = due
                self._pool.submit(due.pending)
        return False

    def _has_room(self) -> bool:
        # Each trial for which nobody is known who was answered brings a user in who has not been asked yet.
        return self._pool.has_room(self._watch.outage.blind_trials)

    def _ask(self, question: Question) -> None:
        if self._renewal:
            self._renewal.ask(question)

    def _take(self, result: UserResult | None) -> None:
        if result is None:
            return
        if self._renewal:
            self._renewal.done(result)
        if not self._buffer:
            self._buffered_at = time.monotonic()
        due = self._in_flight.pop(result.user_id)
        self._buffer.append(Worked(due, result))
        if result.interrupted:
            self._cut_short = True
            return
        _log(result)

    def _flush_when_due(self) -> None:
        waited = time.monotonic() - self._buffered_at
        longest = SECONDS_PER_LAST_FLUSH if self._exhausted else SECONDS_PER_FLUSH
        if self._buffer and (len(self._buffer) >= USERS_PER_FLUSH or waited >= longest):
            self._flush()

    def _flush(self) -> None:
        worked, self._buffer = self._buffer, []
        sample = replace(self._stats.drain(), is_limited=self._gate.has_lease)
        self._totals.add(self._writer.flush(worked, sample))
        self._beaten_at = time.monotonic()
        self._tell()

    def _tell(self) -> None:
        if self._progress:
            self._progress(self._totals.counts, len(self._in_flight), self._watch.since)

    def _beat_when_due(self) -> None:
        if time.monotonic() - self._beaten_at < self._beat_every:
            return
        if self._stats.is_empty:
            self._beaten_at = time.monotonic()
            self._writer.beat()
        else:
            self._flush()


def _log(result: UserResult) -> None:
    """One DEBUG line for each user, one WARNING for each failure. Details never hold a token (bytemark.errors)."""
    about: dict[str, object] = {"user": result.user_id}
    logger.debug("user %s: %d found, %d left", result.user_id, len(result.found), len(result.left), extra=about)
    if result.failure:
        why = about | {"reason": result.failure.value, "attempt": result.attempts}
        logger.warning("user %s failed: %s (%s)", result.user_id, result.failure.value, result.detail, extra=why)
    for left in result.left:
        if left.reason.record.shows_detail:
            values = (left.order.id, result.user_id, left.reason.record.badge, left.detail)
            why = about | {"order": left.order.id, "reason": left.reason.value}
            logger.warning("order %s of user %s is %s: %s", *values, extra=why)
