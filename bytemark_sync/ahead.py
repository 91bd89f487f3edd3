"""Pages of a long list that idle threads fetch before their turn. Same requests, same budget of failures, less time.

They are used in their order, so that the list ends where it would have ended. It stays cheap and exact because:

- no more pages are ahead than a tenth of those already read, so a list shorter than ten pages has none ahead, and at
  most a tenth of the requests is in vain;
- a user has no more requests under way than it may still fail, so its failed requests never exceed the attempts;
- after a failure the user reads on one page at a time, once what is under way has come home.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from types import TracebackType
from typing import Self

from bytemark_sync.bytemark.answers import Page
from bytemark_sync.bytemark.attempts import Attempts
from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.errors import BytemarkError, TryAgain
from bytemark_sync.bytemark.token import Token

logger = logging.getLogger(__name__)

SHARE = 10
"""A page may be ahead for each so many that were read."""


class Ahead:
    """The pages ahead of one list, read with one token. `with`: at its end nothing of it is under way any more."""

    def __init__(self, client: BytemarkClient, token: Token, attempts: Attempts) -> None:
        self._client = client
        self._token = token
        self._attempts = attempts
        self._changed = threading.Condition()
        self._offered: deque[int] = deque()
        self._under_way: set[int] = set()
        self._came: dict[int, Page | BytemarkError] = {}
        self._failed: dict[int, TryAgain] = {}
        self._highest = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not GeneratorExit:  # else nobody reads on, and nobody must wait
            with self._changed:
                self._offered.clear()
            self.settle()

    def settle(self) -> None:
        """Wait until nothing is under way."""
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way)

    @property
    def most(self) -> int:
        """Pages that may be ahead at one time."""
        return self._attempts.maximum - 1

    def offer(self, read: int, last: int) -> int:
        """After page `read`, of `last` as far as is known: how many more pages idle threads may `fetch` now."""
        with self._changed:
            if self._attempts.used:
                self._offered.clear()
                return 0
            ahead = len(self._offered) + len(self._under_way) + len(self._came)
            room = min(read // SHARE, self.most) - ahead
            first = max(self._highest, read + 1) + 1  # the next page is the user's own turn
            pages = range(first, min(first + room, last + 1))
            self._offered.extend(pages)
            self._highest = max(self._highest, *pages) if pages else self._highest
            return len(pages)

    def fetch(self) -> None:
        """Fetch the first page that is offered, where one still is; called by an idle thread."""
        with self._changed:
            if not self._offered or self._attempts.used:
                return
            number = self._offered.popleft()
            self._under_way.add(number)
        outcome: Page | BytemarkError | None = None  # of a bug: the page's own turn meets it too, and tells
        try:
            outcome = self._client.get_page(self._token, number)
        except BytemarkError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - it must not leave the page under way for ever
            logger.debug("a page ahead failed: %s", type(error).__name__)
        with self._changed:
            if isinstance(outcome, TryAgain):
                self._attempts.spend()
                self._failed[number] = outcome
            elif outcome is not None:
                self._came[number] = outcome
            self._under_way.discard(number)
            self._changed.notify_all()

    def take(self, number: int) -> Page | None:
        """The page, where it came ahead; None where the caller must ask for it now. Raises what its request raised.

        Waits for it where it is under way, and for all that is under way once a request of the user has failed.
        """
        with self._changed:
            if number in self._offered:
                self._offered.remove(number)
            self._changed.wait_for(lambda: number not in self._under_way)
            if self._attempts.used:
                self._changed.wait_for(lambda: not self._under_way)
            outcome = self._came.pop(number, None)
            if isinstance(outcome, BytemarkError):
                raise outcome
            return outcome

    def failure(self, number: int) -> TryAgain | None:
        """How the page failed ahead, once."""
        with self._changed:
            return self._failed.pop(number, None)
