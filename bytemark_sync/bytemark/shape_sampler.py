"""Takes samples of the shape of answers while a run asks for pages."""

from __future__ import annotations

import threading

from bytemark_sync.bytemark.shape import MAX_PATHS, SEEN, Shape, paths_of
from bytemark_sync.bytemark.token import Token

FIRST_ANSWERS = 50
EVERY = 20
"""Each of the first answers is looked at, then one in `EVERY`. A look costs a tenth of a request."""


class ShapeSampler:
    """Shared by many threads. A member is kept once the answers to two different tokens have had it.

    A key that is data may look like a name. But only one rider's answers have it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answers = 0
        self._shape = Shape()
        self._known: set[str] = set()
        self._waiting: dict[str, tuple[int, dict[str, int]]] = {}

    def look(self, body: bytes, token: Token) -> None:
        """Look at an answer that came with a status of success, if it is one of the sample."""
        with self._lock:
            self._answers += 1
            if self._answers > FIRST_ANSWERS and self._answers % EVERY:
                return
        found = paths_of(body, token.reveal().strip())
        if not found:
            return
        with self._lock:
            self._shape.answers += 1
            self._shape.is_full = self._shape.is_full or len(found) >= MAX_PATHS
            for path, types in found.items():
                self._take(path, dict.fromkeys((SEEN, *types), 1), hash(token))

    def _take(self, path: str, types: dict[str, int], who: int) -> None:
        if path in self._known:
            self._shape.add(path, types)
            return
        first, kept = self._waiting.get(path, (who, {}))
        if not kept and len(self._waiting) >= MAX_PATHS:
            self._waiting.pop(next(iter(self._waiting)))  # the oldest: the keys of riders, who come once
        kept = {name: kept.get(name, 0) + types.get(name, 0) for name in {*kept, *types}}
        if first == who:
            self._waiting[path] = first, kept
            return
        self._waiting.pop(path, None)
        if len(self._known) >= MAX_PATHS:
            self._shape.is_full = True
            return
        self._known.add(path)
        self._shape.add(path, kept)

    def drain(self) -> Shape:
        """The sample since the last call."""
        with self._lock:
            shape, self._shape = self._shape, Shape()
            return shape
