"""Who may log a rider in, and what is written of it. With whole runs: tests/runs/."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from bytemark_sync.bytemark.account_errors import LoginCause
from bytemark_sync.bytemark.token import Token
from bytemark_sync.models import LoginState, OrderToken, RiderLogin, RunStatus, SyncRun, Trigger
from bytemark_sync.storage.deferral import end_of_wait
from bytemark_sync.storage.fingerprints import fingerprint
from bytemark_sync.storage.logins import NO_ACCOUNT, Busy, Claim, Denied, Logins
from bytemark_sync.storage.token_rows import replace_token, rows_of
from tests.support.harness import places, python
from tests.support.scenario import MakeScenario, simple_world
from tests.support.servers import Databases

OLD, NEW = Token("old"), Token("new")
REFERENCE = datetime(2026, 1, 10, 3, 0, tzinfo=UTC)


@pytest.fixture
def db_with_renewal(settings: Any, db: None) -> None:
    settings.BYTEMARK_ACCOUNT_API_URL, settings.BYTEMARK_CLIENT_ID = "http://127.0.0.1:9", "made-up"


pytestmark = pytest.mark.usefixtures("db_with_renewal")


def portal(user: int = 7, token: str | None = "old", email: str = "7@riders.example", password: str = "pw") -> int:
    return OrderToken.objects.create(user_id=user, token=token, email=email, password=password).pk


def new_run(**more: Any) -> Logins:
    run = SyncRun.objects.create(trigger=Trigger.COMMAND, status=RunStatus.RUNNING)
    return Logins(run.pk, REFERENCE, **more)


def claimed(logins: Logins, *tried: Token) -> Claim:
    found = logins.claim(7, tried or (OLD,))
    assert isinstance(found, Claim), found
    return found


def denied(logins: Logins, *tried: Token) -> str:
    found = logins.claim(7, tried or (OLD,))
    assert isinstance(found, Denied), found
    return found.words


def login() -> RiderLogin:
    return RiderLogin.objects.get()


def texts() -> list[str | None]:
    return list(OrderToken.objects.order_by("pk").values_list("token", flat=True))


def test_a_renewed_token_is_written_counted_and_remembered() -> None:
    older, newest = portal(), portal(token="", email="new@riders.example")
    portal(password="")  # it has no account
    run = new_run()
    claim = claimed(run)
    assert (claim.row.id, claim.credentials.email.reveal()) == (newest, "new@riders.example")
    assert (login().state, login().run_id) == (LoginState.ASKED, run.run_id)
    assert run.renewed(claim, NEW) is None
    assert texts() == ["old", "new", "old"]
    assert older < newest
    assert SyncRun.objects.get().tokens_renewed == 1
    run.renewed(claim, NEW)  # as after a commit whose answer was lost
    assert SyncRun.objects.get().tokens_renewed == login().renewals == 1
    assert (login().state, login().renewed_at is not None, login().next_at) == (LoginState.RENEWED, True, None)


def test_a_run_that_has_ended_meanwhile_counts_no_renewal_and_yet_the_token_is_kept() -> None:
    portal()
    run = new_run()
    claim = claimed(run)
    SyncRun.objects.update(status=RunStatus.FAILED)  # it gave no sign of life for too long
    run.renewed(claim, NEW)
    assert (texts(), login().state, login().renewals) == (["new"], LoginState.RENEWED, 1)
    assert SyncRun.objects.get().tokens_renewed == 0


def test_a_run_logs_a_rider_in_once_whatever_came_of_it() -> None:
    portal()
    run = new_run()
    claim = claimed(run)
    assert isinstance(run.claim(7, (OLD,)), Busy)  # another worker of the run is at it
    RiderLogin.objects.update(asked_at=timezone.now() - timedelta(minutes=2))
    assert "its answer was lost" in denied(run)  # killed
    run.renewed(claim, NEW)
    assert run.claim(7, (OLD,)) == NEW
    assert "was rejected too" in denied(run, OLD, NEW)
    run = new_run()
    run.refused(claimed(run, OLD, NEW), LoginCause.UNCLEAR, "words")
    assert denied(run, OLD, NEW) == "words"
    run = new_run(tries_deferred=True)
    run.unanswered(claimed(run, OLD, NEW), "away")
    assert denied(run, OLD, NEW) == "away"
    claimed(new_run(), OLD, NEW)


def test_a_token_that_the_portal_has_renewed_is_tried_first() -> None:
    row = portal()
    run = new_run()
    OrderToken.objects.update(token=" theirs ")
    assert run.claim(7, (OLD,)) == Token("theirs")
    claim = claimed(run, OLD, Token("theirs"))
    OrderToken.objects.update(token="theirs-2")
    assert run.renewed(claim, NEW) == Token("theirs-2")
    assert texts() == ["theirs-2"]
    assert run.put_right(claim, Token("theirs-2"), NEW)
    assert texts() == ["new"]
    assert not run.put_right(claim, Token("theirs-2"), OLD)
    OrderToken.objects.filter(pk=row).delete()
    assert run.renewed(claim, NEW) is None


@pytest.mark.parametrize("text", [None, "", "  ", "old", "old ", "ölD", "o'\\ld"])
def test_a_token_is_replaced_where_the_row_still_holds_it_exactly(text: str | None) -> None:
    row = portal(token=text)
    (read,) = rows_of(7)
    for other in (None, "", " ", "OLD", "old  ", "oLd", "olD"):
        if other != text:
            assert not replace_token(row, None if other is None else Token(other), NEW)
    assert texts() == [text]
    assert replace_token(row, read.token, NEW)
    assert texts() == ["new"]


def test_another_runs_login_is_waited_for_while_it_lives() -> None:
    portal()
    first, second = new_run(), new_run()
    claim = claimed(first)
    RiderLogin.objects.update(asked_at=timezone.now() - timedelta(seconds=55))
    assert isinstance(second.claim(7, (OLD,)), Busy)
    RiderLogin.objects.update(asked_at=timezone.now() - timedelta(seconds=65))
    first.keep([7])
    assert isinstance(second.claim(7, (OLD,)), Busy)
    SyncRun.objects.filter(pk=first.run_id or 0).update(status=RunStatus.FAILED)  # it is dead
    third = new_run()
    third.release(claimed(third))
    SyncRun.objects.filter(pk=first.run_id or 0).update(status=RunStatus.RUNNING)
    RiderLogin.objects.update(asked_at=timezone.now() - timedelta(seconds=65))
    taken = claimed(second)
    assert first.renewed(claim, NEW) is None  # late, but the token is good
    assert (texts(), login().state, login().run_id) == (["new"], LoginState.ASKED, second.run_id)
    assert second.renewed(taken, Token("newer")) == NEW  # and tried before the later one
    assert sorted(SyncRun.objects.values_list("tokens_renewed", flat=True)) == [0, 0, 1]


def test_a_refused_login_waits_1_2_4_days_and_not_where_anything_changed_that_it_depends_on(settings: Any) -> None:
    portal()
    run = new_run()
    run.refused(claimed(run), LoginCause.WRONG_PASSWORD, "refused")
    assert (login().state, login().cause, login().detail) == (LoginState.REFUSED, "wrong_password", "refused")
    assert (login().next_at, login().deferred_days) == (end_of_wait(REFERENCE, 1), 1)
    RiderLogin.objects.update(next_at=timezone.now() + timedelta(days=1))
    assert denied(new_run()).startswith("refused; no other login before ")

    run = new_run(tries_deferred=True)
    run.refused(claimed(run), LoginCause.WRONG_PASSWORD, "refused")
    assert login().deferred_days == 1  # ahead of time
    for days in (2, 4, 8, 16, 30, 30):
        RiderLogin.objects.update(next_at=timezone.now() - timedelta(days=1))
        run = new_run()
        run.refused(claimed(run), LoginCause.WRONG_PASSWORD, "refused")
        assert (login().deferred_days, login().next_at) == (days, end_of_wait(REFERENCE, days))

    RiderLogin.objects.update(next_at=timezone.now() + timedelta(days=1))
    for change in ({"email": "other@riders.example"}, {"password": "other"}, {"token": "other"}):
        OrderToken.objects.update(**change)
        run = new_run()
        run.release(claimed(run, OLD, Token("other")))
    OrderToken.objects.update(email="7@riders.example", password="pw", token="old")
    RiderLogin.objects.update(state=LoginState.REFUSED)
    assert denied(new_run())
    for name in ("BYTEMARK_CLIENT_ID", "BYTEMARK_CLIENT_SECRET", "BYTEMARK_ACCOUNT_API_URL"):
        before = getattr(settings, name)
        setattr(settings, name, "http://other")
        run = new_run()
        run.release(claimed(run))
        setattr(settings, name, before)
    run = new_run()
    RiderLogin.objects.update(next_at=timezone.now() - timedelta(days=1))
    run.renewed(claimed(run), NEW)
    assert (login().deferred_days, login().cause, login().detail) == (0, "", "")


def test_a_new_token_that_is_rejected_at_once_waits_longer_each_time_too() -> None:
    portal()
    tried = [OLD]
    for days in (1, 2, 4):
        run = new_run()
        claim, token = claimed(run, *tried), Token(f"new-{days}")
        run.renewed(claim, token)
        run.refused(claim, LoginCause.NEW_TOKEN_REJECTED, "rejected")
        tried.append(token)
        RiderLogin.objects.update(next_at=timezone.now() + timedelta(days=1))
        assert denied(new_run(), *tried).startswith("rejected; no other login before ")
        assert login().deferred_days == days
        RiderLogin.objects.update(next_at=timezone.now() - timedelta(days=1))


def test_a_login_that_was_not_sent_leaves_no_trace() -> None:
    portal()
    run = new_run()
    run.release(claimed(run))
    assert not RiderLogin.objects.exists()
    run.refused(claimed(run), LoginCause.UNCLEAR, "refused")
    before = RiderLogin.objects.values().get()
    other = new_run(tries_deferred=True)
    other.release(claimed(other))
    assert RiderLogin.objects.values().get() == before


def test_without_e_mail_and_password_there_is_no_login_and_no_row_for_it() -> None:
    portal(email="", password="pw")
    portal(email="7@riders.example", password="")
    assert denied(new_run()) == NO_ACCOUNT
    assert not RiderLogin.objects.exists()


def test_a_runs_logins_are_stopped_by_one_process() -> None:
    run = new_run()
    assert run.stopped() == ""
    assert [run.stop("words"), run.stop("other words")] == [True, False]
    assert (run.stopped(), new_run().stopped()) == ("words", "")


def test_the_mark_of_a_user_has_the_credentials_only_where_renewal_is_on(settings: Any) -> None:
    on = fingerprint(["t"], ["e\0p"])
    assert on != fingerprint(["t"], ["e\0q"])
    settings.BYTEMARK_CLIENT_ID = "other"
    assert on != fingerprint(["t"], ["e\0p"])
    settings.BYTEMARK_CLIENT_ID = ""
    assert fingerprint(["t"], ["e\0p"]) == fingerprint(["t"])


LEAST_RIGHTS = """
import django
django.setup()
from datetime import UTC, datetime
from bytemark_sync.bytemark.token import Token
from bytemark_sync.models import SyncRun
from bytemark_sync.storage.logins import Claim, Logins
from bytemark_sync.storage.token_rows import replace_token, why_no_renewal
print(bool(why_no_renewal()))
if why_no_renewal():
    raise SystemExit
