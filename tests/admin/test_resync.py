"""The button that mends it: asked for on a page, queued by POST, for those who may, once a user."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from django.test import Client

from bytemark_sync.admin.resync import resync_url
from bytemark_sync.domain.reasons import Reason, user_failures
from bytemark_sync.models import OrderOutcome, OrderToken, RunStatus, SyncBatch, SyncRun
from tests.support.admin_data import Filled

APP = "/admin/bytemark_sync/"
RESYNC = f"{APP}pendingorder/resync/"


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def newest() -> SyncRun:
    run = SyncRun.objects.order_by("-pk").first()
    assert run
    return run


def test_it_says_how_many_and_queues_only_by_post(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client = logged_in("operator")
    before = SyncRun.objects.count()
    page = client.get(f"{RESYNC}?user=5001&user=5002").content.decode()
    assert "2 users, 4 pending orders" in page
    assert SyncRun.objects.count() == before

    response = client.post(f"{RESYNC}?user=5001&user=5002", follow=True)
    run = newest()
    assert (run.status, run.trigger, run.requested_by) == (RunStatus.QUEUED, "admin", "some-operator")
    assert run.scope == {"users": [5001, 5002]}
    assert response.redirect_chain[-1][0] == f"{APP}syncrun/{run.pk}/change/"
    assert f'href="{APP}syncrun/{run.pk}/change/"' in response.content.decode()  # the message's link


def test_one_run_a_user_at_a_time(logged_in: Callable[[str], Client], filled: Filled) -> None:
    first, second = logged_in("operator"), logged_in("manager")
    first.post(f"{RESYNC}?user=5001")
    run = newest()
    page = second.get(f"{RESYNC}?user=5001&user=5002").content.decode()
    assert "User 5001 is already being synced by" in page
    assert f"run {run.pk}" in page

    again = second.post(f"{RESYNC}?user=5001", follow=True).content.decode()
    assert newest() == run
    assert "User 5001 is already being synced by" in again
    second.post(f"{RESYNC}?user=5001&user=5002")
    assert newest().scope == {"users": [5002]}
    users = second.get(f"{APP}portaluser/?q=5001").content.decode()
    assert f">run {run.pk}</a>" in users


def test_the_same_filter_pressed_twice_is_one_run(logged_in: Callable[[str], Client], filled: Filled) -> None:
    first, second = logged_in("operator"), logged_in("manager")
    first.post(f"{RESYNC}?reason=not_found")
    run = newest()
    response = second.post(f"{RESYNC}?reason=not_found", follow=True)
    assert newest() == run
    assert response.redirect_chain[-1][0] == f"{APP}syncrun/{run.pk}/change/"
    assert "is already running or queued for the same orders" in response.content.decode()


def test_without_the_permission_nothing_of_it_works(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client = logged_in("viewer")
    run = SyncRun.objects.create(trigger="schedule", status=RunStatus.RUNNING)
    order = filled.pending[0]
    before = SyncRun.objects.count()
    for page in ("pendingorder/", f"pendingorder/{order.pk}/change/", "portaluser/", f"syncrun/{run.pk}/change/"):
        text = client.get(APP + page).content.decode()
        assert "/resync/" not in text, page
        assert "resync_users" not in text, page
        assert "/stop/" not in text
        assert "failed_of" not in text
    assert client.get(RESYNC).status_code == 403
    assert client.post(f"{RESYNC}?user=5001").status_code == 403
    assert client.get(f"{APP}pendingorder/{order.pk}/resync/").status_code == 403
    assert client.post(f"{APP}syncrun/{run.pk}/stop/").status_code == 403
    client.post(f"{APP}pendingorder/", {"action": "resync_users", "_selected_action": [order.pk]})
    client.post(f"{APP}portaluser/", {"action": "resync_users", "_selected_action": [1]})
    assert SyncRun.objects.count() == before
    run.refresh_from_db()
    assert not run.stop_requested


def test_the_action_asks_for_the_users_behind_the_orders(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client = logged_in("operator")
    chosen = [order.pk for order in filled.pending[2:5]]
    response = client.post(f"{APP}pendingorder/", {"action": "resync_users", "_selected_action": chosen})
    assert response.status_code == 302
    assert response["Location"] == f"{RESYNC}?user=5001&user=5002"


@pytest.mark.slow
@pytest.mark.parametrize("query", ["users=5001", "user=5001&order=1", "status=failed", "reason=not_found&status=x"])
def test_an_address_that_names_what_is_not_known_is_never_taken_for_all(
    logged_in: Callable[[str], Client], filled: Filled, query: str
) -> None:
    client = logged_in("operator")
    before = SyncRun.objects.count()
    assert "No pending order matches" in client.get(f"{RESYNC}?{query}").content.decode()
    assert "no run was queued" in client.post(f"{RESYNC}?{query}", follow=True).content.decode()
    assert SyncRun.objects.count() == before


@pytest.mark.slow
@pytest.mark.parametrize(("name", "query"), [("pendingorder", "?reason=not_found"), ("portaluser", "")])
def test_an_action_with_nobody_left_goes_back_to_the_list(
    logged_in: Callable[[str], Client], filled: Filled, name: str, query: str
) -> None:
    """The orders were stored since the list was read; or the row of the token table has no user."""
    client = logged_in("operator")
    stored = filled.stored[0].pk if name == "pendingorder" else OrderToken.objects.create(user_id=None, token="x").pk
    before = SyncRun.objects.count()
    action = {"action": "resync_users", "_selected_action": [stored]}
    response = client.post(f"{APP}{name}/{query}", action, follow=True)
    assert response.redirect_chain == [(f"{APP}{name}/{query}", 302)]
    assert "Nothing was queued" in response.content.decode()
    row = client.get(f"{APP}{name}/{stored}/resync/", headers={"referer": f"http://testserver{APP}{name}/{query}"})
    assert (row.status_code, row["Location"]) == (302, f"{APP}{name}/{query}")
    assert "Nothing was queued" in client.get(row["Location"]).content.decode()
    assert SyncRun.objects.count() == before


def test_no_users_are_never_everybody(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client = logged_in("operator")
    for nobody in ([], [None]):
        client.post(resync_url(nobody))
    assert not SyncRun.objects.filter(trigger="admin").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "scope"),
    [
        ("reason=not_found", {"filters": {"reason": "not_found"}}),
        ("reason=never_tried", {"filters": {"reason": "never_tried"}}),
        ("", {"include_deferred": True}),
    ],
)
def test_all_that_match_the_filter(
    logged_in: Callable[[str], Client], filled: Filled, query: str, scope: dict[str, object]
) -> None:
    assert resynced_from_the_list(logged_in("operator"), query) == scope


def test_a_rider_and_a_reason_reach_the_run(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client, user = logged_in("operator"), filled.riders_left_for(Reason.MALFORMED)[0]
    scope = resynced_from_the_list(client, f"q={user}&reason=malformed")
    assert scope == {"filters": {"user": user, "reason": "malformed"}}


def test_a_rider_who_is_searched_reaches_the_run(logged_in: Callable[[str], Client], filled: Filled) -> None:
    user = filled.pending[0].user_id
    assert resynced_from_the_list(logged_in("operator"), f"q={user}") == {"filters": {"user": user}}


def resynced_from_the_list(client: Client, query: str) -> dict[str, object]:
    """The scope of the run that the list's own link to a resync asks for."""
    text = client.get(f"{APP}pendingorder/?{query}").content.decode()
    url = next(iter(re.findall(r'href="([^"]*/resync/[^"]*)"', text))).replace("&amp;", "&")
    assert urlsplit(url).path == RESYNC
    client.post(url)
    scope: dict[str, object] = newest().scope
    return scope


