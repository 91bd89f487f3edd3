"""What the engine does in an outage: it says so on the run, and ends the work where waiting is of no use.

Each process knows for itself whether Bytemark answers it (`bytemark.outage`). Whether it answers the run's other
processes stands in the run's row (docs/contract.md#outages).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Protocol

from django.utils import timezone

from bytemark_sync.bytemark.outage import Outage, Witnesses
from bytemark_sync.runs import lifecycle
from bytemark_sync.times import dated

logger = logging.getLogger(__name__)

HAND_BACK_SECONDS = 10.0
"""A process keeps its batch for so long while Bytemark answers others but not it."""
ALONE_SECONDS = 30.0
"""The same if Bytemark answers nobody of the run, but answered this process before. Perhaps nobody else asks."""


@dataclass(frozen=True, slots=True)
class Heard:
    """When Bytemark last answered any process of the run, and since when it answers none of them."""

    answered_at: datetime | None = None
    silent_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What a process of the queue knows before it begins a batch."""

    is_suspect: bool = False
    """Bytemark did not answer it when it last worked. So it begins with a single trial."""
    has_others: bool = False
    """Other machines could take the work."""
    witnesses: Witnesses = field(default_factory=dict)
    """Who was answered in earlier batches. It is kept up to date."""


class HeardOf(Protocol):
    """The part of a writer that this module needs."""

    def heard(self) -> Heard: ...
    def silent(self, since: datetime) -> None: ...


class Advice(Enum):
    GO_ON = auto()
    HAND_BACK = auto()
    """Bytemark answers others, so this machine is at fault."""
    GIVE_UP = auto()


class OutageWatch:
    """Looks at the process's outage for the engine. `since`: when it began; None without one."""

    def __init__(self, writer: HeardOf, patience: float, flush: Callable[[], None], known: Known) -> None:
        self._has_others = known.has_others
        self._writer = writer
        self._flush = flush
        heard = writer.heard()
        silent_for = 0.0 if known.is_suspect else None
        if heard.silent_since:
            silent_for = max(0.0, (timezone.now() - heard.silent_since).total_seconds())
        self.outage = Outage(patience, silent_for=silent_for, witnesses=known.witnesses)
        self.since: datetime | None = None
        self._answered_before = heard.answered_at if heard.silent_since else None
        """`answered_at` at the start of the outage. If it changes, Bytemark answers others."""
        self._looked_at = 0.0

    def look(self, *, can_hand_back: bool) -> Advice:
        """Called often. Asks the database only in an outage, as often as a heartbeat is due."""
        silent_for = self.outage.silent_for
        if silent_for is None:
            if self.since is not None:
                logger.warning("Bytemark answers again. It had not answered since %s.", dated(self.since))
            self.since = None
            return Advice.GO_ON
        if self.since is None:
            self._begin(silent_for)
        has_given_up = self.outage.has_given_up
        if not has_given_up and time.monotonic() - self._looked_at < lifecycle.beat_every():
            return Advice.GO_ON
        return self._compare(has_given_up=has_given_up, can_hand_back=can_hand_back)

    def _begin(self, silent_for: float) -> None:
        self.since = timezone.now() - timedelta(seconds=silent_for)
        logger.warning(
            "Bytemark has not answered since %s. Until it does, only single requests are sent.", dated(self.since)
        )
        if self.outage.has_heard:
            self._flush()  # so that the run's row has this process's own last answer
            self._answered_before = self._writer.heard().answered_at

    def _compare(self, *, has_given_up: bool, can_hand_back: bool) -> Advice:
        self._looked_at = time.monotonic()
        answers_others = self._writer.heard().answered_at not in (None, self._answered_before)
        if not answers_others:
            self._say()
            if has_given_up:
                return Advice.GIVE_UP
            # Nobody knows whose outage it is: another machine may try.
            is_long = self.outage.out_for >= (ALONE_SECONDS if self.outage.has_heard else HAND_BACK_SECONDS)
            return Advice.HAND_BACK if can_hand_back and self._has_others and is_long else Advice.GO_ON
        if can_hand_back and (has_given_up or self.outage.out_for >= HAND_BACK_SECONDS):
            # If the outage has reached all by now, whoever takes the batch knows since when. Else others clear it.
            self._say()
            return Advice.HAND_BACK
        return Advice.GO_ON

    def _say(self) -> None:
        if self.since is not None:
            self._writer.silent(self.since)