run = Logins(SyncRun.objects.create(trigger="command", status="running").pk, datetime.now(UTC))
claim = run.claim(101, [Token("key-101")])
print(isinstance(claim, Claim), claim.credentials)
print(*(replace_token(claim.row.id, Token(other), Token("x")) for other in ("KEY-101", "key-101 ")))
print(run.renewed(claim, Token("new")), run.claim(101, [Token("key-101")]).reveal())
"""


def test_the_right_to_update_the_token_is_enough(server_scenario: MakeScenario, server: Databases) -> None:
    at = server_scenario(simple_world(users=1))
    at.portal.execute("UPDATE bytemark_tokens SET token = 'key-101', email = 'a@b.example', password = 'pw'")
    env = {
        **places(at.url),
        **at.env(),
        "BYTEMARK_ACCOUNT_API_URL": "http://127.0.0.1:9",
        "BYTEMARK_CLIENT_ID": "made-up",
        "DJANGO_SETTINGS_MODULE": "project.settings",
    }
    assert python(LEAST_RIGHTS, env=env).stdout == "True\n"
    table = f"`{at.portal.portal_database}`.`bytemark_tokens`"
    server.execute(f"GRANT UPDATE (token) ON {table} TO '{at.portal.name}'@'%'")
    done = python(LEAST_RIGHTS, env=env)
    hidden = "Credentials(email=Secret(hidden), password=Secret(hidden))"
    assert done.stdout.splitlines() == ["False", f"True {hidden}", "False False", "None new"], done.stderr
    assert at.portal.all("SELECT token, email, password FROM bytemark_tokens") == [("new", "a@b.example", "pw")]
