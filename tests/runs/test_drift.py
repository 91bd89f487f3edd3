"""Bytemark's answers change their shape between two runs: the run shows it, and Slack is told once."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from bytemark_sync.admin.run_page import run_page
from bytemark_sync.models import Order, OrderToken, RunStatus, SyncBatch, SyncRun, Trigger
from bytemark_sync.queue import closing
from bytemark_sync.runs import drift
from bytemark_sync.storage.database_retry import DatabaseGone
from tests.support.misbehaving_server import Request
from tests.support.queue import Queue, ask
from tests.support.scripted_api import Api, order, page
from tests.support.slack import FakeSlack

pytestmark = pytest.mark.django_db(transaction=True)
USERS = range(101, 114)
Shaper = Callable[[dict[str, Any], Request], dict[str, Any]]


class Job:
    """Riders get new pending orders before each run. All are listed, in answers whose shape the test chooses."""

    def __init__(self, api: Api) -> None:
        self.runs = 0
        self.rejected = ""
        self.shaper: Shaper = lambda body, _request: body
        api.answer = self._answer
        for user_id in USERS:
            OrderToken.objects.create(user_id=user_id, token=f"secret-{user_id}")

    def _answer(self, request: Request) -> tuple[int, Any]:
        if request.token == self.rejected:
            return 401, b""
        listed = [order(f"o{run}-{request.token[-3:]}", "p") for run in range(self.runs, 0, -1)]
        return 200, self.shaper(page(*listed, total=len(listed)), request)

    def run(self, way: str, users: range = USERS, *args: str) -> SyncRun | None:
        self.runs += 1
        for user_id in users:
            Order.objects.create(
                order_uuid=f"o{self.runs}-{user_id}", user_id=user_id, amount="0", oauth_token=f"secret-{user_id}"
            )
        if way == "command":
            call_command("sync_order_items", *args, verbosity=0)
            return SyncRun.objects.first()
        run = ask()
        Queue().work()
        run.refresh_from_db()
        return run


@pytest.fixture
def job(api: Api, settings: Any) -> Job:
    settings.BYTEMARK_CUSTOMER_API_URL = api.server.url
    settings.SYNC_BATCH_USERS = 5
    return Job(api)


def found(run: SyncRun | None) -> list[tuple[str, str]]:
    assert run is not None
    rows = run_page(run, live_url="", stop_url="", retry_url="").drift["rows"]
    return [(word, path) for path, word, _, _ in rows]


def other_shape(body: dict[str, Any], _request: Request) -> dict[str, Any]:
    body["data"]["next_page"] = None
    for one in body["data"]["orders"]:
        one["state"] = {"code": 7}
        one["order_items"][0]["uuid"] = 5
    del body["server_time"]
    return body


CHANGES = [
    ("new", "data.next_page"),
    ("another type", "data.orders[].order_items[].uuid"),
    ("new", "data.orders[].state"),
    ("gone", "server_time"),
]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["command", "queue"])
def test_a_change_is_shown_on_each_run_that_has_it_and_told_once(
    job: Job, fake_slack: FakeSlack, admin_client: Client, way: str
) -> None:
    assert found(job.run(way)) == []
    assert found(job.run(way)) == []
    assert fake_slack.posts == []
    job.shaper = other_shape
    run = job.run(way)
    assert run is not None
    assert run.status == RunStatus.SUCCEEDED
    assert found(run) == CHANGES
    (post,) = fake_slack.posts
    for words in (
        f"run {run.pk}",
        f"another shape than in run {run.pk - 1}",
        "new: `data.orders[].state` (object)",
        "gone: `server_time` (text)",
        "another type: `data.orders[].order_items[].uuid` (was text, is number)",
    ):
        assert words in post["text"]
    shown = admin_client.get(f"/admin/bytemark_sync/syncrun/{run.pk}/change/").content.decode()
    assert "data.orders[].state" in shown
    assert f"another shape than in run {run.pk - 1}" in shown.replace("&#x27;", "'")
    assert found(job.run(way)) == []
    assert len(fake_slack.posts) == 1


def test_a_run_of_some_tells_first_and_the_next_run_of_all_does_not_repeat_it(job: Job, fake_slack: FakeSlack) -> None:
    job.run("command")
    job.shaper = other_shape
    some = [f"--user={user_id}" for user_id in USERS]
    assert found(job.run("command", USERS, *some)) == CHANGES
    assert found(job.run("command")) == CHANGES
    assert len(fake_slack.posts) == 1


def test_a_small_run_says_nothing(job: Job, fake_slack: FakeSlack) -> None:
    job.run("command")
    job.shaper = other_shape
    assert found(job.run("command", range(101, 104))) == []
    assert fake_slack.posts == []


def test_a_dry_run_tells_nothing_and_leaves_nothing(job: Job, fake_slack: FakeSlack) -> None:
    job.run("command")
    job.shaper = other_shape
    job.run("command", USERS, "--dry-run")
    assert SyncRun.objects.count() == 1
    assert fake_slack.posts == []


def test_a_bad_run_says_it_in_its_own_message(job: Job, fake_slack: FakeSlack) -> None:
    job.run("queue")
    job.shaper = other_shape
    job.rejected = "secret-102"
    run = job.run("queue")
    assert run is not None
    assert run.status == RunStatus.PARTIAL
    assert found(run) == CHANGES
    (post,) = fake_slack.posts
    assert "was partial" in post["text"]
    assert "gone: `server_time` (text)" in post["text"]


@pytest.mark.slow
@pytest.mark.parametrize("way", ["command", "queue"])
def test_no_value_and_no_key_that_is_data_appears_anywhere(job: Job, fake_slack: FakeSlack, way: str) -> None:
    def shaper(body: dict[str, Any], request: Request) -> dict[str, Any]:
        user = int(request.token[-3:])
        body["data"]["by_rider"] = {
            request.token: "VALUE",
            f"rider{user}@example.org": "VALUE",
            f"0f8fad5b-d9cd-469f-a165-70867728{user}0": "VALUE",
            "hunter" + chr(user): "VALUE",
            str(user): "VALUE",
        }
        return body

    job.run(way)
    job.shaper = shaper
    run = job.run(way)
    assert run is not None
    assert found(run) == [("new", "data.by_rider")]
    kept = json.dumps([*SyncRun.objects.values_list("shape", "drift"), *SyncBatch.objects.values_list("shape")])
    assert "data.by_rider.*" in kept
    for text in (kept, json.dumps(fake_slack.posts)):
        for secret in ("VALUE", "secret-", "example.org", "0f8fad5b", "hunter"):
            assert secret not in text
    assert len(fake_slack.posts) == 1


def test_a_comparison_that_fails_costs_neither_the_end_nor_the_report(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(_run: SyncRun) -> None:
        raise DatabaseGone("the database is away")

    monkeypatch.setattr(drift, "_note", away)
    run = SyncRun.objects.create(trigger=Trigger.SCHEDULE, status=RunStatus.RUNNING, planned_at=timezone.now())
    assert closing.close_if_done(run.pk)
    run.refresh_from_db()
    assert run.status == RunStatus.SUCCEEDED
    assert run.slack
    assert "could not be compared" in caplog.text
