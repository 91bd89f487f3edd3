"""When the daily run is due: a time, or a cron expression; asked for once, and on record. django-q2's form too."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_q.models import Schedule

from bytemark_sync.models import SyncRun, Trigger
from bytemark_sync.queue.schedules import SYNC

DAILY = "/admin/bytemark_sync/syncrun/daily/"
SCHEDULES = "/admin/django_q/schedule/"
NEVER_COME = ("0 0 30 2 *", "0 3 31 4,6,9,11 *", "59 23 31 2 *")
NOT_CRON = ("x", "0 3 * *", "99 3 * * *", "0 3 * * * *", "@daily", "0 3 * * 1#9", "* * * * " + "1," * 60 + "1")


def words(html: str) -> str:
    return unescape(" ".join(re.sub(r"<[^>]+>", " ", html).split()))


def sync() -> Schedule:
    return Schedule.objects.get(func=SYNC)


def post(client: Client, **data: str) -> str:
    response = client.post(DAILY, data, follow=True)
    assert response.status_code == 200
    return words(response.content.decode())


def hours_ahead(hours: float) -> datetime:
    return timezone.localtime() + timedelta(hours=hours)


class TestDailyRun:
    def test_a_time_is_asked_for_once_then_set_and_who_did_it_is_on_record(
        self, logged_in: Callable[[str], Client]
    ) -> None:
        client = logged_in("manager")
        html = client.get(DAILY).content.decode()
        assert 'type="time"' in html
        assert 'value="03:00"' in html
        assert "<details" in html
        assert "<details open" not in html.replace('class="mb-6" ', "")
        assert "every day at 03:00 (UTC)" in words(html)

        at = hours_ahead(5)
        asked = post(client, time=f"{at:%H:%M}")
        assert "Change the daily run?" in asked
        assert "Now: every day at 03:00" in asked
        assert f"New: every day at {at:%H:%M} (UTC)" in asked
        assert f"{at:%H:%M} UTC, in 4 hours" in asked or f"{at:%H:%M} UTC, in 5 hours" in asked
        assert "hours from now" not in asked
        assert sync().cron == "0 3 * * *"

        done = post(client, time=f"{at:%H:%M}", confirmed="1")
        assert "The daily run is due next on" in done
        schedule = sync()
        assert schedule.cron == f"{at.minute} {at.hour} * * *"
        assert schedule.next_run == at.astimezone(UTC).replace(second=0, microsecond=0)
        assert f"some-manager From every day at 03:00 to every day at {at:%H:%M}." in done

    def test_a_cron_expression_is_for_anything_else(self, logged_in: Callable[[str], Client]) -> None:
        client = logged_in("manager")
        post(client, cron="  30  4 * * 1-5 ", confirmed="1")
        assert sync().cron == "30 4 * * 1-5"
        html = client.get(DAILY).content.decode()
        assert 'value="30 4 * * 1-5"' in html
        assert re.search(r"<details[^>]* open", html)
        assert "due: cron 30 4 * * 1-5 (UTC)" in words(html)
        assert "Nothing was changed" in post(client, cron="30 4 * * 1-5")

    @pytest.mark.parametrize("cron", NEVER_COME)
    def test_a_date_that_never_comes_is_an_error_in_the_form(
        self, logged_in: Callable[[str], Client], cron: str
    ) -> None:
        for confirmed in ({}, {"confirmed": "1"}):
            assert "This date never comes" in post(logged_in("manager"), cron=cron, **confirmed)
        assert sync().cron == "0 3 * * *"

    @pytest.mark.parametrize("data", [{"cron": cron} for cron in NOT_CRON] + [{}, {"time": "25:00"}, {"time": "x"}])
    def test_what_cannot_be_is_an_error_in_the_form(
        self, logged_in: Callable[[str], Client], data: dict[str, str]
    ) -> None:
        text = post(logged_in("manager"), **data, confirmed="1")
        assert "Change the daily run?" not in text
        said = (
            "Five fields are needed",
            "Not a valid cron",
            "Enter a valid time",
            "Enter a time of day",
            "at most 100",
        )
        assert any(each in text for each in said), text
        assert sync().cron == "0 3 * * *"

    def test_a_time_and_another_expression_contradict_each_other(self, logged_in: Callable[[str], Client]) -> None:
        assert "not both" in post(logged_in("manager"), time="04:00", cron="0 5 * * *", confirmed="1")
        assert sync().cron == "0 3 * * *"

    def test_a_next_run_far_away_or_very_soon_is_pointed_out(self, logged_in: Callable[[str], Client]) -> None:
        client = logged_in("manager")
        soon, far = hours_ahead(0.5), hours_ahead(72)
        assert "less than an hour from now" in post(client, time=f"{soon:%H:%M}")
        assert "more than 36 hours from now" in post(client, cron=f"0 {far.hour} {far.day} * *")
        assert sync().cron == "0 3 * * *"

    def test_a_run_that_is_overdue_is_still_owed_whatever_its_schedule_becomes(
        self, logged_in: Callable[[str], Client], django_capture_on_commit_callbacks: Any
    ) -> None:
        overdue = timezone.now() - timedelta(hours=7)
        Schedule.objects.filter(func=SYNC).update(next_run=overdue, cron=f"{overdue.minute} {overdue.hour} * * *")
        at = hours_ahead(5)
        with django_capture_on_commit_callbacks(execute=True):
            said = post(logged_in("manager"), time=f"{at:%H:%M}", confirmed="1")
        run = SyncRun.objects.get()
        assert f"A run was overdue before this change: run {run.pk} is queued." in said
        assert "The daily run is due next on" in said
        assert run.due_at is not None
        assert (run.due_at.hour, run.due_at.minute) == (overdue.hour, overdue.minute)
        assert (run.trigger, sync().cron) == (Trigger.SCHEDULE, f"{at.minute} {at.hour} * * *")
        later = hours_ahead(6)
        assert "overdue" not in post(logged_in("manager"), time=f"{later:%H:%M}", confirmed="1")
        assert SyncRun.objects.count() == 1

    def test_a_schedule_that_was_deleted_or_paused_is_said(self, logged_in: Callable[[str], Client]) -> None:
        client = logged_in("manager")
        Schedule.objects.update(repeats=0)
        assert "No daily run is due." in words(client.get(DAILY).content.decode())
        post(client, time="04:00", confirmed="1")
        assert sync().repeats == -1
        Schedule.objects.all().delete()
        assert "The schedule of the daily run was deleted." in words(client.get(DAILY).content.decode())
        assert "The schedule was deleted." in post(client, time="04:00", confirmed="1")


class TestSchedules:
    def _fields(self, **changed: str) -> dict[str, Any]:
        schedule = sync()
        at = timezone.localtime(schedule.next_run)
        return {
            "name": schedule.name,
            "func": SYNC,
            "schedule_type": "C",
            "repeats": "-1",
            "next_run_0": f"{at:%Y-%m-%d}",
            "next_run_1": f"{at:%H:%M:%S}",
            "cron": schedule.cron,
            "intended_date_kwarg": "due",
        } | changed

    def _save(self, client: Client, **changed: str) -> Any:
        return client.post(f"{SCHEDULES}{sync().pk}/change/", self._fields(**changed))

    @pytest.mark.slow
    @pytest.mark.parametrize("cron", [*NEVER_COME, *NOT_CRON, ""])
    def test_an_expression_without_a_next_time_is_an_error_in_the_form(
        self, logged_in: Callable[[str], Client], cron: str
    ) -> None:
        client = logged_in("superuser")
        assert self._save(client, cron=cron, confirmed="on").status_code == 200
        assert sync().cron == "0 3 * * *"
        new = self._fields(cron=cron, confirmed="on", name="another")
        assert client.post(f"{SCHEDULES}add/", new).status_code == 200
        assert not Schedule.objects.filter(name="another").exists()

    def test_a_changed_expression_decides_about_the_next_run_too(self, logged_in: Callable[[str], Client]) -> None:
        at = hours_ahead(5)
        response = self._save(logged_in("superuser"), cron=f"{at.minute}  {at.hour} * * *")
        assert response.status_code == 302
        assert sync().cron == f"{at.minute} {at.hour} * * *"
        assert sync().next_run == at.astimezone(UTC).replace(second=0, microsecond=0)

    @pytest.mark.parametrize(("hours", "said"), [(72, "more than 36 hours"), (0.5, "less than an hour"), (-5, "ago")])
    def test_an_unusual_next_run_is_asked_for(
        self, logged_in: Callable[[str], Client], hours: float, said: str
    ) -> None:
        client, at = logged_in("superuser"), hours_ahead(hours)
        changed = {"next_run_0": f"{at:%Y-%m-%d}", "next_run_1": f"{at:%H:%M:%S}"}
        before = sync().next_run
        asked = self._save(client, **changed)
        html = asked.content.decode()
        assert (asked.status_code, sync().next_run) == (200, before)
        assert said in words(html)
        assert "Tick this box and save again" in words(html)
        assert re.search(r'<input type="checkbox" name="confirmed"', html)
        assert self._save(client, **changed, confirmed="on").status_code == 302
        assert sync().next_run == at.astimezone(UTC).replace(microsecond=0)

    @pytest.mark.parametrize("off", [{"repeats": "0"}, {"func": "bytemark_sync.tasks.prune"}])
    def test_switching_the_daily_run_off_is_asked_for(
        self, logged_in: Callable[[str], Client], off: dict[str, str]
    ) -> None:
        client, pk = logged_in("superuser"), sync().pk
        asked = self._save(client, **off)
        assert asked.status_code == 200
        assert "no daily run any more" in words(asked.content.decode())
        assert (sync().pk, sync().repeats) == (pk, -1)
        assert self._save(client, **off, confirmed="on").status_code == 302
        saved = Schedule.objects.get(pk=pk)
        assert (saved.repeats, saved.func) == (int(off.get("repeats", -1)), off.get("func", SYNC))

    def test_a_paused_daily_run_goes_on_with_its_next_time_not_at_once(
        self, logged_in: Callable[[str], Client]
    ) -> None:
        client, at = logged_in("superuser"), hours_ahead(5)
        cron = f"{at.minute} {at.hour} * * *"
        Schedule.objects.filter(func=SYNC).update(repeats=0, cron=cron, next_run=hours_ahead(-50))
        assert self._save(client, repeats="-1").status_code == 302
        assert sync().next_run == at.astimezone(UTC).replace(second=0, microsecond=0)
        Schedule.objects.filter(func=SYNC).update(repeats=0, schedule_type="D", next_run=hours_ahead(-50))
        assert self._save(client, repeats="-1", schedule_type="D").status_code == 200
        assert sync().repeats == 0
        text = words(logged_in("manager").get(DAILY).content.decode())
        assert re.search("some-superuser Changed .*Repeats", text)

    @pytest.mark.parametrize("change", [{"name": "renamed"}, {"repeats": "0", "confirmed": "on"}])
    def test_a_run_that_is_overdue_is_queued_first_and_said(
        self, logged_in: Callable[[str], Client], change: dict[str, str]
    ) -> None:
        """Whatever is changed: it was due before, and the watchdog of any cluster would have made it."""
        Schedule.objects.filter(func=SYNC).update(next_run=timezone.now() - timedelta(hours=30))
        client = logged_in("superuser")
        assert self._save(client, **change).status_code == 302
        run = SyncRun.objects.get()
        assert run.trigger == Trigger.SCHEDULE
        said = words(client.get(SCHEDULES).content.decode())
        assert f"A run was overdue before this change: run {run.pk} is queued." in said

    def test_what_does_not_change_the_next_run_is_not_asked_for(self, logged_in: Callable[[str], Client]) -> None:
        Schedule.objects.filter(func=SYNC).update(next_run=timezone.now() + timedelta(days=9))
        client = logged_in("superuser")
        html = client.get(f"{SCHEDULES}{sync().pk}/change/").content.decode()
        assert '<input type="checkbox" name="confirmed"' not in html
        assert self._save(client, name="renamed").status_code == 302
        assert sync().name == "renamed"

    def test_who_changed_it_there_is_said_on_the_page_of_the_daily_run(
        self, logged_in: Callable[[str], Client]
    ) -> None:
        at = hours_ahead(5)
        self._save(logged_in("superuser"), cron=f"{at.minute} {at.hour} * * *")
        text = words(logged_in("manager").get(DAILY).content.decode())
        assert re.search("some-superuser Changed .*Cron", text)
