"""A bounded pool of threads that fetch users over HTTP and do nothing else: no thread here touches the database.

The threads are daemons, so that a server which holds a request cannot hold the process at its end.
"""

from __future__ import annotations

import logging
import queue
import threading
import traceback

from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.fetching import fetch_user
from bytemark_sync.matching import LeftOrder, PendingUser, UserResult
from bytemark_sync.reasons import Reason

logger = logging.getLogger(__name__)

AHEAD = 2
"""Users handed over for each thread, so that none waits for the database."""


class FetchPool:
    """Users in, results out, in the order in which they are done."""

    def __init__(self, client: BytemarkClient, workers: int) -> None:
        self._client = client
        self._workers = workers
        self._users: queue.SimpleQueue[PendingUser | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[UserResult] = queue.SimpleQueue()
        self._threads = 0
        self.in_flight = 0

    @property
    def has_room(self) -> bool:
        return self.in_flight < self._workers * AHEAD

    def submit(self, user: PendingUser) -> None:
        self.in_flight += 1
        self._users.put(user)
        if self._threads < min(self._workers, self.in_flight):
            self._threads += 1
            threading.Thread(target=self._work, name=f"fetch-{self._threads}", daemon=True).start()

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
        for _ in range(self._threads):
            self._users.put(None)

    def _work(self) -> None:
        while (user := self._users.get()) is not None:
            try:
                result = fetch_user(self._client, user)
            except Exception as error:  # noqa: BLE001 - a bug in one user's answer must not cost the others
                result = _unexpected(user, error)
            self._results.put(result)


def _unexpected(user: PendingUser, error: Exception) -> UserResult:
    """The error's text may hold anything, so only its class and place are told."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    detail = f"internal error: {type(error).__name__} in {place.name}, line {place.lineno}"
    logger.error("user %s: %s", user.user_id, detail)
    left = tuple(LeftOrder(order, Reason.API_ERROR, detail) for order in user.orders)
    return UserResult(user.user_id, (), left, failure=Reason.API_ERROR, detail=detail)
