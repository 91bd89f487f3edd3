"""Exchanges a process's reports for leases of the shared pace. The engine's thread calls it, outside transactions."""

from __future__ import annotations

import logging
import math
import random
import time

from django.db import DatabaseError, InterfaceError

from bytemark_sync.bytemark.gate import Gate
from bytemark_sync.bytemark.pace import exchange
from bytemark_sync.bytemark.pace_state import Lease, PaceState, Report
from bytemark_sync.storage.pace_store import PaceStore, StoreBusy, is_of_redis, pace_store
from bytemark_sync.storage.read_only_pace import ReadOnlyPace

logger = logging.getLogger(__name__)

AWAY_SECONDS = 5.0
"""So long a store that is away is not asked again. The gate goes on at the last rate, divided by the processes."""
BUSY_SECONDS = 0.1


class PaceKeeper:
    """Keeps the gate's lease young. An error of the store never reaches the run."""

    def __init__(self, gate: Gate, most: float | None, *, dry_run: bool, store: PaceStore | None = None) -> None:
        self._gate = gate
        self._most = most
        self._dry_run = dry_run
        self._store = store
        self._ask_at = 0.0
        self._lease = Lease(0, None)
        self._own: PaceState | None = None
        self._is_away = False

    def tick(self, users_left: float = math.inf) -> None:
        """Make an exchange where one is due. `users_left`: all who are still to be asked for."""
        if self._gate.is_due and (self._is_away or time.monotonic() >= self._ask_at):
            self._exchange(users_left=users_left)

    def leave(self) -> None:
        """So that others share its part at once."""
        if self._gate.has_lease and not self._is_away:
            self._exchange(leaves=True)

    def _exchange(self, *, users_left: float = math.inf, leaves: bool = False) -> None:
        report = self._gate.report(users_left=users_left, leaves=leaves)
        lease = self._ask(report) if time.monotonic() >= self._ask_at else None
        if lease is None and self._is_away:
            lease = self._alone(report)
        if lease is not None:
            self._lease = lease if not self._is_away else self._lease
            self._gate.accept(report, lease)

    def _ask(self, report: Report) -> Lease | None:
        """The store's lease. None: others were faster each time and the old one holds, or the store is away."""
        try:
            self._store = self._store or (ReadOnlyPace(pace_store()) if self._dry_run else pace_store())
            lease = self._store.exchange(report, self._most)
        except StoreBusy:
            self._ask_at = time.monotonic() + random.uniform(0, BUSY_SECONDS)
            return None
        except (DatabaseError, InterfaceError) as error:
            self._miss(error)
            return None
        except Exception as error:
            if not is_of_redis(error):
                raise
            self._miss(error)
            return None
        self._own, self._is_away = None, False
        return lease

    def _miss(self, error: Exception) -> None:
        self._ask_at = time.monotonic() + AWAY_SECONDS
        if not self._is_away:
            logger.warning("The shared pace cannot be asked for (%s). Its last value holds.", type(error).__name__)
        self._is_away = True

    def _alone(self, report: Report) -> Lease:
        """A lease by the same rule, with a state of this process's own, from the last rate and its processes."""
        last = self._lease
        if self._own is None:
            rate = last.rate / last.holders if last.rate is not None else None
            self._own = PaceState(rate=rate, ceiling=rate, generation=last.generation)
        most = self._most / last.holders if self._most is not None else None
        self._own, lease = exchange(self._own, report, time.time(), most)
        return lease
