"""Logging to the standard error of the moment, so that a progress bar or a test that replaces it gets the lines."""

from __future__ import annotations

import logging
import sys
from typing import TextIO


class StderrHandler(logging.StreamHandler[TextIO]):
    """A `StreamHandler` that looks `sys.stderr` up at each line instead of once at start-up."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


class WithoutValues(logging.Filter):
    """Cuts a statement in Django's log before its first text value: riders' tokens are among the values."""

    def filter(self, record: logging.LogRecord) -> bool:
        statement = getattr(record, "sql", None)
        if statement is not None:
            before, quote, _ = str(statement).partition("'")
            shown = before + ("..." if quote else "")
            record.__dict__ |= {"sql": shown, "params": None}
            record.args = (getattr(record, "duration", 0.0), shown, None, getattr(record, "alias", ""))
        return True
