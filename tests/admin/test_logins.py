"""What the admin says of renewed tokens: on a rider's page, an order's, a run's, and before a resync."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bytemark_sync.bytemark.account_errors import LoginCause
from bytemark_sync.domain.login_advice import NO_ACCOUNT, NO_ACCOUNT_TODO, STOPPED_TODO, login_todo
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import LoginState, OrderOutcome, OrderToken, RiderLogin, RunKind, RunStatus, SyncRun
from tests.support.admin_data import SECRET, Filled
from tests.support.admin_pages import APP, page
from tests.support.admin_pages import words as escaped_words

LOGGED_IN = Callable[[str], Client]
AT = datetime(2026, 11, 24, 11, 50, tzinfo=UTC)


def words(html: str) -> str:
    return unescape(escaped_words(html))


MAIL, PASSWORD = f"{SECRET}@portal.invalid", f"{SECRET}-password"


@pytest.fixture
def renewal(settings: Any) -> None:
    settings.BYTEMARK_ACCOUNT_API_URL, settings.BYTEMARK_CLIENT_ID = "http://127.0.0.1:9", "made-up"


def rider_page(client: Client, user_id: int) -> str:
    row = OrderToken.objects.filter(user_id=user_id).order_by("-pk")[0]
    return words(page(client, f"{APP}portaluser/{row.pk}/change/"))


def refused(user_id: int, cause: str = LoginCause.WRONG_PASSWORD, **more: Any) -> RiderLogin:
    values = {"state": LoginState.REFUSED, "cause": cause, "detail": f"{cause} (HTTP 401)", "refused_at": AT}
    values |= {"asked_at": AT, "renewed_at": None, "next_at": timezone.now() + timedelta(days=3)}
    login, _ = RiderLogin.objects.update_or_create(pk=user_id, defaults=values | more)
    return login


def order_page(client: Client, user_id: int) -> str:
    outcome = OrderOutcome.objects.filter(user_id=user_id)[0]
    return words(page(client, f"{APP}pendingorder/{outcome.order_id}/change/"))


@pytest.mark.usefixtures("renewal")
class TestRider:
    def test_it_says_when_the_token_was_renewed(self, logged_in: LOGGED_IN, filled: Filled) -> None:
        user = filled.riders_never_tried()[0]
        client = logged_in("viewer")
        assert "The last login" not in rider_page(client, user)
        RiderLogin.objects.create(user_id=user, state=LoginState.UNANSWERED)  # nothing was asked for yet
        assert "The last login" not in rider_page(client, user)
        RiderLogin.objects.filter(pk=user).update(state=LoginState.RENEWED, asked_at=AT, renewed_at=AT)
        said = rider_page(client, user)
        assert "Token renewed 2026-11-24 11:50 UTC" in said
        assert "What to do" not in said

    def test_it_says_why_the_last_login_was_refused_and_until_when_none_is_made(
        self, logged_in: LOGGED_IN, filled: Filled
    ) -> None:
        user = filled.riders_left_for(Reason.TOKEN_REJECTED)[0]
        client = logged_in("viewer")
        for cause in LoginCause:
            refused(user, cause, renewed_at=AT - timedelta(days=9))
            said = rider_page(client, user)
            assert f"gave no token that works: {cause} (HTTP 401)." in said
            assert f"What to do: {login_todo(cause)}" in said
            assert "Token renewed 2026-11-15 11:50 UTC" in said
            assert "Refused 2026-11-24 11:50 UTC" in said
            assert "Next login not before" in said
            assert "No other is made before" in said
        refused(user, "of-a-later-version", next_at=AT)
        said = rider_page(client, user)
        assert "What to do" not in said
        assert "Next login with the next run" in said

    def test_what_went_before_is_told_where_renewal_is_off(
        self, logged_in: LOGGED_IN, filled: Filled, settings: Any
    ) -> None:
        user = filled.riders_left_for(Reason.TOKEN_REJECTED)[0]
        refused(user)
        settings.BYTEMARK_CLIENT_ID = ""
        said = rider_page(logged_in("viewer"), user)
        assert "Renewal is off now" in said
        assert "What to do" not in said
        assert "E-mail and password" not in said

    def test_whether_there_is_an_account_is_told_and_nothing_of_it(self, logged_in: LOGGED_IN, filled: Filled) -> None:
        client = logged_in("superuser")
        user = filled.riders_never_tried()[0]
        for mail, password, told in (
            (None, None, "Missing"),
            (MAIL, None, "Missing"),
            (None, PASSWORD, "Missing"),
            ("  ", PASSWORD, "Missing"),
            (MAIL, "", "Missing"),
            (MAIL, PASSWORD, "Present"),
        ):
            OrderToken.objects.filter(user_id=user).update(email=mail, password=password)
            with CaptureQueriesContext(connection) as queries:
                said = rider_page(client, user)
            assert f"E-mail and password {told}" in said
            assert SECRET not in said
            read = [each["sql"].partition(" FROM ")[0] for each in queries]
            assert not [sql for sql in read if '"bytemark_tokens"."email"' in sql or ".password" in sql]
        text = words(page(client, f"{APP}portaluser/"))
        assert SECRET not in text


class TestAdvice:
    def test_where_renewal_is_off_it_says_how_it_is_switched_on(self, logged_in: LOGGED_IN, filled: Filled) -> None:
        for reason in (Reason.TOKEN_REJECTED, Reason.NO_TOKEN):
            user = filled.riders_left_for(reason)[0]
            refused(user)  # an old one says nothing where renewal is off
            said = order_page(logged_in("viewer"), user)
            assert "BYTEMARK_ACCOUNT_API_URL and BYTEMARK_CLIENT_ID" in said
            assert "he portal logs in for" in said
            assert "bytemark_tokens.token" in said

    @pytest.mark.slow
    def test_where_it_is_on_it_says_why_it_did_not_help(
        self, logged_in: LOGGED_IN, filled: Filled, renewal: None
    ) -> None:
        client = logged_in("viewer")
        for reason in (Reason.TOKEN_REJECTED, Reason.NO_TOKEN):
            user = filled.riders_left_for(reason)[0]
            said = order_page(client, user)
            assert f"{NO_ACCOUNT} What to do: {NO_ACCOUNT_TODO}" in said
            OrderToken.objects.filter(user_id=user).update(email=MAIL, password=PASSWORD)
            said = order_page(client, user)
            assert f"What to do: {reason.record.todo_renewing}" in said
            assert "BYTEMARK_CLIENT_ID" not in said
            SyncRun.objects.update(logins_stopped="Logins are stopped, for a reason")
            said = order_page(client, user)
            assert f"Logins are stopped, for a reason. What to do: {STOPPED_TODO}" in said
            SyncRun.objects.update(logins_stopped="")
            for cause in LoginCause:
                refused(user, cause)
                said = order_page(client, user)
                assert f"gave no token that works: {cause} (HTTP 401)." in said
                assert f"What to do: {login_todo(cause)}" in said
            now = timezone.now()
            refused(user, state=LoginState.RENEWED, renewed_at=now)
            assert "Nothing: the token was renewed on" in order_page(client, user)
        other = filled.riders_left_for(Reason.NOT_FOUND)[0]
        refused(other)
        assert "gave no token" not in order_page(client, other)

    def test_a_runs_table_says_the_same_for_all(self, logged_in: LOGGED_IN, filled: Filled, settings: Any) -> None:
        client, url = logged_in("viewer"), f"{APP}syncrun/{filled.runs[-1].pk}/change/"
        for reason in (Reason.TOKEN_REJECTED, Reason.NO_TOKEN):
            assert reason.record.todo in words(page(client, url))
        settings.BYTEMARK_ACCOUNT_API_URL, settings.BYTEMARK_CLIENT_ID = "http://127.0.0.1:9", "made-up"
        said = words(page(client, url))
        assert said.count(Reason.TOKEN_REJECTED.record.todo_renewing) == 2
        assert Reason.NO_TOKEN.record.todo not in said


class TestRun:
    @pytest.mark.parametrize("kind", list(RunKind))
    def test_it_says_tokens_renewed_and_that_logins_are_stopped(self, logged_in: LOGGED_IN, kind: RunKind) -> None:
        client = logged_in("viewer")
        why = "Logins are stopped, for <those> of 5 riders in a row were refused: HTTP 401"
        run = SyncRun.objects.create(
            trigger="admin", kind=kind, status=RunStatus.RUNNING, started_at=AT, tokens_renewed=3, logins_stopped=why
        )
        url = f"{APP}syncrun/{run.pk}/"
        for html in (page(client, f"{url}live/"), page(client, f"{url}change/")):
            assert "Logins are stopped, for &lt;those&gt; of 5 riders" in html
            assert "Tokens renewed 3" in words(html)
        assert ", 3 tokens renewed, logins stopped" in words(page(client, f"{APP}syncrun/"))

    def test_where_no_token_was_renewed_it_is_not_spoken_of(
        self, logged_in: LOGGED_IN, filled: Filled, settings: Any
    ) -> None:
        client, url = logged_in("viewer"), f"{APP}syncrun/{filled.runs[-1].pk}/change/"
        assert "enewed" not in words(page(client, url)) + words(page(client, f"{APP}syncrun/"))
        settings.BYTEMARK_ACCOUNT_API_URL, settings.BYTEMARK_CLIENT_ID = "http://127.0.0.1:9", "made-up"
        assert "Tokens renewed 0" in words(page(client, url))


def test_a_resync_says_that_it_tries_a_login_at_once(logged_in: LOGGED_IN, filled: Filled, settings: Any) -> None:
    client = logged_in("operator")
    url = f"{APP}pendingorder/resync/?user={filled.riders_never_tried()[0]}"
    assert "logged in" not in words(page(client, url))
    settings.BYTEMARK_ACCOUNT_API_URL, settings.BYTEMARK_CLIENT_ID = "http://127.0.0.1:9", "made-up"
    assert "is logged in at once, also where the last login was refused" in words(page(client, url))
