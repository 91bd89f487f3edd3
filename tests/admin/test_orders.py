"""The list of all orders says the same as their pages."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client

from bytemark_sync.admin.labels import reason_words
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import (
    Order,
    OrderOutcome,
    OrderToken,
)
from tests.support.admin_data import Filled
from tests.support.admin_pages import APP, page, words


class TestOrders:
    @pytest.mark.slow
    def test_the_list_and_the_page_say_the_same_of_an_order(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        outcome = OrderOutcome.objects.filter(reason=Reason.NOT_FOUND)[0]
        Order.objects.filter(pk=outcome.order_id).update(amount="275")  # pending no longer, whatever a run noted
        tokenless = OrderOutcome.objects.filter(reason=Reason.MALFORMED)[0]
        OrderToken.objects.filter(user_id=tokenless.user_id).delete()
        untried = filled.riders_never_tried()[0]
        expected = {
            filled.stored[0].pk: "stored",
            outcome.order_id: "not free",
            tokenless.order_id: "no token row",
            Order.objects.create(order_uuid="no-row", user_id=777_777, amount="0").pk: "no token row",
            Order.objects.create(order_uuid="no-user", user_id=None, amount="0").pk: "no user",
            Order.objects.create(order_uuid="odd", user_id=untried, amount="0.00").pk: "not free",
            **{order.pk: "never tried" for order in filled.pending if order.user_id == untried},
            **{
                each.order_id: reason_words()[each.reason]
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
            assert ("/resync/?user=" in html) == (label in reason_words().values())
