"""A bounded pool of threads that fetch users over HTTP and do nothing else: no thread here touches the database.

The threads take turns at the users, a page a turn: new users first, for their lists' lengths are not known, then those
with the most pages left. So the last users end together, and no thread idles while another reads one long list.
The threads are daemons, so that a server which holds a request cannot hold the process at its end.
"""

from __future__ import annotations

import itertools
import logging
import math
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.fetching import Steps, fetch_steps
from bytemark_sync.matching import LeftOrder, PendingUser, UserResult
from bytemark_sync.reasons import Reason
from bytemark_sync.unexpected import describe

logger = logging.getLogger(__name__)

AHEAD = 4
"""Users under way for each thread: enough to choose from, and none waits for the database."""

FIRST, LAST, STOP = -(2.0**62), 2.0**62, -math.inf


class _Turn(NamedTuple):
    """Turns are sorted by `priority`, the lowest first, and then by age; `act` is None to end a thread."""

    priority: float
    number: int
    act: Callable[[], None] | None


class FetchPool:
    """Users in, results out, in the order in which they are done."""

    def __init__(self, client: BytemarkClient, workers: int) -> None:
        self._client = client
        self._workers = workers
        self._turns: queue.PriorityQueue[_Turn] = queue.PriorityQueue()
        self._results: queue.SimpleQueue[UserResult] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._threads = 0
        self._growing = threading.Lock()
        self.in_flight = 0

    @property
    def has_room(self) -> bool:
        return self.in_flight < self._workers * AHEAD

    def submit(self, user: PendingUser) -> None:
        self.in_flight += 1
        self._put(FIRST, partial(self._step, user, fetch_steps(self._client, user)))
        self._grow(self.in_flight)

    def next(self, timeout: float) -> UserResult | None:
        """The next result, or None after `timeout` seconds."""
        try:
            result = self._results.get(timeout=timeout)
        except queue.Empty:
            return None
        self.in_flight -= 1
        return result

    def close(self) -> None:
        """Let idle threads go; a thread in a request goes after it."""
        with self._growing:
            self._workers = 0
        for _ in range(self._threads):
            self._put(STOP, None)

    def _grow(self, threads: int) -> None:
        """Have that many threads, or as many as there may be."""
        with self._growing:
            while self._threads < min(threads, self._workers):
                self._threads += 1
                threading.Thread(target=self._work, name=f"fetch-{self._threads}", daemon=True).start()

    def _put(self, priority: float, act: Callable[[], None] | None) -> None:
        self._turns.put(_Turn(priority, next(self._numbers), act))

    def _work(self) -> None:
        while (act := self._turns.get().act) is not None:
            act()

    def _step(self, user: PendingUser, steps: Steps) -> None:
        """One page of the user, and the next turns; threads for which there is nothing else fetch pages ahead."""
        try:
            pause = next(steps)
        except StopIteration as end:
            self._results.put(end.value)
        except Exception as error:  # noqa: BLE001 - a bug in one user's answer must not cost the others
            self._results.put(_unexpected(user, error))
        else:
            for _ in range(pause.offered):
                self._put(LAST, pause.ahead.fetch)
            if pause.offered:
                self._grow(self.in_flight + pause.ahead.most)
            self._put(-pause.left, partial(self._step, user, steps))


def _unexpected(user: PendingUser, error: Exception) -> UserResult:
    detail = describe(error)
    logger.error("user %s: %s", user.user_id, detail)
    left = tuple(LeftOrder(order, Reason.API_ERROR, detail) for order in user.orders)
    return UserResult(user.user_id, (), left, failure=Reason.API_ERROR, detail=detail)
