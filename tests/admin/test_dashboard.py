"""The dashboard: what it counts and says."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta

from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import (
    ClusterBeat,
    OrderOutcome,
)
from bytemark_sync.storage.pending import still_pending
from tests.support.admin_data import Filled
from tests.support.admin_pages import APP, page, words


class TestDashboard:
    def test_it_counts_what_is_pending(self, logged_in: Callable[[str], Client], filled: Filled) -> None:
        ClusterBeat.objects.create(name="host:1", workers=4)
        text = words(page(logged_in("viewer"), "/admin/"))
        assert "Pending orders 28 oldest first tried 3 days ago" in text
        assert "Riders waiting 14" in text
        needy = filled.riders_left_for(Reason.TOKEN_REJECTED, Reason.NO_TOKEN)
        assert needy
        assert f"Riders who need a new token {len(needy)}" in text
        deferred = OrderOutcome.objects.filter(
            next_at__gt=timezone.now()
        ).count()  # none of them beside one that is due
        assert f"Deferred orders {deferred}" in text
        last = filled.runs[-1]
        assert f"Last run {last.get_status_display()} 1 hour ago" in text
        assert f"{last.items_created} items stored" in text
        assert "Next daily run" in text
        assert "Cluster alive" in text

    def test_the_chart_by_reason_shows_every_pending_order(
        self, logged_in: Callable[[str], Client], filled: Filled
    ) -> None:
        html = page(logged_in("viewer"), "/admin/")
        chart = re.search(r'aria-label="Pending orders by reason: ([^"]*)\.', html)
        assert chart
        bars = {name: int(n) for name, n in (bar.rsplit(" ", 1) for bar in chart[1].split(", "))}
        tried = OrderOutcome.objects.filter(still_pending()).count()
        assert 0 < tried < 28
        assert bars["never tried"] == 28 - tried
        assert sum(bars.values()) == 28  # as the card says
        assert "&quot;never tried&quot;" in html  # a bar, as well as words

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
