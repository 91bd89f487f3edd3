"""Bytemark's limit on the pages: the pace, who shares it, what was refused, and when Bytemark did not answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from bytemark_sync.bytemark.pace_state import Report
from bytemark_sync.models import LimitedMinute, RunOutage, RunStatus, SyncRun
from bytemark_sync.sandbox import Sandbox
from bytemark_sync.storage.pace_store import DatabasePace
from bytemark_sync.times import dated
from tests.support.admin_pages import APP, page, words
from tests.support.scenario import simple_world

LIMIT = f"{APP}syncrun/limit/"


def said(client: Client, url: str = LIMIT) -> str:
    return unescape(words(page(client, url))).replace("\N{NO-BREAK SPACE}", " ")


def learn(pause: float = 0.0) -> None:
    """Two processes share a pace of 20 requests a second."""
    store = DatabasePace()
    first = Report("web-1:42:a1b2c3", refused=3, counted=20, counted_seconds=1.0, had=20.0, wanted=9, pause=pause)
    store.exchange(first, None)
    store.exchange(Report("web-2:43:d4e5f6", generation=1, wanted=5), None)


@pytest.mark.django_db
def test_without_a_limit_the_pages_say_so(logged_in: Callable[[str], Client]) -> None:
    client = logged_in("viewer")
    text = said(client)
    assert "Pace now no limit Learnt nothing was refused so far Ceiling - Fixed limit not set" in text
    assert "Paused until not paused Processes that share it 0" in text
    assert "No request was made under a limit in the last hour." in text
    for absent in ("Who shares it now", "Refused requests by minute", "Bytemark did not answer"):
        assert absent not in text
    assert "Bytemark's limit none known nothing was refused so far" in said(client, "/admin/")


@pytest.mark.django_db
def test_what_was_learnt_and_who_shares_it_is_shown(logged_in: Callable[[str], Client], settings: Any) -> None:
    client = logged_in("viewer")
    learn()
    text = said(client)
    assert "Pace now 20 a second Learnt 20 a second Ceiling still searched for Fixed limit not set" in text
    assert "Processes that share it 2" in text
    assert re.search(r"Process Wants Last seen web-1:42 \d+ a second now web-2:43 \d+ a second now", text)
    assert "Bytemark's limit 20 requests a second shared by 2 processes now" in said(client, "/admin/")
    settings.BYTEMARK_REQUESTS_PER_SECOND = 7.5
    assert "Pace now 7.5 a second Learnt 20 a second Ceiling still searched for Fixed limit 7.5 a second" in said(
        client
    )
    assert "7.5 requests a second never above 7.5, shared by 2 processes now" in said(client, "/admin/")


@pytest.mark.django_db
def test_a_pause_is_shown_with_its_end(logged_in: Callable[[str], Client]) -> None:
    learn(pause=600)
    ends = {dated(timezone.now() + timedelta(seconds=600 + late)) for late in (-2, 2)}
    for url in (LIMIT, "/admin/"):
        text = said(logged_in("viewer"), url)
        assert any(f"aused until {at}" in text for at in ends), url


@pytest.mark.django_db
def test_minutes_are_added_up_over_the_processes(logged_in: Callable[[str], Client]) -> None:
    run = SyncRun.objects.create(trigger="admin", status=RunStatus.RUNNING, rate_limited=30)
    other = SyncRun.objects.create(trigger="admin", status=RunStatus.RUNNING)
    now = timezone.now().replace(second=0, microsecond=0)
    for number, (of, ago, requests, refused) in enumerate(
        [
            (run, 2, 900, 20),
            (run, 2, 50, 0),
            (run, 1, 600, 0),
            (other, 2, 50, 10),
            (run, 90, 4, 1),
            (run, 60 * 24 * 8, 9, 9),
        ]
    ):
        minute = now - timedelta(minutes=ago)
        LimitedMinute.objects.create(run=of, source=str(number), minute=minute, requests=requests, refused=refused)
    client = logged_in("viewer")
    words_of_chart = "1,600 requests in the last hour, 30 of them refused (1.9%)."
    for url in (LIMIT, "/admin/"):
        assert f'aria-label="Requests per minute: {words_of_chart}"' in page(client, url)
        assert words_of_chart in said(client, url)
    at = dated(now - timedelta(minutes=2))
    text = said(client)
    assert f"{at} 1,000 30 3.0% {dated(now - timedelta(minutes=90))} 4 1 25.0%" in text
    assert dated(now - timedelta(minutes=1)) not in text
    of_the_run = said(client, f"{APP}syncrun/{run.pk}/change/")
    assert f"{at} 950 20 2.1%" in of_the_run
    assert "Refused (429) 30" in of_the_run


@pytest.mark.django_db
def test_an_outage_that_lasts_is_on_the_dashboard(logged_in: Callable[[str], Client]) -> None:
    client = logged_in("viewer")
    since = timezone.now() - timedelta(minutes=5)
    run = SyncRun.objects.create(trigger="admin", status=RunStatus.RUNNING, silent_since=since)
    RunOutage.objects.create(run=run, began_at=since)
    assert f"Bytemark not answering since {dated(since)}" in said(client, "/admin/")
    assert "Bytemark does not answer at present." in said(client)
    assert f"run {run.pk} {dated(since)} not yet 5 min" in said(client)
    SyncRun.objects.filter(pk=run.pk).update(silent_since=None)
    assert "not answering" not in said(client, "/admin/")


@pytest.mark.django_db
def test_while_a_run_is_under_way_the_pace_is_followed(logged_in: Callable[[str], Client]) -> None:
    asks = f'hx-get="{LIMIT}live/" hx-trigger="every 2s"'
    viewer = logged_in("viewer")
    assert asks not in page(viewer, LIMIT)
    run = SyncRun.objects.create(trigger="admin", status=RunStatus.RUNNING)
    learn()
    assert asks in page(viewer, LIMIT)
    assert asks in page(viewer, f"{LIMIT}live/")
    assert "Pace now 20 a second" in said(viewer, f"{LIMIT}live/")
    assert "no-store" in viewer.get(f"{LIMIT}live/")["Cache-Control"]
    SyncRun.objects.filter(pk=run.pk).update(status=RunStatus.SUCCEEDED)
    assert "hx-get" not in page(viewer, f"{LIMIT}live/")
    assert Client().get(f"{LIMIT}live/")["HX-Refresh"] == "true"
    assert viewer.post(f"{LIMIT}live/").status_code == 405


@pytest.mark.django_db
def test_it_is_for_whoever_may_see_the_runs_and_changes_nothing(
    client: Client, logged_in: Callable[[str], Client]
) -> None:
    assert client.get(LIMIT).status_code == 302
    client.force_login(
        User.objects.create(username="nobody", is_staff=True), backend="django.contrib.auth.backends.ModelBackend"
    )
    page(client, LIMIT, 403)
    page(client, f"{LIMIT}live/", 403)
    assert "Bytemark&#x27;s limit" not in page(client, "/admin/")
    assert logged_in("superuser").post(LIMIT).status_code == 405


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_run_against_a_limit_with_an_outage_leaves_its_figures_on_the_pages(
    logged_in: Callable[[str], Client], sandbox: Callable[..., Sandbox], settings: Any
) -> None:
    settings.BYTEMARK_BACKOFF_BASE = 0.2
    world = simple_world(users=100, orders=1)
    world.fill_portal()
    box = sandbox(world)
    settings.BYTEMARK_CUSTOMER_API_URL = box.url
    call_command("sync_order_items", limit=20, verbosity=0)
    assert not LimitedMinute.objects.exists()
    box.set_limit("rate=40,burst=10")
    box.set_faults("outage:after_requests=20,seconds=5")
    call_command("sync_order_items", verbosity=0)
    run = SyncRun.objects.latest("pk")
    assert (run.status, run.orders_synced) == (RunStatus.SUCCEEDED, 80)
    assert run.rate_limited > 0
    client = logged_in("viewer")
    outage = run.outages.get()
    assert outage.ended_at is not None
    began_and_ended = f"{dated(outage.began_at)} {dated(outage.ended_at)}"
    for url in (LIMIT, f"{APP}syncrun/{run.pk}/change/"):
        assert began_and_ended in said(client, url), url
    refused = sum(LimitedMinute.objects.values_list("refused", flat=True))
    assert refused == run.rate_limited
    requests = sum(LimitedMinute.objects.values_list("requests", flat=True))
    assert run.api_requests / 2 < requests <= run.api_requests  # none of before the first refusal
    assert f"{refused:,} of them refused" in said(client)
    assert f"Refused (429) {refused:,}" in said(client, f"{APP}syncrun/{run.pk}/change/")
    assert re.search(r"Bytemark's limit [\d.,]+ requests a second", said(client, "/admin/"))
    assert "Processes that share it 0" in said(client)  # it has left
