"""The list of pending orders, its filters, and an order's page."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from bytemark_sync.admin.labels import reason_words
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import (
    Order,
    OrderOutcome,
    OrderToken,
    StoredOrder,
)
from bytemark_sync.storage.pending import pending_orders
from tests.support.admin_data import Filled
from tests.support.admin_pages import APP, listed, page, words


class TestPendingOrders:
    def test_it_lists_what_the_contract_calls_pending(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        Order.objects.create(order_uuid="no-user", user_id=777_777, amount="0")
        OrderToken.objects.create(user_id=5001, token="a-second-row")
        html = page(logged_in("operator"), f"{APP}pendingorder/?_facets=True")
        assert "not found (" not in html, "no choice of a filter is counted while the page waits"
        keys = listed(html)
        assert sorted(keys) == sorted(pending_orders().values_list("pk", flat=True))
        assert len(keys) == 28

    @pytest.mark.slow
    @pytest.mark.parametrize("reason", [*Reason])
    def test_the_filter_by_reason(self, logged_in: Callable[[str], Client], filled: Filled, reason: Reason) -> None:
        html = page(logged_in("operator"), f"{APP}pendingorder/?reason={reason}")
        wanted = OrderOutcome.objects.filter(reason=reason).values_list("order_id", flat=True)
        assert sorted(listed(html)) == sorted(wanted)
        assert html.count(f"{reason_words()[reason]}\n") >= len(wanted)

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
