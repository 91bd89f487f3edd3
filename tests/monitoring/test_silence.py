"""The message about a silence, as the hourly task sends it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from bytemark_sync import tasks
from bytemark_sync.models import NamedLock, RunStatus, SyncRun, Trigger
from tests.support.job_state import installed, run_ended
from tests.support.slack import FakeSlack, reply

pytestmark = pytest.mark.django_db


def test_a_silence_is_told_once_a_day(fake_slack: FakeSlack) -> None:
    run = run_ended(timedelta(hours=40))
    run_ended(timedelta(hours=1), RunStatus.FAILED)
    run_ended(timedelta(hours=1), trigger=Trigger.COMMAND)
    assert tasks.check_silence() == "sent"
    assert tasks.check_silence() == "told before"
    (post,) = fake_slack.posts
    assert "no scheduled run has worked for 40 hours" in post["text"]
    assert f"/syncrun/{run.pk}/change/" in post["text"]
    assert "No cluster is alive" in post["text"]
    NamedLock.objects.filter(name="silence told").update(at=timezone.now() - timedelta(hours=25))
    assert tasks.check_silence() == "sent"


def test_no_silence_within_36_hours_and_a_new_one_is_told_at_once(fake_slack: FakeSlack) -> None:
    run = run_ended(timedelta(hours=40))
    tasks.check_silence()
    SyncRun.objects.filter(pk=run.pk).update(finished_at=timezone.now() - timedelta(hours=35))
    assert tasks.check_silence() == "no silence"
    SyncRun.objects.filter(pk=run.pk).update(finished_at=timezone.now() - timedelta(hours=37))
    assert tasks.check_silence() == "sent"


def test_a_schedule_that_never_worked_is_a_silence_from_the_installation_on(fake_slack: FakeSlack) -> None:
    assert tasks.check_silence() == "no silence"
    installed(timedelta(hours=37))
    assert tasks.check_silence() == "sent"


def test_a_message_that_did_not_go_out_is_tried_again_the_next_hour(fake_slack: FakeSlack) -> None:
    run_ended(timedelta(hours=40))
    fake_slack.script = [reply(body={"ok": False, "error": "channel_not_found"}), reply()]
    assert tasks.check_silence().startswith("failed")
    assert tasks.check_silence() == "sent"
