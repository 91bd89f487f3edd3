"""The machine: makes hypothesis' moves, looks at the book after each, and in the end brings all to rest.

A process stands where its fate left it until a later move lets it go on or strikes it. Hypothesis prints the shortest
list of moves that breaks a promise; what each process did is noted with it.
"""

from __future__ import annotations

import pydoc
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest
from django.conf import settings
from django_q.models import OrmQ, Schedule
from hypothesis import currently_in_test_context, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from bytemark_sync.models import OrderToken, SyncBatch, SyncRun, Trigger
from bytemark_sync.models.runs import ALIVE
from bytemark_sync.queue import batches, schedules
from bytemark_sync.queue.requests import request_run
from bytemark_sync.runs import engine, writer
from bytemark_sync.sandbox import ExpectedItem, FaultRule, Sandbox, World
from bytemark_sync.storage.pending import pending_orders
from tests.faults import checks
from tests.faults.renewal import Tokens, rows_work
from tests.search.clock import Clock
from tests.search.moves import Before, Deliver, Fate, GoOn, Move, Watch, moves
from tests.search.process import Blow, Process
from tests.search.promises import OPEN, Book, nobody_is_blamed, settled
from tests.search.world import KINDS, LISTS, by_clock, empty_tables, no_threads, world_of

MOST_PROCESSES = 3
CURSED, ROUNDS = 10, 24
"""Rounds of the watchdog after which a curse ends, and all must be at rest: a batch dies three times before it is given
up, and each time is found after the limit."""

Curse = dict[str, tuple[Blow, list[int]]]
_strikes = st.tuples(st.sampled_from(Blow), st.lists(st.integers(0, 20), min_size=1, max_size=3))
curses: st.SearchStrategy[Curse] = st.integers(0, 3).flatmap(
    lambda luck: st.just({}) if luck else st.dictionaries(st.sampled_from(("plan_run", "sync_batch")), _strikes)
)
"""Kinds of task that are struck each time: after these numbers of statements, and from then on after the last."""


