"""Slack, spoken to over real HTTP: a local server stands in for it."""

from __future__ import annotations

import logging
import socket
from datetime import timedelta
from functools import partial
from types import SimpleNamespace

import pytest
from django.utils import timezone

from bytemark_sync.models import RunStatus, SyncRun
from bytemark_sync.slack import reporter
from tests.support.job_state import run_ended
from tests.support.misbehaving_server import Handler, dripping, hang, reset
from tests.support.slack import TOKEN, FakeSlack, reply

DRIP = dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n", b" ")


ended = partial(run_ended, timedelta(0))


# --- Who is told, and when --------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("status", [RunStatus.SUCCEEDED, RunStatus.INTERRUPTED, RunStatus.SKIPPED])
def test_nothing_is_told_of_other_runs(fake_slack: FakeSlack, status: RunStatus) -> None:
    run = ended(status)
    reporter.report_run(run)
    run.refresh_from_db()
    assert (fake_slack.posts, run.slack) == ([], "not needed")


@pytest.mark.django_db
def test_the_end_of_a_failing_series_is_told_once(fake_slack: FakeSlack) -> None:
    ended(RunStatus.SUCCEEDED)
    ended(RunStatus.FAILED)
    ended(RunStatus.SKIPPED)
    ended(RunStatus.PARTIAL)
    reporter.report_run(ended(RunStatus.SUCCEEDED))
    reporter.report_run(ended(RunStatus.SUCCEEDED))
    (post,) = fake_slack.posts
    assert "succeeded again after 2 bad runs" in post["text"]


@pytest.mark.django_db
def test_a_good_run_of_one_user_does_not_end_the_series_of_the_whole_job(fake_slack: FakeSlack) -> None:
    ended(RunStatus.FAILED)
    reporter.report_run(ended(RunStatus.SUCCEEDED, scope={"users": [5]}))
    assert fake_slack.posts == []
    reporter.report_run(ended(RunStatus.SUCCEEDED))
    assert "succeeded again after 1 bad run." in fake_slack.posts[0]["text"]


@pytest.mark.django_db
def test_a_run_is_told_once_whoever_asks(fake_slack: FakeSlack) -> None:
    run = ended(RunStatus.FAILED)
    reporter.report_run(run)
    reporter.report_run(SyncRun.objects.get(pk=run.pk))
    assert reporter.report_forgotten() == 0
    assert len(fake_slack.posts) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("left", ["", reporter.SENDING])
def test_a_run_whose_process_died_before_telling_is_told_later(fake_slack: FakeSlack, left: str) -> None:
    run = ended(RunStatus.FAILED, slack=left)
    assert reporter.report_forgotten() == 0  # its own process may be at it
    SyncRun.objects.update(finished_at=timezone.now() - timedelta(minutes=4))
    assert reporter.report_forgotten() == 1
    run.refresh_from_db()
    assert (len(fake_slack.posts), run.slack) == (1, "sent")


@pytest.mark.django_db
@pytest.mark.parametrize("left", ["", reporter.SENDING])
def test_a_run_that_ended_days_ago_untold_is_told_with_its_date(fake_slack: FakeSlack, left: str) -> None:
    """Nobody was there to tell it: the only cluster was off over the weekend."""
    run = ended(RunStatus.FAILED, slack=left, error="The disk was full.")
    SyncRun.objects.update(finished_at=timezone.now() - timedelta(days=3))
    run.refresh_from_db()
    assert (reporter.report_forgotten(), reporter.report_forgotten()) == (1, 0)
    (post,) = fake_slack.posts
    assert "The disk was full." in post["text"]
    assert f"{run.finished_at:%Y-%m-%d %H:%M} UTC" in post["text"]


@pytest.mark.django_db
def test_without_a_token_nothing_is_sent_and_it_is_said_once(
    fake_slack: FakeSlack, settings: object, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SLACK_BOT_TOKEN = ""  # type: ignore[attr-defined]
    reporter._said_not_set.clear()
    with caplog.at_level(logging.INFO):
        first, second = ended(RunStatus.FAILED), ended(RunStatus.FAILED)
        reporter.report_run(first)
        reporter.report_run(second)
    assert caplog.text.count("SLACK_BOT_TOKEN") == 1
    first.refresh_from_db()
    assert (first.slack, fake_slack.posts) == ("no token or channel set", [])


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds of each pause of Slack's client, which takes none here."""
    taken: list[float] = []
    for module in ("handler", "builtin_handlers"):
        monkeypatch.setattr(f"slack_sdk.http_retry.{module}.time", SimpleNamespace(sleep=taken.append))
    return taken


# --- A Slack in trouble ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "result", "posts", "at_least"),
    [
        ([reply(429, {"ok": False, "error": "ratelimited"}, Retry_After="1"), reply()], "sent", 2, 1.0),
        ([reply(429, {"ok": False}, Retry_After="3600")], "failed: Slack answered HTTP 429", 1, 0),
        ([reply(429, {"ok": False}, Retry_After="soon")], "failed: Slack answered HTTP 429", 1, 0),
        ([reply(500, {"ok": False}), reply()], "sent", 2, 0),
        ([reply(500, {"ok": False})], "failed: Slack answered HTTP 500", 3, 0),
        ([reply(body={"ok": False, "error": "channel_not_found"})], "failed: Slack answered channel_not_found", 1, 0),
        ([lambda _request, sock: reset(sock), reply()], "sent", 2, 0),
        ([reply(body=["no object"])], "failed: ", 1, 0),
    ],
    ids=["rate limit", "endless rate limit", "odd rate limit", "500 once", "500", "not ok", "cut off once", "odd body"],
)
def test_trouble_is_repeated_or_told(
    fake_slack: FakeSlack, naps: list[float], script: list[Handler], result: str, posts: int, at_least: float
) -> None:
    fake_slack.script = script
    assert reporter.send("hello").startswith(result)
    assert sum(naps) >= at_least
    assert len(naps) == posts - 1
    assert len(fake_slack.posts) == posts


def test_a_refused_connection_is_tried_again_and_told(
    fake_slack: FakeSlack, settings: object, naps: list[float]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings.SLACK_API_URL = f"http://127.0.0.1:{port}/api/"  # type: ignore[attr-defined]
    assert "refused" in reporter.send("hello")
    assert sum(naps) > 0.2
    assert len(naps) == 2


@pytest.mark.slow
@pytest.mark.parametrize("answer", [hang, DRIP], ids=["hangs", "drips"])
def test_a_slack_that_is_slow_is_left_alone(
    fake_slack: FakeSlack, monkeypatch: pytest.MonkeyPatch, answer: Handler
) -> None:
    monkeypatch.setattr(reporter, "BUDGET", 1.0)
    fake_slack.script = [answer]
    assert reporter.send("hello") == "failed: no answer within 1 s"
    assert len(fake_slack.posts) == 1


def test_the_budget_leaves_room_below_thirty_seconds() -> None:
    assert reporter.BUDGET + 1 < 30


def test_the_bot_token_is_never_logged(fake_slack: FakeSlack, caplog: pytest.LogCaptureFixture) -> None:
    fake_slack.script = [reply(body={"ok": False, "error": "invalid_auth"})]
    with caplog.at_level(logging.DEBUG):
        reporter.send("hello")
    assert "invalid_auth" in caplog.text
    assert TOKEN not in caplog.text
