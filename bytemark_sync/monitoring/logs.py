"""Logging to the current `sys.stderr`, and without riders' tokens."""

from __future__ import annotations

import logging
import sys
from typing import TextIO


class StderrHandler(logging.StreamHandler[TextIO]):
    """Looks `sys.stderr` up for each line, not once at start-up: progress bars and tests replace it later."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


class WithoutValues(logging.Filter):
    """Cuts SQL statements in Django's log before their first text value, because values include riders' tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        statement = getattr(record, "sql", None)
        if statement is not None:
            before, quote, _ = str(statement).partition("'")
            shown = before + ("..." if quote else "")
            record.__dict__ |= {"sql": shown, "params": None}
            record.args = (getattr(record, "duration", 0.0), shown, None, getattr(record, "alias", ""))
        return True
