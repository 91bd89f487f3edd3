"""Rows of a newer version, beside which this one works or from which somebody went back: no page fails for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.test import Client
from django.utils import timezone

from bytemark_sync.models import (
    AuditFinding,
    Order,
    OrderAttempt,
    OrderOutcome,
    OrderToken,
    RiderLogin,
    RunKind,
    SyncRun,
    Trigger,
)
from bytemark_sync.monitoring import health
from tests.support.admin_pages import APP, page, words

NEWER = "of_newer"


def test_no_page_fails_for_words_that_only_a_newer_version_knows(
    logged_in: Callable[[str], Client], settings: Any
) -> None:
    settings.METRICS_TOKEN = "sekret"
    settings.BYTEMARK_ACCOUNT_API_URL, settings.BYTEMARK_CLIENT_ID = "http://127.0.0.1:9", "made-up"
    now = timezone.now()
    OrderToken.objects.create(user_id=7, token="t")
    order = Order.objects.create(order_uuid="o", user_id=7, amount="0", oauth_token="t")
    run = SyncRun.objects.create(trigger=Trigger.ADMIN)
    SyncRun.objects.filter(pk=run.pk).update(kind=NEWER, scope={NEWER: 1, "filters": {NEWER: 1}})
    audit = SyncRun.objects.create(trigger=NEWER, kind=RunKind.AUDIT, status="succeeded", finished_at=now)
    for one in (run, audit):
        OrderAttempt.objects.create(order=order, run=one, reason=NEWER)
    OrderOutcome.objects.create(order=order, user_id=7, reason=NEWER, last_run=run)
    AuditFinding.objects.create(order=order, run=audit, user_id=7, kind=NEWER, detail="found")
    RiderLogin.objects.create(user_id=7, state=NEWER, cause=NEWER, asked_at=now)
    health.count_left(fresh=True)

    client = logged_in("superuser")
    lists = ("pendingorder", "portaluser", "syncrun", "order", "orderattempt", "auditfinding")
    urls = ["/admin/", *(f"{APP}{name}/" for name in lists)]
    urls += [f"{APP}{name}/{row.pk}/change/" for name, row in (("order", order), ("syncrun", run), ("syncrun", audit))]
    urls += [f"{APP}pendingorder/{order.pk}/change/", f"{APP}portaluser/{OrderToken.objects.get().pk}/change/"]
    for url in urls:
        page(client, url)
    assert "of newer" in words(page(client, f"{APP}pendingorder/"))
    assert "A newer version" in words(page(client, f"{APP}order/{order.pk}/change/"))
    metrics = client.get("/metrics", headers={"Authorization": "Bearer sekret"}).content.decode()
    assert 'reason="of_newer"' in metrics
