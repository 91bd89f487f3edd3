"""The texts that Slack is sent about a run, read where Slack gets them: at a local server that stands in for it."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import pytest

from bytemark_sync.domain.comparison import FindingKind
from bytemark_sync.domain.reasons import Reason
from bytemark_sync.models import AuditFinding, OrderOutcome, RunKind, RunStatus
from bytemark_sync.slack import reporter
from tests.support.job_state import run_ended
from tests.support.slack import TOKEN, FakeSlack

ended = partial(run_ended, timedelta(0))


@pytest.mark.django_db
def test_a_partial_run_is_told_with_counts_reasons_users_and_a_link(fake_slack: FakeSlack, settings: object) -> None:
    settings.PROJECT_NAME, settings.PROJECT_STAGE = "connect<smart>", "uat"  # type: ignore[attr-defined]
    run = ended(RunStatus.PARTIAL, users=1200, users_failed=7, orders=3000, orders_synced=2900, items_created=5100)
    for number in range(7):
        OrderOutcome.objects.create(order_id=number + 1, user_id=100 + number, reason=Reason.API_ERROR, last_run=run)
    OrderOutcome.objects.create(order_id=50, user_id=900, reason=Reason.NOT_FOUND, last_run=run)
    OrderOutcome.objects.create(order_id=51, user_id=901, reason=Reason.NO_PASSES)  # of another run

    reporter.report_run(run)

    assert fake_slack.tokens == [f"Bearer {TOKEN}"]
    (post,) = fake_slack.posts
    assert post["channel"] == "C123"
    text = post["text"]
    assert "connect&lt;smart&gt;" in text
    assert "uat" in text
    assert "bytemark_sync/sync_order_items" in text
    assert f"run {run.pk} (schedule) was partial" in text
    assert "1,200 users, 7 failed" in text
    assert "2,900 of 3,000 orders stored" in text
    assert "API error: 7 users, 7 orders (users 100, 101, 102, 103, 104, ...)" in text
    assert "not listed by Bytemark: 1 user, 1 order (user 900)" in text
    assert "901" not in text
    assert f"<https://portal.example/admin/bytemark_sync/syncrun/{run.pk}/change/|" in text
    assert TOKEN not in text
    run.refresh_from_db()
    assert run.slack == "sent"


@pytest.mark.django_db
def test_an_audit_is_told_in_words_of_its_own(fake_slack: FakeSlack, settings: object) -> None:
    settings.SITE_URL = "https://sync.example.com"  # type: ignore[attr-defined]
    run = ended(RunStatus.PARTIAL, kind=RunKind.AUDIT, users=24, users_failed=2, orders=1350)
    for repaired in (True, False, False):
        AuditFinding.objects.create(
            run=run, order_id=1, user_id=1, kind=FindingKind.PASS_MISSING, repaired=repaired, detail="words"
        )
    reporter.report_run(run)
    text = fake_slack.posts[0]["text"]
    assert f"audit {run.pk} was partial" in text
    assert "24 users, 2 failed · 1,350 orders audited · 3 findings, 1 repaired" in text
    assert "stored" not in text
    assert f"|Audit {run.pk} in the admin>" in text


@pytest.mark.django_db
def test_no_value_becomes_a_mention_or_a_link(fake_slack: FakeSlack) -> None:
    reporter.report_run(ended(RunStatus.FAILED, error="<!channel> & <https://evil.example|click>"))
    assert "&lt;!channel&gt; &amp; &lt;https://evil.example|click&gt;" in fake_slack.posts[0]["text"]


@pytest.mark.django_db
def test_no_link_without_a_site_url(fake_slack: FakeSlack, settings: object) -> None:
    settings.SITE_URL = ""  # type: ignore[attr-defined]
    reporter.report_run(ended(RunStatus.FAILED))
    assert "http" not in fake_slack.posts[0]["text"]


@pytest.mark.django_db
@pytest.mark.parametrize("kind", list(RunKind))
def test_renewed_tokens_and_stopped_logins_are_told_once(fake_slack: FakeSlack, kind: RunKind) -> None:
    why = "Logins are stopped, for those of 5 riders in a row were refused: <why>"
    run = ended(RunStatus.PARTIAL, kind=kind, users=20, users_failed=6, tokens_renewed=3, logins_stopped=why)
    for _ in range(2):
        reporter.report_run(run)
    (post,) = fake_slack.posts
    assert post["text"].count("3 tokens renewed") == 1
    assert post["text"].count("Logins are stopped, for those of 5 riders in a row were refused: &lt;why&gt;") == 1
    reporter.report_run(ended(RunStatus.PARTIAL, kind=kind))
    assert "renewed" not in fake_slack.posts[1]["text"]
