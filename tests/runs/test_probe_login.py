"""A login that a person asks for is claimed, written and remembered as a run's is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from bytemark_sync.bytemark.account import AccountClient
from bytemark_sync.bytemark.client import BytemarkClient
from bytemark_sync.bytemark.token import Credentials, Token
from bytemark_sync.models import LoginState, OrderToken, RiderLogin, RunStatus, SyncRun
from bytemark_sync.probe.asker import Asker
from bytemark_sync.probe.evidence import Evidence
from bytemark_sync.probe.login_checks import ask_as_stranger, rider_login
from bytemark_sync.probe.plan import investigate
from bytemark_sync.probe.verdicts import Check
from bytemark_sync.runs.client_settings import bytemark_settings
from bytemark_sync.runs.probe_login import ProbeLogin
from bytemark_sync.sandbox import Sandbox, World
from bytemark_sync.sandbox.accounts import login_token
from bytemark_sync.storage.logins import Busy, Logins
from bytemark_sync.storage.probe_riders import rider_with_any_token
from tests.support.renewal import Renewing, add_rider, row_tokens
from tests.support.scenario import listed

pytestmark = pytest.mark.django_db(transaction=True)

USER = 101
OURS = login_token(USER, 1)
Between = Callable[[], object]


@pytest.fixture
def logging_in(sandbox: Callable[..., Sandbox], settings: Any) -> Callable[..., Check]:
    """Probes the rider with a login. `after_login` happens between the account API's answer and what follows."""

    def make(
        after_login: Between = lambda: None, token: str = "expired", works: bool = False, also: str = "", **options: Any
    ) -> Check:
        world = World()
        rider = add_rider(world, USER, [listed("o-1"), listed("o-2")], token=token, works=works)
        rider.tokens += [also] if also else []
        made = Renewing(world, sandbox(world, **options), settings)
        client_settings = bytemark_settings()
        client = BytemarkClient(client_settings)
        account = AccountClient(client_settings, client)

        def log_in(credentials: Credentials) -> Token:
            try:
                return account.log_in(credentials)
            finally:
                if credentials.email.reveal() == f"{USER}@riders.example":
                    after_login()

        seen = Evidence((rider_with_any_token(USER),))
        asker = Asker(seen, client.get_answer, wait=lambda _seconds: None, say=lambda _text: None)
        login = ProbeLogin(USER)
        assert login.why_not() == ""
        ask_as_stranger(asker, log_in)
        login.make(asker, log_in)
        investigate(asker, page_size=10)
        login.end(seen)
        assert made.sandbox.stats().requests + made.sandbox.stats().logins.requests == seen.requests
        return rider_login(seen)

    return make


def row() -> RiderLogin:
    return RiderLogin.objects.get()


@pytest.mark.parametrize(("token", "works"), [("expired", False), ("good", True), ("", False)])
def test_the_new_token_reads_the_list_and_is_in_the_portal(
    logging_in: Callable[..., Check], token: str, works: bool
) -> None:
    check = logging_in(token=token, works=works)
    assert (check.verdict, check.advice) == ("holds", "")
    assert "and the rider's list is read. It is in the portal's row." in check.seen
    assert row_tokens() == {USER: OURS}
    assert (row().state, row().run_id, row().renewals) == (LoginState.RENEWED, None, 1)
    assert not SyncRun.objects.exists()


def test_a_second_probe_logs_in_again(logging_in: Callable[..., Check]) -> None:
    logging_in()
    login = ProbeLogin(USER)
    claim = login._logins.claim(USER, (Token(OURS),))
    assert not isinstance(claim, Busy)
    assert isinstance(ProbeLogin(USER)._logins.claim(USER, (Token(OURS),)), Busy)
    run = SyncRun.objects.create(trigger="command", status=RunStatus.RUNNING)
    assert isinstance(Logins(run.pk, timezone.now()).claim(USER, (Token(OURS),)), Busy), "a run waits for it"
    RiderLogin.objects.update(asked_at=timezone.now() - timedelta(seconds=65))
    assert not isinstance(Logins(run.pk, timezone.now()).claim(USER, (Token(OURS),)), Busy)


@pytest.mark.parametrize(("faults", "cause"), [("wrong_password", "wrong_password"), ("unclear", "unclear")])
def test_a_refused_login_is_remembered_and_changes_nothing(
    logging_in: Callable[..., Check], faults: str, cause: str
) -> None:
    check = logging_in(faults=f"refuse:reason={faults},users={USER}")
    assert check.verdict == "differs"
    assert check.advice
    assert row_tokens() == {USER: "expired"}
    assert (row().state, row().cause, row().deferred_days) == (LoginState.REFUSED, cause, 1)


def test_nobody_is_logged_in_where_the_made_up_user_shows_our_own_fault(logging_in: Callable[..., Check]) -> None:
    check = logging_in(faults="refuse:reason=client")
    assert (check.verdict, check.seen) == (
        "not seen",
        "No login was made: the made-up user's login shows that it would not tell more.",
    )
    assert not RiderLogin.objects.exists()


def test_an_answer_that_does_not_come_is_asked_for_again_by_the_next_run(logging_in: Callable[..., Check]) -> None:
    check = logging_in(faults=f"close:on=login,users={USER}")
    assert check.verdict == "differs"
    assert (row().state, row_tokens()) == (LoginState.UNANSWERED, {USER: "expired"})


def test_a_token_that_is_rejected_at_once_is_said_and_remembered(logging_in: Callable[..., Check]) -> None:
    check = logging_in(faults=f"dead_token:users={USER}")
    assert check.verdict == "differs"
    assert "rejected the new token at once" in check.seen
    assert (row().state, row().cause) == (LoginState.REFUSED, "new_token_rejected")


def test_a_useless_token_that_the_portal_has_written_meanwhile_is_put_right(logging_in: Callable[..., Check]) -> None:
    check = logging_in(lambda: OrderToken.objects.update(token="of the portal"))
    assert check.verdict == "holds"
    assert row_tokens() == {USER: OURS}


def test_a_good_token_that_the_portal_has_written_meanwhile_stays(logging_in: Callable[..., Check]) -> None:
    check = logging_in(lambda: OrderToken.objects.update(token="good"), also="good", keeps_older_tokens=True)
    assert (check.verdict, "The portal has renewed its row meanwhile" in check.seen) == ("holds", True)
    assert row_tokens() == {USER: "good"}
