"""How a run ended: one rule for queued runs and those of one process."""

from __future__ import annotations

import pytest

from bytemark_sync.domain.counters import Counts
from bytemark_sync.models import RunStatus
from bytemark_sync.runs.lifecycle import verdict

NOTHING_WORKED = Counts(users=3, users_failed=3, orders=9)
SOME_FAILED = Counts(users=3, users_failed=1, orders=9, orders_synced=5)
ALL_FAILED_BUT_STORED = Counts(users=3, users_failed=3, orders=9, orders_synced=2)
ALL_WORKED = Counts(users=3, orders=9, orders_synced=9)
NONE_LISTED = Counts(users=3, orders=9, orders_not_found=9)
EMPTY = Counts()


@pytest.mark.parametrize(
    ("counts", "ended"),
    [
        (EMPTY, RunStatus.SUCCEEDED),
        (ALL_WORKED, RunStatus.SUCCEEDED),
        (NONE_LISTED, RunStatus.SUCCEEDED),
        (SOME_FAILED, RunStatus.PARTIAL),
        (ALL_FAILED_BUT_STORED, RunStatus.PARTIAL),
        (NOTHING_WORKED, RunStatus.FAILED),
    ],
)
def test_a_run_that_went_to_its_end_is_told_by_its_users(counts: Counts, ended: RunStatus) -> None:
    assert verdict(counts, stopped=False, broke_off=False) == ended


@pytest.mark.parametrize(
    ("counts", "ended"),
    [
        (EMPTY, RunStatus.FAILED),
        (NOTHING_WORKED, RunStatus.FAILED),
        (ALL_FAILED_BUT_STORED, RunStatus.PARTIAL),
        (SOME_FAILED, RunStatus.PARTIAL),
        (ALL_WORKED, RunStatus.PARTIAL),
        (NONE_LISTED, RunStatus.PARTIAL),
    ],
)
def test_a_batch_given_up_lets_no_run_succeed(counts: Counts, ended: RunStatus) -> None:
    assert verdict(counts, stopped=False, broke_off=False, batches_given_up=True) == ended


@pytest.mark.parametrize("given_up", [False, True])
@pytest.mark.parametrize("counts", [EMPTY, ALL_WORKED, SOME_FAILED, NOTHING_WORKED])
def test_a_run_that_could_not_go_on_has_failed_whatever_it_stored(counts: Counts, given_up: bool) -> None:
    assert verdict(counts, stopped=False, broke_off=True, batches_given_up=given_up) == RunStatus.FAILED


@pytest.mark.parametrize("given_up", [False, True])
@pytest.mark.parametrize("broke_off", [False, True])
@pytest.mark.parametrize("counts", [EMPTY, ALL_WORKED, SOME_FAILED, NOTHING_WORKED])
def test_a_stopped_run_is_interrupted_whatever_broke_besides(counts: Counts, broke_off: bool, given_up: bool) -> None:
    assert verdict(counts, stopped=True, broke_off=broke_off, batches_given_up=given_up) == RunStatus.INTERRUPTED
