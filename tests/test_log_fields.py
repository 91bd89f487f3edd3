"""With LOG_FORMAT=json every line says by fields what it is about: run, batch, user, order, attempt and reason."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from bytemark_sync import tasks
from bytemark_sync.models import BatchStatus, SyncBatch, SyncRun
from bytemark_sync.monitoring.logs import WithFields
from bytemark_sync.sandbox import FaultRule, World
from tests.support.clusters import Cluster
from tests.support.scenario import MakeScenario, add_user, listed, simple_world
from tests.support.servers import wait_for
from tests.support.slack import FakeSlack, reply

JSON_LOGS = {"LOG_FORMAT": "json", "BYTEMARK_BACKOFF_BASE": "0", "BYTEMARK_WORKERS": "2"}
FAULTS = [FaultRule("status", users=[200], status=500)]


def world() -> World:
    """One user for each way to be worth a line: requests that fail, a token that is stale, an order nobody can read."""
    made = simple_world(users=2)
    add_user(made, 200, [listed("o200")])
    add_user(made, 300, [listed("o300")])
    made.riders[-1].tokens = ["another"]
    add_user(made, 400, [listed("o400"), listed("p400")])
    made.riders[-1].orders[0].form = "items_text"
    return made


def read(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def said(lines: Iterable[dict[str, Any]], words: str) -> list[dict[str, Any]]:
    return [line for line in lines if re.search(words, line["message"])]


def assert_what_the_words_name_are_fields(lines: list[dict[str, Any]], run: int) -> None:
    for line in lines:
        words = line["message"].partition("for example")[0]  # the summary's
        for name, key in re.findall(r"\b(run|user|order|batch) (\d+)\b", words):
            assert line[name] == int(key), line
    (failing,) = said(lines, "user 200 failed")
    assert (failing["run"], failing["reason"], failing["attempt"]) == (run, "api_error", 5)
    (stale,) = said(lines, "user 300 failed")
    assert (stale["run"], stale["reason"], stale["attempt"]) == (run, "token_rejected", 0)
    (malformed,) = said(lines, "order .* of user 400")
    assert (malformed["run"], malformed["reason"]) == (run, "malformed")


def test_lines_of_a_command_have_fields(sqlite_scenario: MakeScenario) -> None:
    at = sqlite_scenario(world(), faults=FAULTS)
    done = at.sync("-v", 3, "--json", "--user", 9, env=JSON_LOGS)
    assert [line.get("user") for line in said(read(done.stderr), "nothing pending")] == [9]

    done = at.sync("-v", 3, "--json", env=JSON_LOGS)
    lines = read(done.stderr)
    assert {line["run"] for line in lines} == {done.json["run_id"]}  # Django's last words and the summary too
    assert_what_the_words_name_are_fields(lines, done.json["run_id"])
    tries = said(lines, "attempt . of 5 failed")  # written by threads of the pool
    assert [(line["user"], line["attempt"], line["reason"]) for line in tries] == [
        (200, attempt, "server_error") for attempt in range(1, 6)
    ]

    text = at.sync(env=JSON_LOGS | {"LOG_FORMAT": "text"}).stderr
    assert "WARNING bytemark_sync.runs.engine: user 200 failed: api_error (" in text


@pytest.mark.cluster
def test_lines_of_a_cluster_have_fields(sqlite_scenario: MakeScenario, tmp_path: Path) -> None:
    with FakeSlack.serving(reply(500)) as slack:
        env = JSON_LOGS | {"SYNC_BATCH_USERS": "2", "SLACK_BOT_TOKEN": "xoxb-t", "SLACK_CHANNEL_ID": "C1"}
        at = sqlite_scenario(world(), faults=FAULTS)
        env |= {name: value for name, value in at.env().items() if value} | {"SLACK_API_URL": slack.url}
        run = at.sync("--enqueue", "--json", env=env).json["run_id"]
        with Cluster(tmp_path, at.url, env) as cluster:
            wait_for(lambda: at.portal.runs()[-1]["slack"].startswith("failed"), 90, "the run is closed and told")
            cluster.stop()
    lines = read(cluster.log.read_text())
    assert_what_the_words_name_are_fields(lines, run)
    batches = {batch for (batch,) in at.portal.all("SELECT id FROM bytemark_sync_batch")}
    ours = [line for line in lines if re.match(r"bytemark_sync\.(runs|fetch|slack|queue\.batches)", line["logger"])]
    assert {line["run"] for line in ours} == {run}
    assert {line.get("batch") for line in said(lines, "user .* failed|order .* of user")} <= batches
    assert {line["run"] for line in said(lines, "message to Slack was not sent")} == {run}
    queues = said(lines, "processing (plan_run|sync_batch)|^Enqueued")  # lines of django-q2
    assert {line["run"] for line in queues} == {run}
    assert {line.get("batch") for line in queues} == {None, *batches}


@pytest.mark.django_db
def test_the_watchdogs_lines_have_fields(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(fields := WithFields())
    try:
        silent = timezone.now() - timedelta(days=1)
        run = SyncRun.objects.create(trigger="admin", status="running", heartbeat_at=silent, planned_at=silent)
        batch = SyncBatch.objects.create(
            run=run, number=1, user_ids=[1], status=BatchStatus.RUNNING, worker="w", heartbeat_at=silent
        )
        with caplog.at_level(logging.INFO, logger="bytemark_sync"):
            tasks.watch()
    finally:
        caplog.handler.removeFilter(fields)
    (record,) = [each for each in caplog.records if "gave no sign of life" in each.getMessage()]
    assert (record.__dict__["run"], record.__dict__["batch"]) == (run.pk, batch.pk)
