"""The findings' page, its filters and its export; and how the run of an audit is shown."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from bytemark_sync.domain.comparison import FindingKind
from bytemark_sync.models import AuditFinding, Order, RunKind, RunStatus, SyncRun
from tests.support.admin_data import Filled

RUNS = "/admin/bytemark_sync/syncrun/"
PAGE = "/admin/bytemark_sync/auditfinding/"


@pytest.fixture
def findings(db: None) -> list[AuditFinding]:
    run = SyncRun.objects.create(kind=RunKind.AUDIT, status=RunStatus.SUCCEEDED)
    order = Order.objects.create(order_uuid="order-one", user_id=77, oauth_token="made-up-key", amount="0")
    gone = order.pk + 1
    rows = [
        (order.pk, FindingKind.PASS_MISSING, "pass-one", True),
        (order.pk, FindingKind.PASS_UNKNOWN, "=pass+two", False),
        (gone, FindingKind.NOT_LISTED, "", False),
    ]
    return [
        AuditFinding.objects.create(
            run=run, order_id=key, user_id=77, kind=kind, pass_uuid=one, detail="words", repaired=repaired
        )
        for key, kind, one, repaired in rows
    ]


def exported(client: Client, query: str = "") -> list[dict[str, str]]:
    response = client.get(f"{PAGE}export/{query}")
    assert response.status_code == 200
    assert response.streaming
    return list(csv.DictReader(io.StringIO(response.getvalue().decode())))


def test_the_page_shows_findings_whose_order_is_gone_too(
    logged_in: Callable[[str], Client], findings: list[AuditFinding]
) -> None:
    page = logged_in("viewer").get(PAGE).content.decode()
    for words in ("pass missing here", "pass unknown to Bytemark", "order not listed", "repaired", "pass-one"):
        assert words in page
    assert "made-up-key" not in page


def test_filters_and_search(logged_in: Callable[[str], Client], findings: list[AuditFinding]) -> None:
    client = logged_in("viewer")
    for query, expected in (
        ("?kind__exact=pass_missing", {0}),
        ("?repaired__exact=0", {1, 2}),
        (f"?run={findings[0].run_id}", {0, 1, 2}),
        ("?run=999", set()),
        ("?q=pass-one", {0}),
        ("?q=order-one", {0, 1}),
        ("?q=77", {0, 1, 2}),
        ("?q=nobody", set()),
    ):
        assert client.get(PAGE + query).status_code == 200, query
        keys = {findings[place].pk for place in expected}
        assert {int(row["finding_id"]) for row in exported(client, query)} == keys, query


def test_the_export_holds_no_formula_and_is_for_viewers(
    logged_in: Callable[[str], Client], findings: list[AuditFinding], client: Client
) -> None:
    rows = exported(logged_in("viewer"))
    assert [row["pass_uuid"] for row in rows] == ["", "'=pass+two", "pass-one"]
    assert rows[-1]["order_uuid"] == "order-one"
    assert client.get(f"{PAGE}export/").status_code == 302
    assert logged_in("viewer").post(f"{PAGE}export/").status_code == 405


def test_nothing_is_changed_there(logged_in: Callable[[str], Client], findings: list[AuditFinding]) -> None:
    client = logged_in("superuser")
    assert client.get(f"{PAGE}add/").status_code == 403
    assert client.post(f"{PAGE}{findings[0].pk}/delete/", {"post": "yes"}).status_code == 403
    assert AuditFinding.objects.count() == 3


# --- The run of an audit ----------------------------------------------------------------------------------------------


def words(html: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


@pytest.fixture
def audit(filled: Filled) -> SyncRun:
    """An audit that ended after the last sync."""
    now = timezone.now()
    run = SyncRun.objects.create(
        kind=RunKind.AUDIT,
        status=RunStatus.PARTIAL,
        started_at=now - timedelta(minutes=2),
        finished_at=now - timedelta(minutes=1),
        users_planned=24,
        users=24,
        users_failed=2,
        orders=1350,
        orders_invalid=1,
        api_requests=90,
    )
    for number, order in enumerate(filled.stored[:3]):
        AuditFinding.objects.create(
            run=run,
            order=order,
            user_id=order.user_id or 0,
            kind=FindingKind.PASS_MISSING if number else FindingKind.STORED_TWICE,
            repaired=number == 1,
        )
    return run


def test_an_audit_has_words_and_links_of_its_own(logged_in: Callable[[str], Client], audit: SyncRun) -> None:
    client = logged_in("operator")
    html = client.get(f"{RUNS}{audit.pk}/change/").content.decode()
    text = words(html)
    assert f"Audit {audit.pk}" in text
    assert "24 of 24 users, 1,350 orders audited, 3 findings (1 repaired). 2 users failed" in text
    assert "orders stored" not in text.lower()
    assert "Left pending" not in text
    assert "Findings repaired 1" in text
    for url, count in ((f"{PAGE}?run={audit.pk}&kind__exact=pass_missing", 2), (f"{PAGE}?run={audit.pk}", 3)):
        found = client.get(url).context["cl"]
        assert found.result_count == count
    assert f"{PAGE}?run={audit.pk}&amp;kind__exact=pass_missing" in html
    assert f"audit {audit.pk}" in words(client.get(PAGE).content.decode())


@pytest.mark.parametrize("url", ["/admin/bytemark_sync/syncrun/", "/admin/"])
def test_a_list_of_runs_says_what_an_audit_found(
    logged_in: Callable[[str], Client], audit: SyncRun, filled: Filled, url: str
) -> None:
    html = logged_in("viewer").get(url).content.decode()
    rows = {words(row).split(" ", 2)[1]: row for row in re.findall(r"<tr class=\".*?</tr>", html, re.DOTALL)}
    mine = rows[str(audit.pk)]
    assert f"audit {audit.pk}" in words(mine)
    assert "1,350 orders audited 3 findings" in words(mine)
    assert f'href="{PAGE}?run={audit.pk}"' in mine
    assert "orderattempt" not in mine
    sync = filled.runs[-1]
    left = sync.orders - sync.orders_synced
    assert f"{sync.orders_synced} orders, {sync.items_created} items stored {left} orders left" in words(
        rows[str(sync.pk)]
    )
    assert f"orderattempt/?run={sync.pk}" in rows[str(sync.pk)]


def test_the_dashboards_last_run_is_the_last_sync(
    logged_in: Callable[[str], Client], audit: SyncRun, filled: Filled
) -> None:
    client = logged_in("viewer")
    last = filled.runs[-1]
    for _ in range(2):
        html = client.get("/admin/").content.decode()
        assert f"Last run {last.get_status_display()} 1 hour ago" in words(html)
        for _ in range(12):  # so many that no sync is among the latest runs
            SyncRun.objects.create(kind=RunKind.AUDIT, status=RunStatus.SUCCEEDED, finished_at=timezone.now())


def test_a_live_audit_without_a_plan_says_how_far_it_is(logged_in: Callable[[str], Client], audit: SyncRun) -> None:
    """`audit_order_items` works without a count of its users."""
    SyncRun.objects.filter(pk=audit.pk).update(status=RunStatus.RUNNING, users_planned=0, finished_at=None)
    client = logged_in("operator")
    assert "24 users, 1,350 orders audited" in words(client.get(f"{RUNS}{audit.pk}/change/").content.decode())
    assert "planning" not in client.get(RUNS).content.decode()
    stop = words(client.get(f"{RUNS}{audit.pk}/stop/").content.decode())
    assert f"Stop audit {audit.pk}?" in stop
    assert "pending" not in stop.partition("?")[2].partition("Cancel")[0]
    assert "the findings so far are kept" in client.post(f"{RUNS}{audit.pk}/stop/", follow=True).content.decode()
