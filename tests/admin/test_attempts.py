"""The list of attempts."""

from __future__ import annotations

from collections.abc import Callable

from django.test import Client

from bytemark_sync.models import (
    Order,
    OrderAttempt,
)
from tests.support.admin_data import Filled
from tests.support.admin_pages import APP, words


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
