"""How long a hopeless try is put off: 1, 2, 4, ... days (docs/contract.md#deferral)."""

from __future__ import annotations

from datetime import datetime, timedelta

MAX_DEFERRAL_DAYS = 30
"""The measurement: docs/decisions/0007-deferral.md."""
DEFERRAL_MARGIN = timedelta(hours=1)
"""Taken off each deferral, so that it is over by the next daily run even if the order was tried late in this one."""


def next_wait(days: int, *, early: bool) -> int:
    """Days to wait after a wait of `days` (0: none). A try before its end does not lengthen it."""
    if not days:
        return 1
    return days if early else min(MAX_DEFERRAL_DAYS, days * 2)


def end_of_wait(reference: datetime, days: int) -> datetime:
    """`reference` is the run's time, so that all waits of a run end together."""
    return reference + timedelta(days=days) - DEFERRAL_MARGIN
