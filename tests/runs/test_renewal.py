"""docs/contract.md#renewal: a token that Bytemark no longer takes is renewed by one login, and the run goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from bytemark_sync.domain.run_scope import AuditScope, Scope
from bytemark_sync.management.output import summary_lines
from bytemark_sync.models import OrderItem, OrderOutcome, OrderToken, RiderLogin, SyncRun
from bytemark_sync.sandbox import FaultRule, Lifetime, Sandbox, World
from bytemark_sync.sandbox.accounts import login_token
from tests.support.renewal import (
    CLIENT,
    MakeRenewing,
    Renewing,
    add_rider,
    details,
    expired_world,
    row_tokens,
    stored_tokens,
)
from tests.support.scenario import listed
from tests.support.servers import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def renewing(sandbox: Callable[..., Sandbox], settings: Any) -> MakeRenewing:
    return lambda world, **options: Renewing(world, sandbox(world, **options), settings)


def test_an_expired_and_a_missing_token_heal_in_one_run(renewing: MakeRenewing) -> None:
    world = expired_world(3)
    add_rider(world, 104, token="")
    add_rider(world, 105, token="good", works=True)
    at = renewing(world, client_ids=[CLIENT])
    report = at.run()
    assert report.status == "succeeded"
    counts = report.totals.counts
    assert (counts.tokens_renewed, counts.users_failed, counts.orders_synced) == (4, 0, 5)
    renewed = {user: login_token(user, 1) for user in (101, 102, 103, 104)}
    assert row_tokens() == renewed | {105: "good"}
    assert stored_tokens() == {f"order-{user}": token for user, token in row_tokens().items()}
    assert at.logins() == {"101": 1, "102": 1, "103": 1, "104": 1}
    assert all(one.authorization is False and one.client_id == CLIENT for one in at.sandbox.logins())
    assert counts.api_requests == at.sandbox.stats().requests + 4
    assert not OrderOutcome.objects.exists()
    assert set(RiderLogin.objects.values_list("user_id", "state")) == {(user, "renewed") for user in renewed}
    at.run()
    assert at.logins() == {"101": 1, "102": 1, "103": 1, "104": 1}


def test_without_renewal_nobody_is_logged_in(renewing: MakeRenewing, settings: Any) -> None:
    at = renewing(expired_world(2))
    settings.BYTEMARK_CLIENT_ID = ""
    assert at.run().status == "failed"
    assert at.logins() == {}
    assert set(details().values()) == {
        (
            "token_rejected",
            "The user's only token was rejected; the last: HTTP 401: the answer carries error 50020 (invalid session)",
        )
    }


@pytest.mark.parametrize("row", ["short", "dead", ""])
def test_the_list_goes_on_from_where_it_stood(renewing: MakeRenewing, row: str) -> None:
    """Whatever other tokens were tried in vain meanwhile."""
    world = World()
    orders = [listed(f"o{n}") for n in range(50)]
    add_rider(world, 101, orders, token=row, on_orders="short").tokens.append("short")
    world.orders = [order for order in world.orders if order.order_uuid in ("o3", "o48")]
    at = renewing(world, lifetimes=[Lifetime(requests=3, of="world")])
    assert at.run().status == "succeeded"
    assert at.pages(101) == [1, 2, 3, 4, 3, 4, 5]  # the fourth is refused; the third is read again, to see if it moved
    assert stored_tokens() == {"o3": "short", "o48": login_token(101, 1)}
    assert at.logins() == {"101": 1}
    assert row_tokens() == {101: login_token(101, 1)}


def test_a_token_that_expires_again_ends_the_user_until_the_next_run(renewing: MakeRenewing) -> None:
    world = World()
    add_rider(world, 101, [listed(f"o{n}") for n in range(60)])
    at = renewing(world, lifetimes=[Lifetime(requests=4)])
    assert at.run().totals.counts.users_failed == 1
    assert at.granted() == {"101": 1}
    assert OrderItem.objects.count() == 40
    assert "Not renewed: the token that a login of this run gave was rejected too" in details()[101][1]
    at.sandbox.set_lifetimes()
    assert at.run().status == "succeeded"  # at once: the token has changed
    assert (OrderItem.objects.count(), at.granted()) == (60, {"101": 2})


def test_the_newest_row_with_an_account_is_the_one_that_is_renewed(renewing: MakeRenewing) -> None:
    world = World()
    rider = add_rider(world, 101, token="older")
    at = renewing(world)
    OrderToken.objects.create(user_id=101, token="newer", email=rider.email, password=rider.password)
    OrderToken.objects.create(user_id=101, token="newest", email=rider.email, password="")
    assert at.run().status == "succeeded"
    tokens = list(OrderToken.objects.order_by("pk").values_list("token", flat=True))
    assert tokens == ["older", login_token(101, 1), "newest"]
    assert [one.user_id for one in at.sandbox.logins()] == [101]


REFUSALS = {
    "wrong_password": (
        FaultRule("refuse", reason="wrong_password"),
        "wrong_password",
        "refuses the e-mail or password",
    ),
    "unknown": (FaultRule("refuse", reason="unknown_account"), "unknown_account", "knows no account with the e-mail"),
    "client": (FaultRule("refuse", reason="client"), "client_refused", "refuses BYTEMARK_CLIENT_ID"),
    "unclear": (FaultRule("refuse", reason="unclear"), "unclear", "does not say clearly why"),
    "no token": (FaultRule("no_token"), "no_token", "holds no token that can be used"),
    "dead token": (FaultRule("dead_token"), "new_token_rejected", "rejected the new token at once"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_login_has_its_own_words_and_is_deferred(renewing: MakeRenewing, name: str) -> None:
    fault, cause, words = REFUSALS[name]
    at = renewing(expired_world(1), faults=[fault])
    report = at.run()
    assert (report.status, report.totals.counts.users_failed) == ("failed", 1)
    reason, detail = details()[101]
    assert reason == "token_rejected"
    assert "Not renewed: " in detail
    assert words in detail
    login = RiderLogin.objects.get()
    assert (login.state, login.cause, login.deferred_days) == ("refused", cause, 1)
    assert login.next_at is not None
    assert timezone.now() < login.next_at < timezone.now() + timedelta(days=1)
    at.run()
    assert at.logins() == {"101": 1}
    at.run(Scope(include_deferred=True))
    assert at.logins() == {"101": 2}
    at.run(Scope(users=(101,)))  # a resync
    assert at.logins() == {"101": 3}
    assert RiderLogin.objects.get().deferred_days == 1
    at.sandbox.set_faults()
    OrderToken.objects.update(password="other")
    at.run()
    assert at.logins() == {"101": 4}
    assert RiderLogin.objects.get().cause == "wrong_password"
    OrderToken.objects.update(password="password-101")
    assert at.run().status == "succeeded"


def test_a_token_missing_and_a_login_refused_is_no_token(renewing: MakeRenewing) -> None:
    world = World()
    add_rider(world, 101, token="")
    add_rider(world, 102, token="", account=False)
    at = renewing(world, faults="refuse:reason=wrong_password")
    at.run()
    found = details()
    assert {user: reason for user, (reason, _) in found.items()} == {101: "no_token", 102: "no_token"}
    assert found[101][1].startswith(
        "The user has no token, on no order and not in bytemark_tokens. Not renewed: Bytemark refuses the e-mail"
    )
    assert found[102][1].endswith("Not renewed: the portal keeps no e-mail and password for the rider.")
    at.run()
    assert at.logins() == {"101": 1}
    assert at.sandbox.stats().requests == 0


def test_a_client_that_is_refused_stops_logins_and_says_so_once(
    renewing: MakeRenewing, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    at = renewing(expired_world(12), client_ids=["another"])
    report = at.run(workers=8)
    assert at.sandbox.stats().logins.requests == 5
    words = "Logins are stopped, for those of 5 riders in a row were refused: Bytemark refuses BYTEMARK_CLIENT_ID"
    assert report.logins_stopped.startswith(words)
    assert SyncRun.objects.get().logins_stopped == report.logins_stopped
    assert sum(words in record.getMessage() for record in caplog.records if record.name.endswith("renewal")) == 1
    assert sum("Logins are stopped" in detail for _, detail in details().values()) == 7
    at.run()
    assert at.sandbox.stats().logins.requests == 5
    settings.BYTEMARK_CLIENT_ID = "another"
    report = at.run()
    assert (report.status, report.logins_stopped, report.totals.counts.tokens_renewed) == ("succeeded", "", 12)


def test_a_wrong_password_stops_nobody_elses_login(renewing: MakeRenewing) -> None:
    at = renewing(expired_world(9), faults=[FaultRule("refuse", reason="wrong_password", users=list(range(101, 109)))])
    report = at.run()
    assert (report.logins_stopped, report.totals.counts.tokens_renewed) == ("", 1)


def test_an_account_api_that_is_down_costs_attempts_and_defers_nothing(renewing: MakeRenewing) -> None:
    world = expired_world(2)
    add_rider(world, 103, token="good", works=True)
    at = renewing(world, faults=[FaultRule("status", on="login", status=503)])
    report = at.run()
    assert at.logins() == {"101": 5, "102": 5}
    assert {user: reason for user, (reason, _) in details().items()} == {101: "api_error", 102: "api_error"}
    assert "(failed requests: 5)" in details()[101][1]
    assert report.totals.counts.orders_synced == 1
    assert not OrderOutcome.objects.exclude(next_at=None).exists()
    at.sandbox.set_faults()
    assert at.run().status == "succeeded"


def test_a_login_that_fails_now_and_then_is_repeated(renewing: MakeRenewing) -> None:
    at = renewing(expired_world(2), faults=[FaultRule("status", on="login", status=500, times_per_user=2)])
    assert at.run().status == "succeeded"
    assert (at.logins(), at.granted()) == ({"101": 3, "102": 3}, {"101": 1, "102": 1})


@pytest.mark.slow
def test_in_an_outage_of_all_of_bytemark_logins_wait_too(renewing: MakeRenewing) -> None:
    """Although only logins fail in it: somebody who was answered before is asked for once more."""
    world = World()
    add_rider(world, 101, token="good", works=True)
    add_rider(world, 102)
    add_rider(world, 103)
    outage = FaultRule("outage", form="status", status=503, after_requests=3, seconds=2)
    at = renewing(world, faults=[outage])
    report = at.run(workers=1)
    assert (report.status, report.totals.counts.tokens_renewed) == ("succeeded", 2)
    assert at.granted() == {"102": 1, "103": 1}
    assert max(at.logins().values()) >= 5
    assert not OrderOutcome.objects.exists()


def test_an_audit_renews_as_a_sync_does(renewing: MakeRenewing) -> None:
    at = renewing(expired_world(2))
    assert at.run().totals.counts.tokens_renewed == 2
    at.sandbox.end_tokens()
    report = at.run(AuditScope())
    assert (report.totals.counts.tokens_renewed, report.totals.counts.users_failed, report.found.total) == (2, 0, 0)
    assert row_tokens() == {user: login_token(user, 2) for user in (101, 102)}


def test_a_dry_run_logs_nobody_in_and_counts_who_would_be(renewing: MakeRenewing) -> None:
    world = expired_world(3)
    add_rider(world, 104, account=False)
    at = renewing(world)
    report = at.run(dry_run=True)
    assert (report.totals.counts.tokens_renewed, report.totals.counts.users_failed) == (3, 4)
    assert any(line.split()[:4] == ["Tokens", "to", "renew", "3"] for line in summary_lines(report, dry_run=True))
    assert at.logins() == {}
    assert [model.objects.count() for model in (RiderLogin, SyncRun, OrderOutcome)] == [0, 0, 0]


@pytest.mark.slow
def test_a_portal_that_renews_meanwhile_wins(renewing: MakeRenewing) -> None:
    """Its token is tried first; ours is written over it only where it is rejected and ours works."""
    world = World()
    add_rider(world, 101).tokens.append("portals")
    add_rider(world, 102)
    at = renewing(world, keeps_older_tokens=True, faults=[FaultRule("latency", on="login", seconds=1.0)])

    def portal() -> None:
        wait_for(lambda: at.sandbox.stats().logins.concurrent > 0, 30, "a login is under way", every=0.01)
        OrderToken.objects.filter(user_id=101).update(token="portals")
        OrderToken.objects.filter(user_id=102).update(token="useless")
        connection.close()

    thread = threading.Thread(target=portal)
    thread.start()
    assert at.run().status == "succeeded"
    thread.join()
    assert row_tokens() == {101: "portals", 102: login_token(102, 1)}
    assert stored_tokens() == {"order-101": "portals", "order-102": login_token(102, 1)}
