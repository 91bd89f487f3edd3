"""The moves of the search: what people, clusters, schedules, Bytemark and bad luck do.

A move that calls the product starts a process with a fate. Where a move finds nothing to do, a likelier one is made in
its place, so that none is lost. Hypothesis prints the moves as they stand here.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django_q.models import OrmQ
from django_q.scheduler import scheduler
from hypothesis import strategies as st
from msgspec import structs

from bytemark_sync import tasks
from bytemark_sync.audit.strategy import AuditStrategy
from bytemark_sync.domain.pending_filter import PendingFilter
from bytemark_sync.domain.run_scope import AuditScope, Scope
from bytemark_sync.models import Order, OrderToken, Trigger
from bytemark_sync.queue.requests import request_audit, request_run, request_stop
from bytemark_sync.runs.client_settings import bytemark_settings
from bytemark_sync.runs.in_process import work_here
from bytemark_sync.runs.strategy import SyncStrategy
from bytemark_sync.sandbox import FaultRule, parse_faults
from bytemark_sync.sandbox.wire import LOGIN_REFUSALS
from tests.faults.renewal import sign_in
from tests.search.process import FINAL, Blow
from tests.search.world import add_order

if TYPE_CHECKING:
    from tests.search.machine import Search

Strike = tuple[Blow, int]
"""What hits a process, and after how many more statements, or effects."""


@dataclass(frozen=True)
class Before:
    """Stand before a write, or a transaction, once `writes` more are done."""

    writes: int


Fate = int | Before | Strike | None
"""How far a process goes: so many statements and transactions, before a write, until struck, or to its end (None)."""

_final = st.tuples(st.sampled_from(FINAL), st.sampled_from((0, 0, 1, 1, 1, 2, 2, 3, 4, 6, 8)))
_passing = st.tuples(st.sampled_from([blow for blow in Blow if blow not in FINAL]), st.integers(0, 25))
strikes = _final | _final.map(lambda strike: strike) | _passing
befores = st.builds(Before, st.integers(0, 5))
fates = st.none() | st.integers(0, 15) | befores | befores.map(lambda fate: fate) | strikes
which = st.integers(0, 5)
users = st.lists(st.integers(1, 6), max_size=3, unique=True).map(tuple)
minutes = st.sampled_from((0, 0, 1, 6, 16, 16, 16, 40, 24 * 60))
"""The heartbeat's limit is 15 minutes, and so is the time that a task takes for itself."""


@dataclass(frozen=True)
class Ask:
    """Somebody asks for a run through the queue: of users, of all, of those that a filter matches, or an audit."""

    what: str
    users: tuple[int, ...] = ()
    limit: int | None = None
    deferred: bool = False
    fate: Fate = None

    def play(self, search: Search) -> None:
        search.start(f"ask {self.what}", self._call, self.fate)

    def _call(self) -> object:
        if self.what == "audit":
            return request_audit(AuditScope())
        if self.what in ("admin", "command"):
            return request_run(
                trigger=Trigger(self.what), users=self.users, limit=self.limit, include_deferred=self.deferred
            )
        return request_run(trigger=Trigger.ADMIN, filters=PendingFilter(reasons=(self.what,)))


@dataclass(frozen=True)
class Here:
    """The command, or an audit, worked by its own process."""

    audit: bool
    users: tuple[int, ...]
    fate: Fate

    def play(self, search: Search) -> None:
        here: dict[str, Any] = {"client_settings": bytemark_settings(), "workers": 1, "stop": threading.Event()}
        if self.audit:
            search.start("audit_here", lambda: work_here(AuditStrategy(AuditScope(self.users)), **here), self.fate)
        else:
            search.start("sync_here", lambda: work_here(SyncStrategy(Scope(self.users)), **here), self.fate)


@dataclass(frozen=True)
class Stop:
    which: int
    fate: Fate

    def play(self, search: Search) -> None:
        if alive := search.alive():
            run = one(alive, self.which)
            search.start(f"request_stop {run}", lambda: request_stop(run), self.fate)
        else:
            Ask("command").play(search)


