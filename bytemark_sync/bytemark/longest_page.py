"""How many orders the server puts on a page, whatever number it was asked for (docs/contract.md#pages)."""

from __future__ import annotations

import threading

from bytemark_sync.bytemark.decoding import Page


class LongestPage:
    """The length of the longest page that one client was given. Fed by all its threads.

    A page as long as was asked for (`page_size`) is full too, though another had an entry more.
    It begins anew with each client. While little is known, short pages look full, and one page more is asked for.
    """

    def __init__(self, page_size: int) -> None:
        self._page_size = page_size
        self._lock = threading.Lock()
        self.length = 1

    def see(self, page: Page) -> None:
        with self._lock:
            self.length = max(self.length, len(page.orders))

    def is_full(self, page: Page) -> bool:
        return len(page.orders) >= min(self.length, self._page_size)