class Search(RuleBasedStateMachine):
    sandbox: Sandbox

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.patch = pytest.MonkeyPatch()
        self.clock.install(self.patch)
        self.patch.setattr(engine, "FetchPool", no_threads(self.clock))
        by_clock(self.patch, self.clock)
        self.patch.setattr(batches, "_answered", {})
        self.patch.setattr(engine, "USERS_PER_FLUSH", 1)
        self.world = World()
        self.lists: tuple[str, ...] = ()
        self.failing: set[int] = set()
        self.api: tuple[FaultRule, ...] = ()
        self.logins: tuple[FaultRule, ...] = ()
        self.locked_out: set[int] = set()
        """Riders whose password the portal has wrong."""
        self.tokens = Tokens(self.world, self.sandbox)
        self.blameless = True
        """Bytemark has done nothing yet by which a user may fail."""
        self.curse: Curse = {}
        self.processes: list[Process] = []
        self.started = 0
        self.at_rest = False
        self.sound = True
        self.due: set[datetime] = set()
        self.book = Book()
        self.log: list[str] = []
        empty_tables()

    @initialize(
        kinds=st.lists(st.sampled_from(KINDS), min_size=2, max_size=6),
        a_batch=st.integers(1, 3),
        handed_out=st.sampled_from((1, 2, 8)),
        a_transaction=st.sampled_from((1, 2, 2000)),
        curse=curses,
        planned=st.booleans(),
        lists=st.sampled_from(("as asked", *LISTS)),
    )
    def begin(
        self,
        kinds: list[str],
        a_batch: int,
        handed_out: int,
        a_transaction: int,
        curse: Curse,
        planned: bool,
        lists: str,
    ) -> None:
        """Riders of these kinds, `a_batch` in each batch, `handed_out` in the broker, and a run that was asked for."""
        self.patch.setattr(settings, "SYNC_BATCH_USERS", a_batch)
        self.patch.setattr(batches, "MIN_BATCHES_HANDED_OUT", handed_out)
        self.patch.setattr(writer, "ORDERS_PER_TRANSACTION", a_transaction)
        self.curse = {name: (blow, list(afters)) for name, (blow, afters) in curse.items()}
        self.world = world_of(kinds)
        self.world.fill_portal()
        self.lists = LISTS[lists]
        if self.lists:
            self.patch.setattr(settings, "BYTEMARK_PAGE_SIZE", 3)
        self.sandbox.reset()
        self.serve()
        self.sandbox.set_world(self.world)
        request_run(trigger=Trigger.COMMAND)
        if planned:
            Deliver(0, False, None).play(self)

    @rule(move=moves)
    def move(self, move: Move) -> None:
        self.log.append(f"--- {move}")
        self.sound = False
        self.note_what_is_due()
        move.play(self)
        self.sound = True

    def started_by(self, play: Callable[[], None]) -> list[Process]:
        """The processes that a part of a move has started, and that now stand."""
        before = [*self.processes]
        play()
        return [process for process in self.processes if process not in before]

    def serve(self) -> None:
        """Bytemark as it is now."""
        # It ends some time, for a process without threads does nothing else while it asks whether Bytemark is back.
        failing = [f"status:users={each},times=100" for each in sorted(self.failing)]
        self.sandbox.set_faults(*self.lists, *self.api, *self.logins, *failing)

    def expected(self) -> list[ExpectedItem]:
        """What may be stored now. Which of a rider's tokens fetched an order is not for the world to say."""
        self.tokens = Tokens(self.world, self.sandbox)
        self.tokens.look()
        return self.tokens.expected(self.world.expected_items(renewal=True))

    # --- Processes ----------------------------------------------------------------------------------------------------

    def start(self, name: str, call: Callable[[], Any], fate: Fate) -> None:
        if len(self.processes) >= MOST_PROCESSES and not self.at_rest:
            GoOn(self.started, 0, fate).play(self)
            return
        self.started += 1
        self.lead(Process(f"{name} [{self.started}]", call, self.clock, self.log.append), fate)

    def lead(self, process: Process, fate: Fate) -> None:
        if isinstance(fate, tuple):
            process.strike(*fate)
            if self.at_rest:
                process.go()
        elif isinstance(fate, Before):
            process.go(fate.writes, writes_only=True)
        else:
            process.go(fate)
        self.processes = [each for each in dict.fromkeys([*self.processes, process]) if not each.ended]
        assert process.expected(), f"{process.name}: {process.error!r}"
        expected = self.expected()
        self.hold(self.book.look(expected, self.tokens.owner, self.sandbox.logins(), process.name))
        if self.blameless:
            self.hold(nobody_is_blamed())

    def waiting(self, task: str = "") -> list[OrmQ]:
        """What the broker has, the oldest first; of one kind of task, or of all."""
        return [row for row in OrmQ.objects.order_by("pk") if row.func().endswith(task)]

    def take(self, row: OrmQ, fate: Fate, *, keep: bool = False) -> None:
        """Work the task of a row of the broker, which with `keep` delivers it once more."""
        if not keep:
            OrmQ.objects.filter(pk=row.pk).delete()
        func: Any = pydoc.locate(row.func())
        if func.__name__ in self.curse:
            blow, afters = self.curse[func.__name__]
            fate = blow, afters.pop(0) if len(afters) > 1 else afters[0]
        name = " ".join([func.__name__, *map(str, row.args())])
        self.start(name, lambda: func(*row.args(), **row.kwargs()), fate)

    def alive(self) -> list[int]:
        return list(SyncRun.objects.filter(status__in=ALIVE).order_by("pk").values_list("pk", flat=True))

    def note_what_is_due(self) -> None:
        due = Schedule.objects.filter(func=schedules.SYNC, next_run__lt=self.clock.now)
        self.due.update(due.values_list("next_run", flat=True))

    # --- What must hold -----------------------------------------------------------------------------------------------

    def hold(self, problems: Iterator[str]) -> None:
        found = list(problems)
        if found and currently_in_test_context():  # else a person plays an example again
            for line in self.log[-300:]:
                note(line)
        assert not found, "; ".join(found)

    def teardown(self) -> None:
        try:
            if self.sound:
                self.settle()
        finally:
            for process in self.processes:
                process.strike(Blow.KILL)
            self.patch.undo()

    def settle(self) -> None:
        """Bytemark is well, a cluster works, and whatever still stands goes to its end."""
        self.log.append("--- all comes to rest")
        self.failing, self.api, self.logins = set(), (), ()
        self.serve()
        self.let_in()
        self.at_rest = True
        for process in self.processes:
            self.lead(process, None)
        rest = 0
        for number in range(ROUNDS):
            if number == CURSED:
                self.curse = {}
            self.drain()
            Watch(0, None).play(self)
            rest = 0 if self.restless() else rest + 1
            if rest == 2:  # what was forgotten at the first look is told at the second
                break
            self.clock.advance(settings.SYNC_HEARTBEAT_LIMIT + 60)
        self.hold(self.book.succeeded())
        self.hold(settled(self.due))
        self.curse = {}
        worked = {user for user in pending_orders().values_list("user_id", flat=True) if user is not None}
        self.clean_run()
        expected, reasons = self.expected(), self.world.expected_reasons(renewal=True)
        self.hold(checks.end_state(expected, reasons, 0, self.tokens.owner))
        failing = self.world.expected_failed_users(renewal=True)
        rows = OrderToken.objects.values_list("user_id", "token")
        self.hold(rows_work(self.tokens, rows, worked - failing))
        before = checks.stored_rows()
        self.clean_run()
        assert checks.stored_rows() == before

    def let_in(self) -> None:
        """The portal has every rider's right password again."""
        for row in self.world.tokens:
            OrderToken.objects.filter(user_id=row.user_id).update(password=row.password)
        self.locked_out = set()

    def restless(self) -> bool:
        open_batches = SyncBatch.objects.filter(status__in=OPEN).exists()
        return open_batches or bool(self.alive()) or OrmQ.objects.exists()

    def clean_run(self) -> None:
        request_run(trigger=Trigger.COMMAND, include_deferred=True)
        self.drain()

    def drain(self) -> None:
        while waiting := self.waiting():
            self.take(waiting[0], None)
