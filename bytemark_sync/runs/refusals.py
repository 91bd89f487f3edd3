"""Keeps how many requests of a process were refused in which minute, for the admin and `/metrics`.

Written by the engine's thread, at most once in `SECONDS_PER_WRITE`, and only if something was refused. Each process
has rows of its own, so that nobody waits for another.
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
from bytemark_sync.models import RefusedMinute
from bytemark_sync.storage.database_retry import DatabaseGone, RowRefused, retrying

logger = logging.getLogger(__name__)

SECONDS_PER_WRITE = 10.0
PATIENCE_SECONDS = 5.0


class RefusalLog:
    """The current minute of one writer. Its figures are never worth a run: a database error costs them alone."""

    def __init__(self, run_id: int, clock: Callable[[], datetime] = timezone.now) -> None:
        self._run_id = run_id
        self._clock = clock
        self._source = uuid.uuid4().hex
        self._written_at = 0.0
        self._minute = self._this_minute()
        self._requests = self._refused = 0
        self._kept = (0, 0)
        """Requests and refusals as they were written last."""

    def add(self, sample: ApiSample) -> None:
        """Count what has happened since the last call, as of this minute."""
        minute = self._this_minute()
        if minute != self._minute:
            self.write()
            self._begin(minute)
        self._requests += sample.requests
        self._refused += sample.answers.get(Kind.RATE_LIMITED, 0)
        if self._refused > self._kept[1] and time.monotonic() - self._written_at >= SECONDS_PER_WRITE:
            self.write()

    def write(self) -> None:
        """Write the minute, if it has a refusal and is not as it was written last."""
        now = self._requests, self._refused
        if not self._refused or now == self._kept:
            return
        self._written_at = time.monotonic()
        try:
            retrying(self._save, patience=PATIENCE_SECONDS)
            self._kept = now
        except (DatabaseGone, RowRefused) as error:
            logger.warning("run %s: the refused requests of a minute are not on record: %s", self._run_id, error)

    def _begin(self, minute: datetime) -> None:
        self._minute = minute
        self._requests = self._refused = 0
        self._kept = (0, 0)

    def _save(self) -> None:
        """The figures so far replace those before, so that a repeated call takes no effect."""
        figures = {"requests": self._requests, "refused": self._refused}
        if not RefusedMinute.objects.filter(minute=self._minute, source=self._source).update(**figures):
            RefusedMinute.objects.create(minute=self._minute, source=self._source, run_id=self._run_id, **figures)

    def _this_minute(self) -> datetime:
        return self._clock().replace(second=0, microsecond=0)
