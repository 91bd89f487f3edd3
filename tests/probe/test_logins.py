"""What the probe finds out about the account API, with a made-up user."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bytemark_sync.bytemark.account import AccountClient
from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.config import BytemarkSettings
from bytemark_sync.probe.asker import MAX_FAILURES, MAX_REQUESTS, Asker
from bytemark_sync.probe.evidence import Evidence
from bytemark_sync.probe.judge import judge
from bytemark_sync.probe.login_checks import ask_as_stranger, may_log_in
from bytemark_sync.probe.plan import investigate
from bytemark_sync.probe.recording import record, write
from bytemark_sync.probe.verdicts import Check, Verdict
from bytemark_sync.sandbox import Sandbox
from bytemark_sync.sandbox.replay import load
from tests.support.probing import PATIENT, riders_of, world_of

CLIENT = "client-of-the-test"
GIVES_TOKEN = '[{"kind": "raw", "on": "login", "body": "{\\"oauth_token\\": \\"x\\"}"}]'


@dataclass
class Asked:
    seen: Evidence
    check: Check
    waits: list[float]


def ask(url: str, riders: Any = (), account: str = "", **more: Any) -> Asked:
    """The stranger's login, and with `riders` all the rest."""
    settings = BytemarkSettings(url, account_base_url=account or url, client_id=CLIENT, **PATIENT | more)
    client = BytemarkClient(settings)
    waits: list[float] = []
    seen = Evidence(tuple(riders))
    asker = Asker(seen, client.get_answer, wait=waits.append, say=lambda _text: None)
    ask_as_stranger(asker, AccountClient(settings, client).log_in)
    if riders:
        investigate(asker, page_size=settings.page_size)
    assert seen.requests <= MAX_REQUESTS
    checks = {check.name: check for check in judge(seen, settings, now=datetime.now(UTC))}
    assert checks["login"].verdict == Verdict.NOT_SEEN
    assert checks["wrong_token"].verdict != Verdict.DIFFERS
    return Asked(seen, checks["wrong_login"], waits)


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("unknown_account", "its account (HTTP 400: the answer carries error 400104 (user not registered))"),
        ("wrong_password", "its password (HTTP 401: the answer carries an error without a code)"),
    ],
)
def test_a_made_up_user_is_refused_for_what_is_made_up(reason: str, said: str) -> None:
    with Sandbox(world_of(3), faults=f"refuse:reason={reason}") as sandbox:
        asked = ask(sandbox.url)
        (sent,) = sandbox.logins()
        assert (sent.user_id, sent.client_id) == (None, CLIENT)
    assert (asked.check.verdict, asked.check.advice) == (Verdict.HOLDS, "")
    assert asked.check.seen == f"A made-up user is refused for {said}."
    assert may_log_in(asked.seen)
    assert (asked.seen.requests, asked.waits) == (1, [])


@pytest.mark.parametrize(
    ("faults", "said", "advice", "may"),
    [
        ("refuse:reason=client", "BYTEMARK_CLIENT_ID or BYTEMARK_CLIENT_SECRET", "Correct BYTEMARK_CLIENT_ID", False),
        ("refuse:reason=unclear", "does not say clearly why", "BYTEMARK_LOGIN_PATH", True),
        ("raw:on=login,status=404,body=none", "does not say clearly why", "BYTEMARK_LOGIN_PATH", True),
        ("no_token", "no token that can be used", "BYTEMARK_LOGIN_PATH", True),
        (GIVES_TOKEN, "gave a token", "BYTEMARK_ACCOUNT_API_URL", False),
        ("not_json:on=login", "not JSON", "BYTEMARK_ACCOUNT_API_URL", False),
        ("close:on=login", "is not answered", "BYTEMARK_ACCOUNT_API_URL", False),
    ],
)
def test_any_other_answer_differs(faults: str, said: str, advice: str, may: bool) -> None:
    with Sandbox(world_of(3), faults=faults) as sandbox:
        asked = ask(sandbox.url)
    assert asked.check.verdict == Verdict.DIFFERS
    assert said in asked.check.seen
    assert advice in asked.check.advice
    assert may_log_in(asked.seen) is may


@pytest.mark.slow
def test_a_failing_account_api_is_asked_three_times_and_the_rest_goes_on() -> None:
    world = world_of(130, 25)
    with Sandbox(world, faults="status:status=503,on=login,retry_after=1,times=1;status:on=login") as sandbox:
        asked = ask(sandbox.url, riders_of(world))
        assert sandbox.stats().logins.requests == MAX_FAILURES
        assert sandbox.stats().requests + MAX_FAILURES == asked.seen.requests
    assert "HTTP 500" in asked.check.seen
    assert asked.waits == [1.0, 2.0]
    assert asked.seen.accepted == [0, 1]


def test_a_refusal_for_the_rate_is_no_verdict_and_a_long_wait_is_not_waited() -> None:
    with Sandbox(world_of(3), faults="status:status=429,on=login,retry_after=9999") as sandbox:
        asked = ask(sandbox.url)
    assert (asked.check.verdict, asked.waits, asked.seen.requests) == (Verdict.NOT_SEEN, [], 1)
    assert not may_log_in(asked.seen)


def test_without_an_account_api_it_is_not_spoken_of() -> None:
    settings = BytemarkSettings("http://127.0.0.1:9", client_id=CLIENT)
    assert not {"login", "wrong_login"} & {check.name for check in judge(Evidence(()), settings, now=datetime.now(UTC))}


@pytest.mark.parametrize(
    ("faults", "kept"),
    [
        ("", "unknown_account"),
        ("refuse:reason=client", "client_refused"),
        ("refuse:reason=unclear", "unclear"),
        ("no_token", "no_token"),
        ("close:on=login", ""),
    ],
)
def test_a_recording_keeps_the_cause_and_its_replay_refuses_alike(faults: str, kept: str, tmp_path: Path) -> None:
    world = world_of(12)
    with Sandbox(world, faults=faults) as sandbox:
        asked = ask(sandbox.url, riders_of(world))
    recording = record(asked.seen)
    assert recording is not None
    assert recording.wrong_login_cause == kept
    write(recording, tmp_path / "shape.json")
    text = (tmp_path / "shape.json").read_text()
    assert "invalid" not in text
    assert CLIENT not in text
    replay = load(tmp_path / "shape.json")
    with Sandbox(replay.world, faults=replay.faults, envelope=replay.envelope, rejection=replay.rejection) as sandbox:
        again = ask(sandbox.url, riders_of(replay.world))
    found = record(again.seen)
    assert found is not None
    assert found.wrong_login_cause == (kept or "unknown_account")
