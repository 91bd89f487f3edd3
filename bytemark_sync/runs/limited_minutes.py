"""Keeps how many requests a process made in which minute and how many were refused, for the admin and `/metrics`.

Only while a limit is known: of an API that refuses nobody there is nothing to tell, and nothing is written. The
engine's thread writes, at most once in `SECONDS_PER_WRITE`. Each process has rows of its own, so nobody waits for
another.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from datetime import datetime

from django.utils import timezone

from bytemark_sync.bytemark.errors import Kind
from bytemark_sync.bytemark.stats import ApiSample
from bytemark_sync.models import LimitedMinute
from bytemark_sync.storage.database_retry import DatabaseGone, RowRefused, retrying

logger = logging.getLogger(__name__)

SECONDS_PER_WRITE = 15.0
PATIENCE_SECONDS = 5.0
NONE = (0, 0)
"""Requests, and those of them that were refused."""


class MinuteLog:
    """The current minute of one writer. A database error costs its figures alone, and never the run."""

    def __init__(self, run_id: int, clock: Callable[[], datetime] = timezone.now) -> None:
        self._run_id = run_id
        self._clock = clock
        self._source = uuid.uuid4().hex
        self._written_at = time.monotonic()
        self._minute = self._this_minute()
        self._figures = self._kept = NONE

    def add(self, sample: ApiSample) -> None:
        """Count what has happened since the last call as of this minute, if a limit was known."""
        minute = self._this_minute()
        if minute != self._minute:
            self.write()
            self._minute, self._figures, self._kept = minute, NONE, NONE
        refused = sample.answers.get(Kind.RATE_LIMITED, 0)
        if not (sample.is_limited or refused):
            return
        self._figures = self._figures[0] + sample.requests, self._figures[1] + refused
        if time.monotonic() - self._written_at >= SECONDS_PER_WRITE:
            self.write()

    def write(self) -> None:
        """Write the minute, unless it is as it was written last."""
        if self._figures == self._kept:
            return
        self._written_at = time.monotonic()
        try:
            retrying(self._save, patience=PATIENCE_SECONDS)
            self._kept = self._figures
        except (DatabaseGone, RowRefused) as error:
            logger.warning("run %s: the requests of a minute are not on record: %s", self._run_id, error)

    def _save(self) -> None:
        """The figures so far replace those before, so that a repeated call takes no effect."""
        figures = dict(zip(("requests", "refused"), self._figures, strict=True))
        if not LimitedMinute.objects.filter(minute=self._minute, source=self._source).update(**figures):
            LimitedMinute.objects.create(minute=self._minute, source=self._source, run_id=self._run_id, **figures)

    def _this_minute(self) -> datetime:
        return self._clock().replace(second=0, microsecond=0)
