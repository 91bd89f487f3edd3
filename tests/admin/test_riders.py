"""The list of riders, and who needs a new token."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import (
    Order,
    OrderOutcome,
    OrderToken,
)
from tests.support.admin_data import SECRET, Filled
from tests.support.admin_pages import APP, page, words


def riders(client: Client, query: str = "") -> dict[str, str]:
    """The rows of the riders' list by name; a rider that comes twice fails."""
    html = page(client, f"{APP}portaluser/{query}")
    rows = re.findall(r'<tr class="data-row.*?</tr>', html, re.DOTALL)
    found = {words(row.partition("</th>")[0]): row for row in rows}
    assert len(found) == len(rows)
    return found


class TestRiders:
    def test_a_row_says_what_is_known_of_the_rider(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        client = logged_in("viewer")
        user = filled.riders_left_for(Reason.NO_TOKEN)[0]
        text = words(page(client, f"{APP}portaluser/?q={user}"))
        assert f"rider {user} Missing" in text
        assert "no token" in text
        stored = filled.stored[0].user_id
        assert "stored" in words(page(client, f"{APP}portaluser/?q={stored}"))

    def test_one_row_a_rider_whatever_token_rows_there_are(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        client = logged_in("viewer")
        present_user, blank_user = filled.riders_never_tried()[0], filled.riders_left_for(Reason.NOT_FOUND)[0]
        OrderToken.objects.create(user_id=present_user, token="", status="expired")
        OrderToken.objects.create(user_id=present_user, token=None, status="expired")
        OrderToken.objects.filter(user_id=blank_user).update(token="  ")  # blanks are no token
        nobody = OrderToken.objects.create(user_id=None, token="made-up", status="active")
        rows = {name: words(row) for name, row in riders(client).items()}
        users = set(OrderToken.objects.exclude(user_id=None).values_list("user_id", flat=True))
        assert set(rows) == {f"rider {user_id}" for user_id in users} | {f"no user (token row {nobody.pk})"}
        assert "Present active, expired" in rows[f"rider {present_user}"]
        assert "Missing active" in rows[f"rider {blank_user}"]
        assert f"no user (token row {nobody.pk}) Present active" in rows[f"no user (token row {nobody.pk})"]
        present = riders(client, "?token_is=present")
        missing = riders(client, "?token_is=missing")
        assert not set(present) & set(missing)
        assert set(present) | set(missing) == set(rows)
        tokenless = filled.riders_left_for(Reason.NO_TOKEN)
        assert tokenless
        assert set(missing) == {f"rider {user_id}" for user_id in (blank_user, *tokenless)}
        text = words(page(client, f"{APP}portaluser/{nobody.pk}/change/"))
        assert "No user (token row" in text
        newest = OrderToken.objects.filter(user_id=present_user).order_by("-pk")[0]
        assert "Rows in bytemark_tokens 3" in words(page(client, f"{APP}portaluser/{newest.pk}/change/"))

    def test_who_needs_a_new_token_is_one_card_one_list_and_one_file(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        client = logged_in("viewer")
        reasons = (Reason.TOKEN_REJECTED, Reason.NO_TOKEN)
        needy = set(OrderOutcome.objects.filter(reason__in=reasons).values_list("user_id", flat=True))
        OrderToken.objects.create(user_id=min(needy), token="a-second-row")
        paid = OrderOutcome.objects.filter(user_id=max(needy))  # pending no longer: nobody needs a token for them
        Order.objects.filter(pk__in=paid.values("pk")).update(amount="275")
        needy.remove(max(needy))
        html = page(client, "/admin/")
        assert f"Riders who need a new token {len(needy)}" in words(html)
        url = f"{APP}portaluser/?token_is=needed"
        assert f'href="{url}"' in html
        assert set(riders(client, "?token_is=needed")) == {f"rider {user_id}" for user_id in needy}
        assert f"{APP}portaluser/export/?token_is=needed" in page(client, url)
        response = client.get(f"{APP}portaluser/export/?token_is=needed")
        assert response.streaming
        file = io.StringIO(response.getvalue().decode())
        rows = {int(row["user_id"]): row for row in csv.DictReader(file)}
        assert set(rows) == needy
        for user_id, row in rows.items():
            outcome = OrderOutcome.objects.filter(user_id=user_id).order_by("-last_at")[0]
            assert row["last_outcome"] == outcome.reason
            assert row["pending_orders"] == "2"
            bare = outcome.reason == Reason.NO_TOKEN and user_id != min(needy)
            assert row["token"] == ("missing" if bare else "present")
        assert SECRET not in file

    def test_a_rider_waits_since_the_first_try_of_what_is_pending(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        client = logged_in("viewer")
        paid, waiting = OrderOutcome.objects.filter(user_id=OrderOutcome.objects.values("user_id")[:1])[:2]
        OrderOutcome.objects.filter(pk=paid.pk).update(first_at=timezone.now() - timedelta(days=300))
        Order.objects.filter(pk=paid.pk).update(amount="275")
        file = io.StringIO(client.get(f"{APP}portaluser/export/").getvalue().decode())
        (row,) = (row for row in csv.DictReader(file) if row["user_id"] == str(waiting.user_id))
        assert (row["pending_orders"], row["waiting_since"][:10]) == ("1", waiting.first_at.isoformat()[:10])

    def test_a_page_costs_the_same_however_many_users(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        client = logged_in("viewer")
        page(client, f"{APP}portaluser/")
        with CaptureQueriesContext(connection) as queries:
            page(client, f"{APP}portaluser/")
        assert len(queries) <= 12
