"""The list of runs and a run's page, live and ended."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.test import Client
from django.utils import timezone

from bytemark_sync.models import (
    OrderOutcome,
    RunOutage,
    RunStatus,
    SyncRun,
)
from tests.support.admin_data import Filled
from tests.support.admin_pages import APP, page, words


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

    def test_outages_are_shown_with_beginning_and_end(self, logged_in: Callable[[str], Client]) -> None:
        client = logged_in("viewer")
        began = datetime(2026, 11, 24, 11, 50, tzinfo=UTC)
        run = SyncRun.objects.create(trigger="admin", status=RunStatus.RUNNING, started_at=began)
        url = f"{APP}syncrun/{run.pk}/live/"
        assert "Bytemark did not answer" not in words(page(client, url))
        RunOutage.objects.create(run=run, began_at=began, ended_at=began + timedelta(minutes=2))
        RunOutage.objects.create(run=run, began_at=began + timedelta(hours=1))
        said = words(page(client, url))
        assert "2026-11-24 11:50 UTC 2026-11-24 11:52 UTC 2 min 0 s" in said.replace("\N{NO-BREAK SPACE}", " ")
        assert "2026-11-24 12:50 UTC not yet" in said
        SyncRun.objects.filter(pk=run.pk).update(status="failed", finished_at=began + timedelta(hours=1, minutes=5))
        said = words(page(client, f"{APP}syncrun/{run.pk}/change/")).replace("\N{NO-BREAK SPACE}", " ")
        assert "2026-11-24 12:50 UTC not before the run ended 5 min 0 s" in said