@dataclass(frozen=True)
class Deliver:
    """A worker gets a task that waits; `again`: the broker keeps it, and delivers it a second time."""

    which: int
    again: bool
    fate: Fate

    def play(self, search: Search) -> None:
        waiting = search.waiting()
        if not waiting:
            likelier = Watch(16, self.fate) if search.alive() else Ask("command", deferred=True)
            likelier.play(search)
            return
        row = one(waiting, self.which)
        search.take(row, self.fate, keep=self.again)


@dataclass(frozen=True)
class Overtake:
    """A worker stands still until the watchdog has given its work to another, and wakes while that one works."""

    task: str
    which: int
    first: Fate
    second: Fate
    fate: Fate

    def play(self, search: Search) -> None:
        if not search.waiting(self.task):
            Ask("command", deferred=True).play(search)
            if self.task == "sync_batch" and (plans := search.waiting("plan_run")):
                search.take(plans[-1], None)
        if not (waiting := search.waiting(self.task)):
            return
        row = one(waiting, self.which)
        sleeping = search.started_by(lambda: search.take(row, self.first))
        Watch(16, None).play(search)
        again = [each for each in search.waiting(self.task) if each.args() == row.args()]
        if again:
            search.take(again[0], self.second)
        for process in sleeping:
            search.lead(process, self.fate)


@dataclass(frozen=True)
class Race:
    """Two commands at once: the second overtakes the first, which then goes on."""

    users: tuple[int, ...]
    first: Fate
    second: Fate
    fate: Fate

    def play(self, search: Search) -> None:
        sleeping = search.started_by(lambda: Here(False, self.users, self.first).play(search))
        Here(False, (), self.second).play(search)
        for process in sleeping:
            search.lead(process, self.fate)


@dataclass(frozen=True)
class GoOn:
    """A process that stood still all this while goes on."""

    which: int
    minutes: int
    fate: Fate

    def play(self, search: Search) -> None:
        if search.processes:
            search.clock.advance(self.minutes * 60)
            search.lead(one(search.processes, self.which), self.fate)
        else:
            Deliver(self.which, False, self.fate).play(search)


@dataclass(frozen=True)
class Watch:
    minutes: int
    fate: Fate

    def play(self, search: Search) -> None:
        search.clock.advance(self.minutes * 60)
        search.start("watch", tasks.watch, self.fate)


@dataclass(frozen=True)
class LookAtSchedules:
    """The cluster's scheduler looks, and perhaps the broker then `loses` what it was handed."""

    minutes: int
    fate: Fate
    loses: bool = False

    def play(self, search: Search) -> None:
        search.clock.advance(self.minutes * 60)
        search.note_what_is_due()
        search.start("scheduler", scheduler, self.fate)
        if self.loses:
            Lose().play(search)


@dataclass(frozen=True)
class Close:
    which: int
    fate: Fate

    def play(self, search: Search) -> None:
        if alive := search.alive():
            run = one(alive, self.which)
            search.start(f"close {run}", lambda: tasks.close_run_if_done(run), self.fate)
        else:
            LookAtSchedules(24 * 60, self.fate).play(search)


@dataclass(frozen=True)
class Lose:
    """The broker restarts without memory."""

    def play(self, search: Search) -> None:
        search.log.append("--- the broker loses all")
        OrmQ.objects.all().delete()


@dataclass(frozen=True)
class Change:
    """For one rider every request fails, until the next time; or somebody buys a ticket."""

    what: str
    which: int

    def play(self, search: Search) -> None:
        rider = one(search.world.riders, self.which)
        if self.what == "fails":
            search.failing ^= {rider.user_id}
            search.blameless = False
            search.serve()
            return
        token = next(row.token for row in search.world.tokens if row.user_id == rider.user_id)
        order = add_order(search.world, rider.user_id, token, self.what)
        Order.objects.create(
            pk=order.id, order_uuid=order.order_uuid, user_id=order.user_id, oauth_token=order.oauth_token, amount="0"
        )
        search.sandbox.set_world(search.world, keep_tokens=True)


