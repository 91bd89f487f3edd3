"""The shared pace for processes that must write nothing: dry runs and the probe."""

from __future__ import annotations

from bytemark_sync.bytemark.pace import exchange
from bytemark_sync.bytemark.pace_state import Lease, PaceState, Report
from bytemark_sync.storage.pace_store import PaceStore


class ReadOnlyPace:
    """Leases by the same rule from what `store` holds. What this process leases and learns is kept here alone.

    Whenever the others have changed the store's state, that state is taken over.
    """

    def __init__(self, store: PaceStore) -> None:
        self._store = store
        self._read: PaceState | None = None
        self._own = PaceState()

    def exchange(self, report: Report, most: float | None) -> Lease:
        """As `PaceStore.exchange`. Raises what the store raises."""
        found, now = self._store.state()
        if found != self._read:
            # What this process has leased already is not leased to it again.
            leased_until = max(found.leased_until, self._own.leased_until)
            self._read, self._own = found, PaceState.from_json(found.to_json() | {"leased_until": leased_until})
        self._own, lease = exchange(self._own, report, now, most)
        return lease

    def state(self) -> tuple[PaceState, float]:
        return self._store.state()
