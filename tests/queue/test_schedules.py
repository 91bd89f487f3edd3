"""The schedules that `migrate` creates, and what django-q2's own scheduler does with them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import connection, connections
from django.utils import timezone
from django_q.models import OrmQ, Schedule
from django_q.scheduler import scheduler

from bytemark_sync import tasks
from bytemark_sync.models import NamedLock, RunStatus, SyncRun, Trigger
from bytemark_sync.queue import schedules
from bytemark_sync.queue.requests import request_run
from project.env import cron, redis_url
from tests.support.harness import Portal, manage, sqlite_url

pytestmark = pytest.mark.django_db(transaction=True)


def sync_schedule() -> Schedule:
    return Schedule.objects.get(func=schedules.SYNC)


def queued(func: str) -> list[OrmQ]:
    return [row for row in OrmQ.objects.all() if row.func() == func]


def test_migrate_creates_each_schedule_once() -> None:
    call_command("migrate", verbosity=0)
    call_command("migrate", verbosity=0)
    assert sorted(Schedule.objects.values_list("func", flat=True)) == sorted(
        [schedules.SYNC, schedules.SILENCE, schedules.PRUNE]
    )
    assert sync_schedule().cron == "0 3 * * *"
    assert sync_schedule().next_run > timezone.now()


@pytest.mark.parametrize(
    "edit",
    [
        lambda rows: rows.update(cron="15 5 * * *", name="renamed", repeats=0),
        lambda rows: rows.update(func="bytemark_sync.tasks.prune"),
        lambda rows: rows.delete(),
    ],
    ids=["edited", "changed", "deleted"],
)
def test_what_an_admin_did_to_a_schedule_stays(edit: Callable[[object], object]) -> None:
    edit(Schedule.objects.filter(func=schedules.SYNC))
    before = list(Schedule.objects.order_by("pk").values())
    call_command("migrate", verbosity=0)
    assert list(Schedule.objects.order_by("pk").values()) == before


def test_two_machines_that_migrate_at_once_create_one() -> None:
    Schedule.objects.all().delete()
    NamedLock.objects.all().delete()
    barrier = threading.Barrier(4)
    errors: list[BaseException] = []

    def migrate() -> None:
        try:
            barrier.wait()
            schedules.create_schedules()
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    machines = [threading.Thread(target=migrate) for _ in range(4)]
    for machine in machines:
        machine.start()
    for machine in machines:
        machine.join()
    assert errors == []
    assert Schedule.objects.count() == 3


def test_nothing_happens_before_the_tables_are_there() -> None:
    with connection.schema_editor() as editor:
        editor.alter_db_table(NamedLock, "bytemark_sync_latch", "elsewhere")
    try:
        schedules.create_schedules()
    finally:
        with connection.schema_editor() as editor:
            editor.alter_db_table(NamedLock, "elsewhere", "bytemark_sync_latch")


def test_a_week_off_gives_one_run_and_the_next_is_due_in_the_future() -> None:
    sync_schedule_id = sync_schedule().pk
    Schedule.objects.filter(pk=sync_schedule_id).update(next_run=timezone.now() - timedelta(days=7))
    scheduler()
    scheduler()
    (task,) = queued(schedules.SYNC)
    assert set(task.kwargs()) == {"due"}
    assert timezone.now() < sync_schedule().next_run <= timezone.now() + timedelta(days=1)


@pytest.mark.slow
@pytest.mark.parametrize(("zone", "hour"), [("Asia/Tokyo", 18), ("UTC", 3)])
def test_the_cron_expression_is_in_the_time_zone_of_the_settings(tmp_path: Path, zone: str, hour: int) -> None:
    url = sqlite_url(tmp_path / "x.sqlite3")
    done = manage("migrate", "-v0", database_url=url, env={"TIME_ZONE": zone, "SYNC_CRON": "7 3 * * *"})
    assert done.status == 0, done.stderr
    (due,) = Portal(url).all("SELECT next_run FROM django_q_schedule WHERE func = %s", schedules.SYNC)
    assert str(due[0])[11:16] == f"{hour:02}:07"  # the database holds UTC


def test_a_malformed_cron_setting_ends_every_command_with_status_2() -> None:
    done = manage("migrate", database_url="sqlite:///:memory:", env={"SYNC_CRON": "every day"})
    assert (done.status, done.stdout) == (2, "")
    assert "SYNC_CRON" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_due_run_is_skipped_while_the_last_scheduled_one_lives_and_says_so() -> None:
    tasks.scheduled_run("2026-11-20T03:00:00+00:00")
    first = SyncRun.objects.get()
    said = tasks.scheduled_run("2026-11-21T03:00:00+00:00")
    skipped = SyncRun.objects.exclude(pk=first.pk).get()
    assert (skipped.status, skipped.trigger) == (RunStatus.SKIPPED, Trigger.SCHEDULE)
    assert skipped.error == f"Run {first.pk} was still alive."
    assert skipped.finished_at is not None
    assert "skipped" in said
    assert len(queued("bytemark_sync.tasks.plan_run")) == 1


def test_a_command_or_an_admin_run_does_not_hold_the_schedule_up() -> None:
    request_run(trigger=Trigger.ADMIN, users=[1])
    tasks.scheduled_run("2026-11-21T03:00:00+00:00")
    assert SyncRun.objects.filter(trigger=Trigger.SCHEDULE, status=RunStatus.QUEUED).count() == 1


def test_a_task_that_is_delivered_twice_starts_one_run() -> None:
    tasks.scheduled_run("2026-11-20T03:00:00+00:00")
    SyncRun.objects.update(status=RunStatus.SUCCEEDED)
    assert tasks.scheduled_run("2026-11-20T03:00:00+00:00") == "started before"
    assert SyncRun.objects.count() == 1


@pytest.mark.parametrize(
    "expression", ["x", "* * * *", "60 3 * * *", "0 3 * * * *", "0 3 31 2 *", "@never", "0 3 * * 1#9", "a b c d e"]
)
def test_a_malformed_cron_expression_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, expression: str) -> None:
    monkeypatch.setenv("SYNC_CRON", expression)
    with pytest.raises(ImproperlyConfigured, match="SYNC_CRON"):
        cron("SYNC_CRON", "0 3 * * *")


def test_blanks_in_a_cron_expression_are_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNC_CRON", "  */5   * * * MON-FRI ")
    assert cron("SYNC_CRON", "0 3 * * *") == "*/5 * * * MON-FRI"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", ""),
        ("redis://h/1", "redis://h/1?socket_connect_timeout=5&socket_timeout=15&health_check_interval=30"),
        (
            "rediss://:p@h?socket_timeout=9",
            "rediss://:p@h?socket_timeout=9&socket_connect_timeout=5&health_check_interval=30",
        ),
    ],
)
def test_a_redis_address_gets_limits_on_waiting(monkeypatch: pytest.MonkeyPatch, given: str, read: str) -> None:
    monkeypatch.setenv("REDIS_URL", given)
    assert redis_url("REDIS_URL") == read


def test_an_address_that_is_not_redis_is_refused_without_repeating_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", "http://:secret@host")
    with pytest.raises(ImproperlyConfigured, match="REDIS_URL") as caught:
        redis_url("REDIS_URL")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("expression", "hours"), [("0 3 * * *", 36), ("*/5 * * * *", 36), ("0 3 * * MON", 252), ("0 3 * * MON-FRI", 108)]
)
def test_a_rare_schedule_is_given_more_time_before_it_counts_as_silent(expression: str, hours: int) -> None:
    assert schedules.longest_silence([Schedule(schedule_type=Schedule.CRON, cron=expression)]) == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("kind", "days"),
    [("H", 1.5), ("D", 1.5), ("W", 10.5), ("BW", 21), ("M", 46.5), ("BM", 93), ("Q", 138), ("Y", 549), ("O", 1.5)],
)
def test_a_schedule_without_cron_is_given_time_by_its_type(kind: str, days: float) -> None:
    schedule = Schedule(schedule_type=kind, next_run=datetime(2026, 1, 1, 3, tzinfo=UTC))
    assert schedules.longest_silence([schedule]) == timedelta(days=days)


def test_of_several_schedules_the_one_that_comes_most_often_counts() -> None:
    weekly = Schedule(schedule_type=Schedule.WEEKLY, next_run=timezone.now())
    daily = Schedule(schedule_type=Schedule.CRON, cron="0 3 * * *")
    once = Schedule(schedule_type=Schedule.ONCE, next_run=timezone.now())
    assert schedules.longest_silence([weekly, daily]) == timedelta(hours=36)
    assert schedules.longest_silence([once, weekly]) == timedelta(days=10.5)
    assert schedules.longest_silence([]) == timedelta(hours=36)


def test_the_installation_is_remembered() -> None:
    installed = schedules.installed_at()
    assert installed is not None
    assert datetime(2026, 1, 1, tzinfo=UTC) < installed <= timezone.now()
