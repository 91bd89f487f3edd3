"""A bounded pool of threads that fetch users over HTTP. No thread of the pool touches the database.

The threads take turns at the users, one page a turn. New users come first, because the lengths of their lists are not
known. Then come the users with the most pages left. So all users end at about the same time, and no thread is idle
while another reads a long list. No page is fetched ahead of its turn (docs/decisions/0009-no-pages-ahead.md).
If the system starts fewer threads, the run is slower. If it starts none, the caller's own thread fetches.
The threads are daemons, so a hanging request does not keep the process from ending.
"""

from __future__ import annotations

import itertools
import logging
import math
import queue
import threading
from collections.abc import Callable
from typing import NamedTuple

from bytemark_sync.bytemark.account import AccountClient
from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.domain.matching import LeftOrder, PendingUser, UserResult
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.domain.unexpected_errors import describe
from bytemark_sync.fetch.questions import Answer, Question
from bytemark_sync.fetch.user_orders import Steps, fetch_steps
from bytemark_sync.log_fields import carried, log_fields

logger = logging.getLogger(__name__)

USERS_PER_THREAD = 4
"""Users under way for each thread. Enough to choose from, and so many that no thread waits for the database."""

FIRST, STOP = -(2.0**62), -math.inf


class _Turn(NamedTuple):
    """Turns are sorted by `priority`, lowest first, and then by age. A turn whose `steps` is None ends a thread.

    `answer` is that to the question at which the fetch waits.
    """

    priority: float
    number: int
    user: PendingUser | None
    steps: Steps | None
    answer: Answer | None = None


class FetchPool:
    """Users in, results out, in the order in which they are done.

    With an account client a fetch may wait for an `answer`. Its questions go to `ask`, in the thread that calls `next`.
    """

    def __init__(
        self,
        client: BytemarkClient,
        workers: int,
        account: AccountClient | None = None,
        ask: Callable[[Question], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._account = account
        self._ask = ask
        self._workers = workers
        self._turns: queue.PriorityQueue[_Turn] = queue.PriorityQueue()
        self._results: queue.SimpleQueue[UserResult | Question] = queue.SimpleQueue()
        self._waiting: dict[int, tuple[PendingUser, Steps]] = {}
        self._numbers = itertools.count()
        self._threads = 0
        self._is_short = False
        self.in_flight = 0

    def has_room(self, extra: int = 0) -> bool:
        return self.in_flight < self._workers * USERS_PER_THREAD + extra

    def submit(self, user: PendingUser) -> None:
        self.in_flight += 1
        self._put(FIRST, user, fetch_steps(self._client, user, self._account))
        self._grow()

    def answer(self, user_id: int, answer: Answer) -> None:
        """Answer the question at which the user's fetch waits. It goes on as a new user does."""
        user, steps = self._waiting.pop(user_id)
        self._put(FIRST, user, steps, answer)

    def next(self, timeout: float) -> UserResult | None:
        """The next result. None after `timeout` seconds, or a question; without a thread, after one page."""
        if self.in_flight and not self._threads and not self._turns.empty():
            self._take_turn()
            timeout = 0
        try:
            result = self._results.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(result, Question):
            self._ask(result)
            return None
        self.in_flight -= 1
        return result

    def close(self) -> None:
        """End idle threads at once, and the others after their request."""
        for _ in range(self._threads):
            self._put(STOP, None, None)

    def _grow(self) -> None:
        """Start threads until each user under way has one, up to `workers`, or until the system starts no more."""
        while self._threads < min(self.in_flight, self._workers):
            try:
                threading.Thread(target=carried(self._work), name=f"fetch-{self._threads + 1}", daemon=True).start()
            except RuntimeError as error:
                if not self._is_short:
                    self._is_short = True
                    found = f"{self._threads} of {self._workers} threads could be started ({error})"
                    logger.warning("Only %s. The run goes on, but more slowly.", found)
                return
            self._threads += 1

    def _put(
        self, priority: float, user: PendingUser | None, steps: Steps | None, answer: Answer | None = None
    ) -> None:
        self._turns.put(_Turn(priority, next(self._numbers), user, steps, answer))

    def _work(self) -> None:
        while self._take_turn():
            pass

    def _take_turn(self) -> bool:
        """Fetch one page of a user; this gives the result or the user's next turn. False if the thread shall end."""
        _, _, user, steps, answer = self._turns.get()
        if user is None or steps is None:
            return False
        with log_fields(user=user.user_id):
            self._step(user, steps, answer)
        return True

    def _step(self, user: PendingUser, steps: Steps, answer: Answer | None) -> None:
        try:
            step = steps.send(answer)
            if isinstance(step, int):
                self._put(-step, user, steps)
            else:
                self._waiting[user.user_id] = user, steps
                self._results.put(step)
        except StopIteration as end:
            self._results.put(end.value)
        except Exception as error:  # noqa: BLE001 - a bug with one user's answer must not stop the others
            self._results.put(_unexpected(user, error))


def _unexpected(user: PendingUser, error: Exception) -> UserResult:
    detail = describe(error)
    logger.error("user %s: %s", user.user_id, detail, extra={"reason": Reason.API_ERROR.value})
    left = tuple(LeftOrder(order, Reason.API_ERROR, detail) for order in user.orders)
    return UserResult(user.user_id, (), left, failure=Reason.API_ERROR, detail=detail)
