"""A process of the search: one call of the product, made in a thread with a database connection of its own.

It pauses before each statement and each transaction until it is told to go on, so one process at a time acts, and the
order in which they act is the search's. It never pauses inside a transaction, where it would hold locks. A blow can hit
it anywhere: before any statement, inside a transaction, before a commit or behind it.
"""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from django.db import DatabaseError, InterfaceError, connection
from django.db.utils import OperationalError
from django_q.exceptions import TimeoutException
from MySQLdb.constants import CR, ER

from bytemark_sync.queue.batches import BrokeOff
from bytemark_sync.storage.database_retry import DatabaseGone
from tests.search.clock import STATEMENT, Clock

HANGS = 60.0
"""Real seconds after which a process that does not come to its next statement hangs."""
MOST_STATEMENTS = 5000


class Blow(enum.Enum):
    KILL = "SIGKILL: nothing that it does takes effect any more"
    TIMEOUT = "django-q2's time limit: a SystemExit, after which it may still tidy up"
    LOCKED = "the statement waited for a lock in vain"
    LOST = "the connection was lost before the statement"
    UNANSWERED = "the connection was lost after the statement, or the commit, had its effect"

    def __repr__(self) -> str:
        return f"Blow.{self.name}"  # as a printed example can be played again


FINAL = (Blow.KILL, Blow.UNANSWERED)
"""What matters before or after an effect alone: a commit, or a write outside a transaction."""


class Killed(BaseException):
    """Raised where a killed process wants something of the database."""


class Hangs(Exception):
    """A process neither ends nor comes to a statement."""


class Process:
    """`call()` as a process of the name `name`. `log` is told each statement."""

    def __init__(self, name: str, call: Callable[[], Any], clock: Clock, log: Callable[[str], None]) -> None:
        self.name = name
        self.ended = False
        self.killed = False
        self.struck: list[Blow] = []
        self.result: Any = None
        self.error: BaseException | None = None
        self._call = call
        self._clock = clock
        self._log = log
        self._go = threading.Semaphore(0)
        self._stands = threading.Semaphore(0)
        self._started = False
        self._steps: int | None = 0
        self._writes_only = False
        self._statements = 0
        self._blow: Blow | None = None
        self._until_blow = 0

    # --- From the search's side ---------------------------------------------------------------------------------------

    def go(self, steps: int | None = None, *, writes_only: bool = False) -> None:
        """Make `steps` steps, or go to the end; a step is a statement, or a whole transaction.

        With `writes_only` what reads outside a transaction counts for nothing: it then stands just before a write.
        """
        self._steps, self._writes_only = steps, writes_only
        self._resume()

    def strike(self, blow: Blow, after: int = 0) -> None:
        """Hit it before its next statement but `after`, or its next effect but so many; then let it come to rest."""
        self._blow, self._until_blow, self._steps, self._writes_only = blow, after, 0, False
        self._resume()
        self._blow = None

    def _resume(self) -> None:
        if self.ended:
            return
        if not self._started:
            self._started = True
            _threads.submit(self._run)
        else:
            self._go.release()
        if not self._stands.acquire(timeout=HANGS):
            raise Hangs(self.name)

    def expected(self) -> bool:
        """Whether it ended in a way that the blows explain."""
        if self.error is None or isinstance(self.error, Killed):
            return True
        if isinstance(self.error, TimeoutException):
            return Blow.TIMEOUT in self.struck
        failed = isinstance(self.error, DatabaseError | InterfaceError | DatabaseGone | BrokeOff)
        return failed and not {Blow.LOCKED, Blow.LOST, Blow.UNANSWERED}.isdisjoint(self.struck)

    # --- In its thread ------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        _here.process = self
        _hook()
        try:
            self.result = self._call()
        except BaseException as error:
            self.error = error
        finally:
            _here.process = None
            if self.struck or connection.in_atomic_block:
                connection.close()
            self.ended = True
            self._log(f"{self.name} ends: {self.result!r} {self.error!r}")
            self._stands.release()

    def reach(self, what: str, *, inside: bool) -> Blow | None:
        """Called before `what`, `inside` a transaction or not; a blow that comes back is for after it."""
        self._clock.advance(STATEMENT)
        has_effect = what == "COMMIT" or not (inside or what.startswith(("SELECT", "BEGIN")))
        while True:
            if self.killed:
                raise Killed
            if self._blow is not None:
                if self._until_blow or (self._blow in FINAL and not has_effect):
                    self._until_blow -= self._blow not in FINAL or has_effect
                    break
                return self._hit(what)
            if self._steps is None or inside or (self._writes_only and what.startswith("SELECT")):
                break
            if self._steps:
                self._steps -= 1
                break
            self._log(f"{self.name} stands before {what}")
            self._stands.release()
            self._go.acquire()
        self._statements += 1
        if self._statements > MOST_STATEMENTS:
            raise Hangs(f"{self.name}: more than {MOST_STATEMENTS} statements")
        self._log(f"{self.name}: {what}")
        return None

    def _hit(self, what: str) -> Blow | None:
        assert self._blow is not None
        blow, self._blow = self._blow, None
        self.struck.append(blow)
        self._log(f"{self.name}: {what}, hit by {blow.name}")
        if blow is Blow.UNANSWERED:
            return blow
        if blow is Blow.KILL:
            self.killed = True
            raise Killed
        if blow is Blow.TIMEOUT:
            raise TimeoutException("Task exceeded maximum timeout value")
        raise failure(blow)


def failure(blow: Blow) -> OperationalError:
    if blow is Blow.LOCKED:
        return OperationalError(ER.LOCK_WAIT_TIMEOUT, "Lock wait timeout exceeded; try restarting transaction")
    return OperationalError(CR.SERVER_LOST, "Lost connection to server during query")


_here = threading.local()
_threads = ThreadPoolExecutor(64, thread_name_prefix="process")


def _hook() -> None:
    """Lead this thread's connection through `Process.reach`; a thread serves one process after the other."""
    if getattr(_here, "hooked", False):
        return
    _here.hooked = True
    connection.execute_wrappers.append(_statement)
    begin, commit = connection.set_autocommit, connection.commit

    def set_autocommit(autocommit: bool, *args: Any, **options: Any) -> None:
        process: Process | None = _here.process
        if process and not autocommit and process.reach("BEGIN", inside=False):
            raise failure(Blow.UNANSWERED)
        begin(autocommit, *args, **options)

    def commit_(*args: Any) -> None:
        process: Process | None = _here.process
        try:
            later = process.reach("COMMIT", inside=True) if process else None
        except BaseException:
            connection.rollback()  # leaving the block in autocommit would commit what was written
            raise
        commit(*args)
        if later:
            raise failure(later)

    connection.set_autocommit = set_autocommit  # type: ignore[method-assign]
    connection.commit = commit_  # type: ignore[method-assign]


def _statement(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    process: Process | None = _here.process
    if process is None or sql.startswith("BEGIN"):
        return execute(sql, params, many, context)
    later = process.reach(_brief(sql), inside=connection.in_atomic_block)
    result = execute(sql, params, many, context)
    if later:
        raise failure(later)
    return result


@cache
def _brief(sql: str) -> str:
    """`UPDATE bytemark_sync_run`, of a statement's first words."""
    words = sql.replace('"', "").replace("`", "").split()
    tables = [word.rstrip(";") for word in words if word.startswith(("bytemark_", "django_q_", "auth_"))]
    return f"{words[0]} {tables[0].partition('.')[0] if tables else ''}".strip()