@dataclass(frozen=True)
class Api:
    """Bytemark refuses the next requests of all, as too many, or it is away for so many."""

    is_away: bool
    requests: int
    retry_after: str

    def play(self, search: Search) -> None:
        search.blameless = search.blameless and not self.is_away
        if self.is_away:
            rule = FaultRule("close", times=self.requests)
        else:
            rule = FaultRule("status", status=429, times=self.requests, retry_after=self.retry_after)
        search.api = (rule,)
        search.serve()


@dataclass(frozen=True)
class Account:
    """A rider's tokens expire; the portal signs the rider in; or it has a wrong password, until the next time."""

    what: str
    which: int

    def play(self, search: Search) -> None:
        rider = one(search.world.riders, self.which)
        rows = OrderToken.objects.filter(user_id=rider.user_id)
        if self.what == "expires":
            search.sandbox.end_tokens(rider.user_id)
        elif self.what == "wrong password":
            search.locked_out ^= {rider.user_id}
            wrong = rider.user_id in search.locked_out
            rows.exclude(password=None).update(password="wrong" if wrong else rider.password)
        elif rider.email and (token := sign_in(search.sandbox, rider.email, rider.password)):
            rows.update(token=token)


@dataclass(frozen=True)
class Logins:
    """The account API answers the next logins otherwise."""

    rule: str
    times: int

    def play(self, search: Search) -> None:
        search.blameless = search.blameless and self.rule not in UNANSWERED
        (rule,) = parse_faults(self.rule)
        search.logins = (structs.replace(rule, on="login", times=self.times),)
        search.serve()


UNANSWERED = ("status:status=500", "cut", "close")
"""Answers to a login that cost an attempt."""
LOGINS = (
    *(f"refuse:reason={reason}" for reason in LOGIN_REFUSALS),
    *("no_token", "dead_token", "dead_token", "status:status=429", *UNANSWERED),
)

Moving = Ask | Here | Stop | Deliver | Overtake | Race | GoOn | Watch | LookAtSchedules | Close | Lose
Move = Moving | Change | Api | Account | Logins

_flushes = st.builds(Before, st.sampled_from((1, 1, 2, 2, 2, 3)))
"""Before the first or second time that a worker writes what it has fetched, or a planner a batch."""
_asked = st.sampled_from(("command", "command", "admin", "admin", "audit", "never_tried", "not_found", "api_error"))
_weights: tuple[tuple[int, st.SearchStrategy[Move]], ...] = (
    (12, st.builds(Deliver, which, st.booleans(), fates)),
    (
        2,
        st.builds(
            Overtake,
            st.sampled_from(("sync_batch", "sync_batch", "plan_run")),
            which,
            _flushes,
            _flushes | fates,
            fates,
        ),
    ),
    (1, st.builds(Race, users, _flushes, st.none() | _flushes, fates)),
    (8, st.builds(GoOn, which, minutes, fates)),
    (4, st.builds(Watch, minutes, st.none() | fates)),
    (2, st.builds(Ask, _asked, users, st.none() | st.integers(1, 4), st.booleans(), fates)),
    (4, st.builds(Here, st.sampled_from((False, False, False, True)), users, fates)),
    (1, st.builds(Stop, which, fates)),
    (2, st.builds(LookAtSchedules, st.sampled_from((1, 70, 24 * 60)), fates, st.booleans())),
    (1, st.builds(Close, which, fates)),
    (1, st.builds(Lose)),
    (3, st.builds(Api, st.booleans(), st.sampled_from((1, 3, 8, 100)), st.sampled_from(("", "", "1", "20")))),
    (4, st.builds(Account, st.sampled_from(("expires", "expires", "portal renews", "wrong password")), which)),
    (2, st.builds(Logins, st.sampled_from(LOGINS), st.sampled_from((1, 1, 2, 5)))),
    (4, st.builds(Change, st.sampled_from(("fails", "listed", "listed", "listed", "not listed")), which)),
)
# Hypothesis takes the very same strategy once only, so each has as many copies as its weight says.
moves: st.SearchStrategy[Move] = st.one_of(
    [strategy.map(lambda move: move) for weight, strategy in _weights for _ in range(weight)]
)


def one(several: list[Any], which: int) -> Any:
    """One of several, counted around."""
    return several[which % len(several)]
