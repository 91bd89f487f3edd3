"""What each screen says, and what it costs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bytemark_sync.admin.labels import REASON_WORDS
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import (
    ClusterBeat,
    Order,
    OrderAttempt,
    OrderOutcome,
    OrderToken,
    RunStatus,
    StoredOrder,
    SyncRun,
)
from bytemark_sync.storage.pending import pending_orders
from tests.support.admin_data import SECRET, Filled
from tests.support.admin_pages import APP, listed, page, words


def riders(client: Client, query: str = "") -> dict[str, str]:
    """The rows of the riders' list by name; a rider that comes twice fails."""
    html = page(client, f"{APP}portaluser/{query}")
    rows = re.findall(r'<tr class="data-row.*?</tr>', html, re.DOTALL)
    found = {words(row.partition("</th>")[0]): row for row in rows}
    assert len(found) == len(rows)
    return found


class TestDashboard:
    def test_it_counts_what_is_stuck(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        ClusterBeat.objects.create(name="host:1", workers=4)
        text = words(page(logged_in("viewer"), "/admin/"))
        assert "Pending orders 28 oldest first tried 3 days ago" in text
        assert "Riders waiting 14" in text
        assert "Riders who need a new token 4" in text
        deferred = OrderOutcome.objects.filter(
            next_at__gt=timezone.now()
        ).count()  # none of them beside one that is due
        assert f"Deferred orders {deferred}" in text
        last = filled.runs[-1]
        assert f"Last run {last.get_status_display()} 1 hour ago" in text
        assert f"{last.items_created} items stored" in text
        assert "Next daily run" in text
        assert "Cluster alive" in text

    def test_a_cluster_that_fell_silent_is_said(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        client = logged_in("viewer")
        assert "Cluster not running start manage.py qcluster" in words(page(client, "/admin/"))
        ClusterBeat.objects.create(name="host:1", heartbeat_at=timezone.now() - timedelta(hours=3))
        assert "Cluster not running last sign of life 3 hours ago" in words(page(client, "/admin/"))

    def test_a_new_installation_says_what_to_do_first(self, logged_in: Callable[[str], Client]) -> None:
        text = words(page(logged_in("viewer"), "/admin/"))
        assert "No run yet: what to do first" in text
        assert "BYTEMARK_CUSTOMER_API_URL" in text

    def test_at_most_fifteen_queries(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        client = logged_in("manager")
        page(client, "/admin/")
        with CaptureQueriesContext(connection) as queries:
            page(client, "/admin/")
        assert len(queries) <= 15

    def test_days_are_those_of_the_time_zone(
        self, logged_in: Callable[[str], Client], filled: Filled, settings: object
    ) -> None:
        with timezone.override("Asia/Kathmandu"):
            html = page(logged_in("viewer"), "/admin/")
        assert "Items stored per day" in html

    def test_who_may_see_nothing_is_shown_nothing(self, client: Client, filled: Filled) -> None:
        from django.contrib.auth.models import User

        client.force_login(
            User.objects.create(username="nobody", is_staff=True),
            backend="django.contrib.auth.backends.ModelBackend",
        )
        text = words(page(client, "/admin/"))
        assert "Pending orders" not in text
        assert "28" not in text
        for name in ("pendingorder", "order", "orderitem", "portaluser", "syncrun", "orderattempt"):
            assert client.get(f"{APP}{name}/").status_code == 403
        assert client.get(f"{APP}orderitem/export/").status_code == 403
        assert client.get(f"{APP}syncrun/{filled.runs[0].pk}/live/").status_code == 403


class TestPendingOrders:
    def test_it_lists_what_the_contract_calls_pending(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        Order.objects.create(order_uuid="no-user", user_id=777_777, amount="0")
        OrderToken.objects.create(user_id=5001, token="a-second-row")
        html = page(logged_in("operator"), f"{APP}pendingorder/?_facets=True")
        assert "not found (" not in html, "no choice of a filter is counted while the page waits"
        keys = listed(html)
        assert sorted(keys) == sorted(pending_orders().values_list("pk", flat=True))
        assert len(keys) == 28

    @pytest.mark.parametrize("reason", [*Reason])
    def test_the_filter_by_reason(self, logged_in: Callable[[str], Client], filled: Filled, reason: Reason) -> None:
        html = page(logged_in("operator"), f"{APP}pendingorder/?reason={reason}")
        wanted = OrderOutcome.objects.filter(reason=reason).values_list("order_id", flat=True)
        assert sorted(listed(html)) == sorted(wanted)
        assert html.count(f"{REASON_WORDS[reason]}\n") >= len(wanted)

    def test_never_tried_and_ages(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        client = logged_in("operator")
        tried = set(OrderOutcome.objects.values_list("order_id", flat=True))
        untried = {order.pk for order in filled.pending} - tried
        assert set(listed(page(client, f"{APP}pendingorder/?reason=never_tried"))) == untried
        old = OrderOutcome.objects.filter(first_at__lt=timezone.now() - timedelta(days=1))
        assert set(listed(page(client, f"{APP}pendingorder/?age=day"))) == {each.pk for each in old}
        assert listed(page(client, f"{APP}pendingorder/?age=month")) == []

    def test_deferred_orders_have_a_filter_and_their_card_leads_there(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        client = logged_in("operator")
        now = timezone.now()
        waiting = OrderOutcome.objects.filter(next_at__gt=now).order_by("pk")
        over, beside, *_ = waiting.filter(reason=Reason.NOT_FOUND)
        OrderOutcome.objects.filter(pk=over.pk).update(next_at=now - timedelta(hours=2))  # its time has come
        assert over.user_id == beside.user_id  # and so the run takes this one too
        # A user whose only other order is no longer pending waits all the same.
        alone = waiting.filter(reason=Reason.TOKEN_REJECTED)[0]
        Order.objects.create(order_uuid="paid", user_id=alone.user_id, amount="275")
        expected = {each.pk for each in OrderOutcome.objects.filter(next_at__gt=now).exclude(user_id=over.user_id)}
        assert alone.pk in expected
        html = page(client, "/admin/")
        assert f"Deferred orders {len(expected)} " in words(html)
        assert f'href="{APP}pendingorder/?deferred=yes"' in html
        assert set(listed(page(client, f"{APP}pendingorder/?deferred=yes"))) == expected
        rows = re.findall(r'<tr class="data-row.*?</tr>', page(client, f"{APP}pendingorder/"), re.DOTALL)
        said = {listed(row)[0]: words(row) for row in rows}
        assert {pk for pk, row in said.items() if "not before" in row} == expected
        assert {pk for pk, row in said.items() if "next run" in row} == set(said) - expected
        for pk, there in (
            (alone.pk, "Next try not before"),
            (over.pk, "with the next run"),
            (beside.pk, "with the next run"),
        ):
            assert there in words(page(client, f"{APP}pendingorder/{pk}/change/"))

    def test_search_is_exact(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        client = logged_in("operator")
        order = filled.pending[5]
        assert order.order_uuid
        for term in (order.order_uuid, order.order_uuid.upper(), f"  {order.order_uuid} "):
            assert listed(page(client, f"{APP}pendingorder/?q={term}")) == [order.pk]
        both = [each.pk for each in filled.pending if each.user_id == order.user_id]
        assert sorted(listed(page(client, f"{APP}pendingorder/?q={order.user_id}"))) == both
        for nothing in (order.order_uuid[:8], "9" * 30, "%C3%BC", "'"):
            assert "Nothing matches this search or filter." in page(client, f"{APP}pendingorder/?q={nothing}")

    def test_the_page_of_an_order_tells_its_story(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        client = logged_in("operator")
        outcome = OrderOutcome.objects.filter(reason=Reason.TOKEN_REJECTED, attempts__gt=1).first()
        assert outcome
        html = page(client, f"{APP}pendingorder/{outcome.order_id}/change/")
        text = words(html)
        assert "only where bytemark_tokens.token is empty" in text
        assert "the new login is picked up automatically by the next run" in text
        assert text.count("HTTP 401, code 50020: invalid session.") == outcome.attempts + 1
        assert f"resync/?user={outcome.user_id}" in html

    def test_back_leads_to_the_filtered_list_without_scripts_too(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        client = logged_in("operator")
        filters = "?reason=not_found&o=1"
        html = page(client, f"{APP}pendingorder/{filters}")
        leads_to = re.findall(r'<th[^>]*><a href="([^"]+/change/[^"]*)"', html)[0].replace("&amp;", "&")
        assert f'href="{APP}pendingorder/?reason=not_found&amp;o=1" data-back' in page(client, leads_to)
        url = f"http://testserver{APP}pendingorder/{filters}"
        asked = client.get(f"{APP}pendingorder/resync/?reason=not_found", headers={"referer": url}).content.decode()
        assert f'href="{APP}pendingorder/?reason=not_found&amp;o=1"' in asked

    def test_a_stored_order_leaves_the_list_but_keeps_its_page(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        client = logged_in("operator")
        order = filled.stored[0]
        text = words(page(client, f"{APP}order/{order.pk}/change/"))
        assert "Its passes are in the portal." in text
        stored = StoredOrder.objects.get(order=order)
        assert f"run {stored.run_id}" in text
        assert client.get(f"{APP}pendingorder/{order.pk}/change/").status_code == 302


class TestOrders:
    def test_the_list_and_the_page_say_the_same_of_an_order(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        outcome = OrderOutcome.objects.filter(reason=Reason.NOT_FOUND)[0]
        Order.objects.filter(pk=outcome.order_id).update(amount="275")  # pending no longer, whatever a run noted
        tokenless = OrderOutcome.objects.filter(reason=Reason.MALFORMED)[0]
        OrderToken.objects.filter(user_id=tokenless.user_id).delete()
        expected = {
            filled.stored[0].pk: "stored",
            outcome.order_id: "not free",
            tokenless.order_id: "no token row",
            Order.objects.create(order_uuid="no-row", user_id=777_777, amount="0").pk: "no token row",
            Order.objects.create(order_uuid="no-user", user_id=None, amount="0").pk: "no user",
            Order.objects.create(order_uuid="odd", user_id=5000, amount="0.00").pk: "not free",
            **{order.pk: "never tried" for order in filled.pending if order.user_id == 5000},
            **{
                each.order_id: REASON_WORDS[each.reason]
                for each in OrderOutcome.objects.exclude(user_id=tokenless.user_id).exclude(pk=outcome.pk)
            },
        }
        client = logged_in("operator")
        for pk, label in expected.items():
            order = Order.objects.get(pk=pk)
            changes = client.get(f"{APP}order/?q={order.order_uuid}").context["cl"]
            assert [row.state.label for row in changes.result_list if row.pk == pk] == [label]
            html = page(client, f"{APP}order/{pk}/change/")
            state = re.search(r'<p class="mb-2">(.*?)</p>', html, re.DOTALL)
            assert state
            assert words(state[1]) == label
            assert ("/resync/?user=" in html) == (label in REASON_WORDS.values())


class TestAttempts:
    def test_an_attempt_whose_order_is_gone_is_counted_and_shown(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        attempt = OrderAttempt.objects.order_by("pk")[0]
        Order.objects.filter(pk=attempt.order_id).delete()
        response = logged_in("viewer").get(f"{APP}orderattempt/?run={attempt.run_id}")
        changes = response.context["cl"]
        assert attempt.pk in {row.pk for row in changes.result_list}
        assert changes.result_count == len(changes.result_list)
        assert f"order {attempt.order_id}" in words(response.content.decode())


class TestRuns:
    def test_a_live_run_is_followed_and_an_ended_one_is_not(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        client = logged_in("viewer")
        run = SyncRun.objects.create(
            trigger="admin", status=RunStatus.RUNNING, users_planned=200, users=50, started_at=timezone.now()
        )
        url = f"{APP}syncrun/{run.pk}/"
        for html in (page(client, f"{url}change/"), page(client, f"{url}live/")):
            assert f'hx-get="{url}live/"' in html
            assert 'hx-trigger="every 2s"' in html
            assert 'aria-valuenow="25"' in html
        assert "no-store" in client.get(f"{url}live/")["Cache-Control"]
        ended = SyncRun.objects.filter(pk=run.pk)
        ended.update(status=RunStatus.PARTIAL, finished_at=timezone.now(), users=200, host="box-7", slack="sent")
        html = page(client, f"{url}live/")
        assert "hx-get" not in html
        for part in ("run-figures", "run-actions", "run-request", "messages"):
            assert re.search(f'id="{part}"[^>]* hx-swap-oob="(true|innerHTML)"', html), part
        assert f"Run {run.pk} has ended: Partial." in words(html)
        assert "Host box-7 Slack result sent" in words(html)
        assert "Partial" in html

    def test_stop_is_left_in_place_while_it_can_be_pressed(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        client = logged_in("operator")
        run = SyncRun.objects.create(trigger="admin", status=RunStatus.RUNNING, started_at=timezone.now())
        url = f"{APP}syncrun/{run.pk}/"
        assert f'href="{url}stop/"' in page(client, f"{url}change/")
        assert "run-actions" not in page(client, f"{url}live/")
        SyncRun.objects.filter(pk=run.pk).update(stop_requested=True)
        assert 'id="run-actions"' in page(client, f"{url}live/")

    def test_the_message_to_slack_is_waited_for_but_not_for_ever(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        client = logged_in("viewer")
        run = SyncRun.objects.create(trigger="admin", status=RunStatus.FAILED, finished_at=timezone.now())
        url = f"{APP}syncrun/{run.pk}/"
        again = f'hx-get="{url}live/?part=request"'
        for slack in ("", "being sent"):
            SyncRun.objects.filter(pk=run.pk).update(slack=slack)
            for path in ("change/", "live/", "live/?part=request"):
                html = page(client, url + path)
                assert again in html
                assert f'hx-get="{url}live/"' not in html
        SyncRun.objects.filter(pk=run.pk).update(slack="sent")
        assert "hx-get" not in page(client, f"{url}live/?part=request")
        SyncRun.objects.filter(pk=run.pk).update(slack="", finished_at=timezone.now() - timedelta(minutes=5))
        assert "hx-get" not in page(client, f"{url}live/?part=request")

    def test_a_page_left_open_over_a_logout_goes_to_the_login(self, client: Client, filled: Filled) -> None:
        response = client.get(f"{APP}syncrun/{filled.runs[0].pk}/live/")
        assert response["HX-Refresh"] == "true"
        assert response.content == b""

    def test_failures_by_reason_lead_to_their_orders(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        client = logged_in("viewer")
        run = filled.runs[-1]
        html = page(client, f"{APP}syncrun/{run.pk}/change/")
        link = f"{APP}orderattempt/?run={run.pk}&amp;reason=api_error"
        assert link in html
        orders = page(client, link.replace("&amp;", "&"))
        expected = OrderOutcome.objects.filter(last_run=run, reason="api_error").values_list("order_id", flat=True)
        assert {int(pk) for pk in re.findall(r"/order/(\d+)/change/", orders)} == set(expected)
        text = words(html)
        assert "ok" in text
        assert "Median 102 ms 95th percentile 246 ms" in text

    def test_stop_asks_once_and_notes_who(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        client, other = logged_in("operator"), logged_in("manager")
        run = SyncRun.objects.create(
            trigger="schedule", status=RunStatus.RUNNING, started_at=timezone.now(), users_planned=9, users=4
        )
        url, change = f"{APP}syncrun/{run.pk}/stop/", f"{APP}syncrun/{run.pk}/change/"
        assert f'href="{url}"' in page(client, change)
        asked = words(page(client, url))
        assert f"Stop run {run.pk}? 4 of 9 users" in asked
        assert "What has been fetched is stored" in asked
        assert client.put(url).status_code == 405
        run.refresh_from_db()
        assert not run.stop_requested

        assert "The run stops within seconds" in client.post(url, follow=True).content.decode()
        run.refresh_from_db()
        assert (run.stop_requested, run.stopped_by) == (True, "some-operator")
        html = page(other, change)
        assert "stopping" in html
        assert "Stopped by some-operator" in words(html)
        assert url not in html
        for response in (other.post(url, follow=True), other.get(url, follow=True)):
            assert "was asked to stop before" in response.content.decode()
        run.refresh_from_db()
        assert run.stopped_by == "some-operator"

    def test_only_an_operator_is_asked(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        run = SyncRun.objects.create(trigger="schedule", status=RunStatus.RUNNING, started_at=timezone.now())
        page(logged_in("viewer"), f"{APP}syncrun/{run.pk}/stop/", 403)

    def test_an_error_of_the_run_is_said_without_being_markup(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        run = SyncRun.objects.create(trigger="command", status=RunStatus.FAILED, error="<script>x</script>")
        html = page(logged_in("viewer"), f"{APP}syncrun/{run.pk}/change/")
        assert "&lt;script&gt;x&lt;/script&gt;" in html
        assert "<script>x" not in html


class TestRiders:
    def test_a_row_says_what_is_known_of_the_rider(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        client = logged_in("viewer")
        text = words(page(client, f"{APP}portaluser/?q=5005"))
        assert "rider 5005 Missing" in text
        assert "no token" in text
        stored = filled.stored[0].user_id
        assert "stored" in words(page(client, f"{APP}portaluser/?q={stored}"))

    def test_one_row_a_rider_whatever_token_rows_there_are(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        client = logged_in("viewer")
        OrderToken.objects.create(user_id=5000, token="", status="expired")
        OrderToken.objects.create(user_id=5000, token=None, status="expired")
        OrderToken.objects.filter(user_id=5001).update(token="  ")  # blanks are no token
        nobody = OrderToken.objects.create(user_id=None, token="made-up", status="active")
        rows = {name: words(row) for name, row in riders(client).items()}
        users = set(OrderToken.objects.exclude(user_id=None).values_list("user_id", flat=True))
        assert set(rows) == {f"rider {user_id}" for user_id in users} | {f"no user (token row {nobody.pk})"}
        assert "Present active, expired" in rows["rider 5000"]
        assert "Missing active" in rows["rider 5001"]
        assert f"no user (token row {nobody.pk}) Present active" in rows[f"no user (token row {nobody.pk})"]
        present = riders(client, "?token_is=present")
        missing = riders(client, "?token_is=missing")
        assert not set(present) & set(missing)
        assert set(present) | set(missing) == set(rows)
        assert set(missing) == {"rider 5001", "rider 5005", "rider 5012"}
        text = words(page(client, f"{APP}portaluser/{nobody.pk}/change/"))
        assert "No user (token row" in text
        newest = OrderToken.objects.filter(user_id=5000).order_by("-pk")[0]
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
