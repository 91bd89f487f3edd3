"""What a line of the log is about: `run`, `batch`, `user` and the like, as fields beside its words (LOG_FORMAT=json).

`bytemark_sync.monitoring.logs` adds the fields that hold where and when the line is written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial

FIELDS = ("run", "batch", "user", "order", "attempt", "reason")
"""The names that lines of the product have (docs/operations.md#logs)."""

_current: ContextVar[Mapping[str, object]] = ContextVar("log_fields")


def current() -> Mapping[str, object]:
    return _current.get({})


@contextmanager
def log_fields(**fields: object) -> Iterator[None]:
    """Every line within the block has these fields, but for those that `carried` does not lead to another thread."""
    before = _current.set({**current(), **fields})
    try:
        yield
    finally:
        _current.reset(before)


def bind(**fields: object) -> None:
    """The same to the end of the block of `log_fields` that this is called in, or of the process."""
    _current.set({**current(), **fields})


def carried(work: Callable[[], None]) -> Callable[[], None]:
    """`work` for a new thread, which would begin without fields: it has those that hold now."""
    return partial(copy_context().run, work)
