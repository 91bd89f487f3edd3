"""The refused requests by minute: kept where something was refused, each process by itself, and never worth a run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from bytemark_sync.bytemark.stats import ApiSample
from bytemark_sync.models import RefusedMinute
from bytemark_sync.runs.refusals import RefusalLog
from tests.support.scenario import MakeScenario, simple_world

MINUTE = datetime(2026, 11, 24, 11, 50, tzinfo=UTC)


class Clock:
    def __init__(self) -> None:
        self.at = MINUTE

    def __call__(self) -> datetime:
        return self.at


def sample(good: int, refused: int = 0) -> ApiSample:
    return ApiSample(good + refused, 0, {"ok": good, "rate_limited": refused} if refused else {"ok": good})


def kept() -> list[tuple[datetime, int, int]]:
    return list(RefusedMinute.objects.order_by("pk").values_list("minute", "requests", "refused"))


@pytest.mark.django_db
def test_while_nobody_is_refused_nothing_is_asked_of_the_database() -> None:
    clock = Clock()
    log = RefusalLog(1, clock)
    with CaptureQueriesContext(connection) as queries:
        for _ in range(200):
            log.add(sample(64))
            clock.at += timedelta(seconds=2)
        log.write()
    assert len(queries) == 0


@pytest.mark.django_db
def test_a_minute_is_one_row_and_is_written_seldom() -> None:
    clock = Clock()
    log = RefusalLog(1, clock)
    with CaptureQueriesContext(connection) as queries:
        for _ in range(60):
            log.add(sample(9, 1))
            clock.at += timedelta(seconds=0.5)
    assert len(queries) == 2  # the first refusal; all else is within the next ten seconds
    assert kept() == [(MINUTE, 10, 1)]
    clock.at = MINUTE + timedelta(minutes=1)
    log.add(sample(5))
    assert kept() == [(MINUTE, 600, 60)]
    log.write()  # nothing was refused in the second minute
    clock.at = MINUTE + timedelta(minutes=2, seconds=7)
    log.add(sample(0, 3))
    log.write()
    log.write()
    assert kept() == [(MINUTE, 600, 60), (MINUTE + timedelta(minutes=2), 3, 3)]


@pytest.mark.django_db
def test_processes_keep_the_same_minute_apart() -> None:
    clock = Clock()
    for refused in (1, 2):
        log = RefusalLog(refused, clock)
        log.add(sample(1, refused))
        log.write()
    assert sorted(RefusedMinute.objects.values_list("run_id", "refused")) == [(1, 1), (2, 2)]


@pytest.mark.django_db(transaction=True)
def test_a_table_that_cannot_be_written_costs_the_figures_alone() -> None:
    log = RefusalLog(1, Clock())
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TRIGGER refuses BEFORE INSERT ON bytemark_sync_refused_minute BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    log.add(sample(1, 1))
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER refuses")
    assert kept() == []
    log.write()
    assert kept() == [(MINUTE, 2, 1)]


def test_a_run_that_was_refused_keeps_every_refusal_and_one_that_was_not_keeps_nothing(
    sqlite_scenario: MakeScenario,
) -> None:
    at = sqlite_scenario(simple_world(users=60, orders=1))
    assert at.sync("--limit", 5).status == 0
    assert at.portal.value("SELECT COUNT(*) FROM bytemark_sync_refused_minute") == 0
    at.sandbox.set_limit("rate=30,burst=5")
    done = at.sync("--json")
    assert (done.status, done.json["users_failed"], done.json["orders_synced"]) == (0, 0, 55)
    rows = at.portal.rows("SELECT * FROM bytemark_sync_refused_minute")
    assert 0 < sum(row["refused"] for row in rows) == done.json["rate_limited"]
    assert sum(row["requests"] for row in rows) <= done.json["api_requests"]
    assert {row["run_id"] for row in rows} == {done.json["run_id"]}
    at.settle()
