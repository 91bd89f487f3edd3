"""Locks that all machines share, each a row in the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from bytemark_sync.models import NamedLock

CLOCK_SKEW = timedelta(minutes=5)
"""How far the clocks of two machines may differ. A time further in the future was written by a wrong clock."""


def take_turn(name: str, every: float) -> bool:
    """Return True to one caller only, and only if nobody has had a turn in the last `every` seconds.

    A last turn with a time in the future (beyond `CLOCK_SKEW`) is ignored: it would block everybody until then.
    """
    now = timezone.now()
    may_act = Q(at__lte=now - timedelta(seconds=every)) | Q(at__gt=now + CLOCK_SKEW)
    if NamedLock.objects.filter(may_act, name=name).update(at=now):
        return True
    return not NamedLock.objects.filter(name=name).exists() and NamedLock.objects.get_or_create(name=name)[1]


@contextmanager
def held(name: str) -> Iterator[None]:
    """Let one process at a time run the block, inside a transaction."""
    if not NamedLock.objects.filter(name=name).exists():
        NamedLock.objects.bulk_create([NamedLock(name=name)], ignore_conflicts=True)
    with transaction.atomic():
        NamedLock.objects.select_for_update().get(name=name)
        yield
