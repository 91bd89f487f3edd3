"""The store of the pace: what many lease together is never more than the pace allows."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connection

from bytemark_sync.bytemark.pace_state import Report
from bytemark_sync.models import SharedPace
from bytemark_sync.storage.pace_store import ROW, DatabasePace, StoreBusy

pytestmark = pytest.mark.django_db(transaction=True)

RATE = 200.0


def test_without_a_limit_nothing_is_written() -> None:
    assert DatabasePace().exchange(Report("one", good=3, counted=3), None).rate is None
    assert not SharedPace.objects.exists()


def test_a_refusal_is_kept_for_the_next_process() -> None:
    store = DatabasePace()
    store.exchange(Report("one", refused=3, counted=20, counted_seconds=1.0, had=20.0), None)
    assert store.exchange(Report("two"), None).rate == 20.0
    assert SharedPace.objects.get(pk=ROW).version == 2


def test_what_was_learnt_is_forgotten_with_its_row_also_by_processes_under_way() -> None:
    """docs/asking-bytemark.md#forgetting-what-was-learnt"""
    store = DatabasePace()
    store.exchange(Report("one", refused=3, counted=20, counted_seconds=1.0, had=20.0, wanted=9), None)
    SharedPace.objects.all().delete()
    lease = store.exchange(Report("one", generation=1, good=5, counted=5, wanted=9, unused=3), None)
    assert (lease.rate, lease.generation) == (None, 0)
    assert store.exchange(Report("one", good=5, counted=5, wanted=9), None).rate is None
    store.exchange(Report("one", refused=1, counted=40, counted_seconds=1.0, had=40.0), None)
    assert store.exchange(Report("two"), None).rate == 40.0


def test_races_of_leases_never_exceed_the_pace() -> None:
    granted: list[int] = []
    began = time.time()

    def holder(name: str) -> None:
        store, generation = DatabasePace(), 0
        try:
            for _ in range(15):
                try:
                    lease = store.exchange(Report(name, generation=generation, wanted=400), RATE)
                except StoreBusy:
                    continue
                generation = lease.generation
                granted.append(lease.permits)
        finally:
            connection.close()

    threads = [threading.Thread(target=holder, args=(f"holder {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 0 < sum(granted) <= RATE * (time.time() - began + 1.0)
    assert SharedPace.objects.count() == 1
