"""Logging to the current `sys.stderr`, with fields that say what a line is about, and without riders' tokens."""

from __future__ import annotations

import logging
import re
import sys
from typing import TextIO

from django.conf import settings

from bytemark_sync.log_fields import current
from bytemark_sync.monitoring.scrubbing import statement_without_values

logger = logging.getLogger(__name__)


class StderrHandler(logging.StreamHandler[TextIO]):
    """Looks `sys.stderr` up for each line, not once at start-up: progress bars and tests replace it later."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def last_words(words: str) -> None:
    """What a process says before it ends: a line of the log where logs are JSON, else the words alone."""
    if settings.LOG_FORMAT == "json":
        logger.error(words)
    else:
        sys.stderr.write(f"{words}\n")


class WithFields(logging.Filter):
    """Adds the fields that hold in this thread. Those that the line itself has win."""

    def filter(self, record: logging.LogRecord) -> bool:
        for name, value in current().items():
            record.__dict__.setdefault(name, value)
        return True


class WithTask(logging.Filter):
    """Adds run and batch to django-q2's own lines, which hold the name of the task (queue/broker.py)."""

    _NAME = re.compile(r"\b(?:plan_run|sync_batch (?P<batch>\d+) of run) (?P<run>\d+)")

    def filter(self, record: logging.LogRecord) -> bool:
        if found := self._NAME.search(record.getMessage()):
            record.__dict__ |= {name: int(text) for name, text in found.groupdict().items() if text}
        return True


class WithoutValues(logging.Filter):
    """Cuts SQL statements in Django's log before their first text value, because values include riders' tokens."""

    def filter(self, record: logging.LogRecord) -> bool:
        statement = getattr(record, "sql", None)
        if statement is not None:
            shown = statement_without_values(str(statement))
            record.__dict__ |= {"sql": shown, "params": None}
            record.args = (getattr(record, "duration", 0.0), shown, None, getattr(record, "alias", ""))
        return True
