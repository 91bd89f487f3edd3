"""The findings' page, its filters and its export."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from django.test import Client

from bytemark_sync.comparing import FindingKind
from bytemark_sync.models import AuditFinding, Order, RunStatus, SyncRun, Trigger

PAGE = "/admin/bytemark_sync/auditfinding/"


@pytest.fixture
def findings(db: None) -> list[AuditFinding]:
    run = SyncRun.objects.create(trigger=Trigger.AUDIT, status=RunStatus.SUCCEEDED, scope={"audit": True})
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
    text = b"".join(response.streaming_content).decode()  # type: ignore[arg-type]
    return list(csv.DictReader(io.StringIO(text)))


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
