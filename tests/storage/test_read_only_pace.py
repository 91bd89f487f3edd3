"""The pace for a process that writes nothing: it keeps to the pace all the same."""

from __future__ import annotations

import time

import pytest

from bytemark_sync.bytemark.pace_state import Report
from bytemark_sync.models import SharedPace
from bytemark_sync.storage.pace_store import DatabasePace
from bytemark_sync.storage.read_only_pace import ReadOnlyPace

pytestmark = pytest.mark.django_db

RATE = 200.0


def lease_often(pace: ReadOnlyPace, most: float | None) -> tuple[int, float]:
    """Permits of 30 exchanges, and the seconds that these took."""
    began, generation, permits = time.time(), 0, 0
    for _ in range(30):
        lease = pace.exchange(Report("reader", generation=generation, wanted=400), most)
        generation = lease.generation
        permits += lease.permits
    return permits, time.time() - began


def test_a_fixed_limit_is_kept_though_nothing_is_written() -> None:
    permits, seconds = lease_often(ReadOnlyPace(DatabasePace()), RATE)
    assert 0 < permits <= RATE * (seconds + 1.0)
    assert not SharedPace.objects.exists()


def test_a_pace_that_others_have_learnt_is_kept_and_left_as_it_is() -> None:
    DatabasePace().exchange(Report("sync", refused=1, counted=20, counted_seconds=1.0, had=20.0), None)
    before = SharedPace.objects.values().get()
    permits, seconds = lease_often(ReadOnlyPace(DatabasePace()), None)
    assert 0 < permits <= 20 * (seconds + 1.0)
    assert SharedPace.objects.values().get() == before


def test_what_others_learn_meanwhile_is_taken_over() -> None:
    reader = ReadOnlyPace(DatabasePace())
    assert reader.exchange(Report("reader"), None).rate is None
    DatabasePace().exchange(Report("sync", refused=1, counted=20, counted_seconds=1.0, had=20.0), None)
    assert reader.exchange(Report("reader"), None).rate == 20.0


def test_a_refusal_of_its_own_lowers_its_own_pace() -> None:
    reader = ReadOnlyPace(DatabasePace())
    learnt = reader.exchange(Report("reader", refused=1, counted=20, counted_seconds=1.0, had=20.0), None)
    assert (learnt.rate, learnt.generation) == (20.0, 1)
    assert reader.exchange(Report("reader", generation=1), None).rate == 20.0
    assert not SharedPace.objects.exists()