def test_the_search_for_an_order_and_an_age_reach_the_run(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client = logged_in("operator")
    order = filled.pending[3]
    client.post(f"{RESYNC}?q={order.order_uuid}")
    assert newest().scope == {"orders": [order.order_uuid]}
    client.post(f"{RESYNC}?age=day")
    assert set(newest().scope["filters"]) == {"first_before"}


def test_the_deferred_orders_of_a_list_reach_the_run(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client = logged_in("operator")
    url = f"{RESYNC}?reason=not_found&deferred=yes"
    assert url.replace("&", "&amp;") in client.get(f"{APP}pendingorder/?reason=not_found&deferred=yes").content.decode()
    assert "deferred" in client.get(url).content.decode()
    client.post(url)
    assert newest().scope["filters"].keys() == {"reason", "next_after"}
    assert "Deferred orders; reason: not found" in client.get(f"{APP}syncrun/{newest().pk}/change/").content.decode()


def test_the_failed_users_of_a_run(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client = logged_in("operator")
    run = filled.runs[-1]
    page = client.get(f"{APP}syncrun/{run.pk}/change/").content.decode()
    assert f"{RESYNC}?failed_of={run.pk}" in page
    client.post(f"{RESYNC}?failed_of={run.pk}")
    reasons = [reason.value for reason in user_failures()]
    failed = OrderOutcome.objects.filter(last_run=run, reason__in=reasons).values_list("user_id", flat=True)
    assert newest().scope == {"users": sorted(set(failed))}
    assert Reason.NOT_FOUND not in user_failures()


def test_a_retry_says_beforehand_who_is_under_way(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client = logged_in("operator")
    failed_of = filled.runs[-1].pk
    client.get(f"{RESYNC}?failed_of={failed_of}")
    reasons = [reason.value for reason in user_failures()]
    found = OrderOutcome.objects.filter(last_run=failed_of, reason__in=reasons).values_list("user_id", flat=True)
    failed = sorted(set(found))
    assert len(failed) > 3
    client.post(f"{RESYNC}?user={failed[0]}&user={failed[2]}")
    busy = newest()
    by_filter = SyncRun.objects.create(
        trigger="admin", status=RunStatus.RUNNING, scope={"filters": {"reason": "api_error"}}
    )
    SyncBatch.objects.create(run=by_filter, number=1, user_ids=[failed[3]])
    text = words(client.get(f"{RESYNC}?failed_of={failed_of}").content.decode())
    assert f"2 users are already being synced by run {busy.pk} ; skipped: {failed[0]}, {failed[2]}." in text
    assert f"User {failed[3]} is already being synced by run {by_filter.pk} ; skipped." in text
    said = words(client.post(f"{RESYNC}?failed_of={failed_of}", follow=True).content.decode())
    assert f"2 users are already being synced by run {busy.pk} ; skipped: {failed[0]}, {failed[2]}." in said
    assert newest().scope == {"users": [user for user in failed if user not in (failed[0], failed[2], failed[3])]}


@pytest.mark.slow
def test_nothing_pending_queues_nothing(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client = logged_in("operator")
    before = SyncRun.objects.count()
    said = {
        "user=1000": "This user has no pending orders",
        "user=1000&user=1001": "These users have no pending orders",
        "user=99999999999999999999": "No pending order matches",
        "failed_of=1": "No user that failed in run 1 has pending orders",
        "q=nonsense": "No pending order matches",
    }
    nobody = ("user=x", "user=", "failed_of=x", "failed_of=", "q=%00", "q=%C3%A9", "reason=x", "age=x", "deferred=x")
    for query, nothing in (said | dict.fromkeys(nobody, "No pending order matches")).items():
        assert nothing in client.get(f"{RESYNC}?{query}").content.decode(), query
        response = client.post(f"{RESYNC}?{query}", follow=True)
        assert f"{nothing}: no run was queued." in response.content.decode(), query
    assert SyncRun.objects.count() == before


def test_a_request_from_another_site_is_refused(logged_in: Callable[[str], Client], filled: Filled) -> None:
    client = logged_in("operator")
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client.cookies
    assert strict.post(f"{RESYNC}?user=5001").status_code == 403
    assert strict.post(f"{APP}syncrun/{filled.runs[0].pk}/stop/").status_code == 403
