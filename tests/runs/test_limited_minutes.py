"""Requests by minute: kept while a limit is known, by each process for itself, and never worth a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bytemark_sync.bytemark.stats import ApiSample
from bytemark_sync.models import LimitedMinute
from bytemark_sync.runs import limited_minutes
from bytemark_sync.runs.limited_minutes import MinuteLog

MINUTE = datetime(2026, 11, 24, 11, 50, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.at = MINUTE

    def __call__(self) -> datetime:
        return self.at


def sample(good: int, refused: int = 0, *, is_limited: bool = True) -> ApiSample:
    answers = {"ok": good, "rate_limited": refused} if refused else {"ok": good}
    return ApiSample(good + refused, 0, answers, is_limited=is_limited)


def kept() -> list[tuple[datetime, int, int]]:
    return list(LimitedMinute.objects.order_by("pk").values_list("minute", "requests", "refused"))


@pytest.mark.django_db
def test_while_no_limit_is_known_nothing_is_asked_of_the_database() -> None:
    clock = Clock()
    log = MinuteLog(1, clock)
    with CaptureQueriesContext(connection) as queries:
        for _ in range(200):
            log.add(sample(64, is_limited=False))
            clock.at += timedelta(seconds=2)
        log.write()
    assert len(queries) == 0


@pytest.mark.django_db
def test_a_minute_is_one_row_and_is_written_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    log = MinuteLog(1, clock)
    log.add(sample(5, is_limited=False))
    with CaptureQueriesContext(connection) as queries:
        log.add(sample(9, 1, is_limited=False))  # the first refusal of all
        for _ in range(59):
            clock.at += timedelta(seconds=0.5)
            log.add(sample(9, 1))
    assert len(queries) == 0  # within the first seconds
    monkeypatch.setattr(limited_minutes, "SECONDS_PER_WRITE", 0.0)
    log.add(sample(10))
    assert kept() == [(MINUTE, 610, 60)]
    log.add(sample(10))
    assert kept() == [(MINUTE, 620, 60)]
    monkeypatch.undo()
    clock.at = MINUTE + timedelta(minutes=1)
    log.add(sample(5))
    clock.at = MINUTE + timedelta(minutes=3, seconds=7)
    log.add(sample(0, 3))
    log.write()
    log.write()
    minutes = [MINUTE, MINUTE + timedelta(minutes=1), MINUTE + timedelta(minutes=3)]
    assert kept() == list(zip(minutes, (620, 5, 3), (60, 0, 3), strict=True))


@pytest.mark.django_db
def test_processes_keep_the_same_minute_apart() -> None:
    clock = Clock()
    for refused in (1, 2):
        log = MinuteLog(refused, clock)
        log.add(sample(1, refused))
        log.write()
    assert sorted(LimitedMinute.objects.values_list("run_id", "refused")) == [(1, 1), (2, 2)]


@pytest.mark.django_db(transaction=True)
def test_a_table_that_cannot_be_written_costs_the_figures_alone() -> None:
    log = MinuteLog(1, Clock())
    log.add(sample(1, 1))
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER refuses BEFORE INSERT ON bytemark_sync_limited_minute BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    log.write()
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER refuses")
    assert kept() == []
    log.write()
    assert kept() == [(MINUTE, 2, 1)]
