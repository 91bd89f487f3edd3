"""The words of the admin: every page that can be reached, with data and without, in the words of one list.

Costs some 4 s on SQLite; there is no need to ask another database for words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from urllib.parse import parse_qsl, urljoin, urlsplit

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django_q.models import Failure, OrmQ, Schedule, Success

from bytemark_sync.admin.labels import ago, moment
from bytemark_sync.admin.read_only import ReadOnlyAdmin
from bytemark_sync.bytemark.pace_state import Report
from bytemark_sync.models import (
    AuditFinding,
    ClusterBeat,
    LimitedMinute,
    Order,
    OrderOutcome,
    OrderToken,
    PortalUser,
    RunKind,
    RunOutage,
    SyncRun,
    Trigger,
)
from bytemark_sync.storage.pace_store import DatabasePace
from bytemark_sync.times import dated, dated_text
from tests.support.admin_data import fill

A = "/admin/bytemark_sync/"

FORBIDDEN: dict[str, str] = {
    r"(?<!Cluster )\bkeys?\b": "a token is called a token",
    r"(?i)\b(log|sign) in (to the app )?again\b|has to (log|sign) in": "riders never sign in to Bytemark",
    r"\b1 (pending )?(users|orders|items|findings|requests|batches|runs|retries|hours|riders|attempts|tasks)\b": "1",
    r"\b(users|orders|items|runs|findings) (stored|left|pending) a day\b": "per day",
    r"Asked for|At work or waiting|Nothing is pending there": "Requested at, Scope, Already running or queued",
    r"Its story|before the sync|95 % within|Next scheduled run|noticed by itself|more and more seldom": "new words",
    r"in the making|deferred orders too|the same already": "new words",
    r"(?i)order attempts?\b|sync runs?\b": "as the sidebar",
    r"\bSelect [a-z ]+ to (view|change)\b": "a list has a name",
    r"Add (user|Scheduled task)\b|Last_run": "as the sidebar",
    r"\b\d{1,2} (Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b": "one date format",
    r"\b(Jan|Feb|March|April|May|June|July|Aug|Sept|Oct|Nov|Dec)\.? \d{1,2}\b": "one date format",
    r"\d [ap]\.m\.|, noon\b|, midnight\b|\d{4}-\d\d-\d\dT\d": "one date format",
    r"\b\d{4}-\d\d-\d\d \d\d:\d\d(?! UTC)": "the zone is named",
    r"(?i)Bytemark order items|Django|Axes\b": "nobody else's names",
}
"""What no page says, and what is said instead."""

LABELS = frozenset({"User", "Users", "Who", "Portal users", "Sync runs", "Order items"})
"""What is no column and no link: riders are called riders."""


IGNORED = re.compile(r"export|logout|_changelist_filters|_facets|[?&][op]=")
"""What is no page of its own, or the same page in another order."""


def text_of(html: str) -> str:
    html = re.sub(r"<(script|style|template|option)\b.*?</\1>", " ", html, flags=re.DOTALL)
    html = re.sub(r"<span[^>]*material-symbols-outlined[^>]*>[^<]*</span>", " ", html)
    said = re.findall(r'\s(?:title|aria-label)="([^"]*)"', html)
    return " ".join(unescape(" ".join([re.sub(r"<[^>]+>", " ", html), *said])).split())


def labels_of(html: str) -> set[str]:
    found = re.findall(r"<(th|dt|a|button|h2|h3|label)\b[^>]*>(.*?)</\1>", html, re.DOTALL)
    return {" ".join(re.sub(r"<[^>]+>", " ", text).split()) for _, text in found}


def shape(url: str) -> tuple[str, frozenset[str]]:
    """Pages of the same kind have one: a row's page whichever row, a filtered list whatever the value."""
    parts = urlsplit(url)
    path = re.sub(r"/(\d+|[0-9a-f-]{32,36})/", "/N/", parts.path)
    query = parse_qsl(parts.query)
    return path, frozenset(name for name, _ in query) if len(query) == 1 else frozenset()


def walk(client: Client, begin: list[str]) -> Iterator[tuple[str, str]]:
    """Every kind of page that links lead to, from `begin` on: address and HTML."""
    waiting, seen = list(begin), {shape(url) for url in begin}
    while waiting:
        url = waiting.pop(0)
        response = client.get(url, follow=True)
        assert response.status_code < 500, url
        if not response["Content-Type"].startswith("text/html"):
            continue
        html = response.content.decode()
        yield url, html
        if response.status_code != 200:
            continue
        for found in re.findall(r'<a[^>]*\shref="([^"]+)"', html):
            there = urljoin(url, unescape(found)).partition("#")[0]
            if there.startswith("/admin/") and not IGNORED.search(there) and shape(there) not in seen:
                seen.add(shape(there))
                waiting.append(there)


def every_start() -> list[str]:
    """Lists, forms, rows, and what no link leads to."""
    urls = [
        "/admin/",
        f"{A}syncrun/daily/",
        f"{A}pendingorder/resync/",
        "/admin/password_change/",
        f"{A}nothing/",
        f"{A}order/add/",
    ]
    urls += [
        f"{A}pendingorder/resync/?user=1",
        f"{A}pendingorder/resync/?q=x",
        f"{A}order/?oauth_token__startswith=r",
        f"{A}order/999999/change/",
    ]
    urls += [f"{A}syncrun/{pk}/change/" for pk in SyncRun.objects.values_list("pk", flat=True)[:10]]
    one_a_reason = dict(OrderOutcome.objects.values_list("reason", "pk")).values()
    orders = [*one_a_reason, *Order.objects.order_by("-pk").values_list("pk", flat=True)[:2]]
    urls += [f"{A}order/{pk}/change/" for pk in orders]
    for model, screen in admin.site._registry.items():
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        urls += [reverse(f"{name}_changelist"), reverse(f"{name}_changelist") + "?q=999999"]
        urls += [] if isinstance(screen, ReadOnlyAdmin) else [reverse(f"{name}_add")]
        row: Model | None = model._default_manager.order_by("pk").first()
        if row is not None:
            pages = ("change",) if isinstance(screen, ReadOnlyAdmin) else ("change", "delete", "history")
            urls += [reverse(f"{name}_{page}", args=[row.pk]) for page in pages]
    return urls


def fill_with_one_of_each() -> None:
    fill(stored=12, pending=14, days=3)
    now = timezone.now()
    one = {"users_planned": 1, "users": 1, "orders": 2, "orders_synced": 1, "items_created": 1, "retries": 1}
    for scope in ({"users": [5000]}, {"include_deferred": True}, {"filters": {"reason": "no_token"}}, {"limit": 1}):
        SyncRun.objects.create(
            trigger="admin", requested_by="ada", scope=scope, status="partial", users_failed=1, **one
        )
    times = {"filters": {"first_before": now.isoformat(), "next_after": now.isoformat()}}
    SyncRun.objects.create(trigger="admin", status="running", started_at=now, users=1, scope=times)
    SyncRun.objects.create(trigger="admin", status="queued", scope={"users": [5001]})
    SyncRun.objects.create(trigger=Trigger.SCHEDULE, status="skipped", requested_by="schedule", finished_at=now)
    audited = {"repair": True, "since": now.isoformat(), "order_ids": [1]}
    audit = SyncRun.objects.create(kind=RunKind.AUDIT, status="succeeded", scope=audited, finished_at=now, **one)
    order = Order.objects.first()
    assert order is not None
    found = {"run": audit, "user_id": 1, "detail": "x", "pass_uuid": "abc"}
    AuditFinding.objects.create(order=order, kind="pass_missing", repaired=True, **found)
    Order.objects.create(order_uuid="abcdef-no-user", user_id=None, amount="0")
    Order.objects.create(order_uuid="abcdef-no-token-row", user_id=77, amount="0")
    OrderToken.objects.create(user_id=None, token="")
    ClusterBeat.objects.create(name="host:1", workers=4)
    for number, (requests, refused) in enumerate([(1, 1), (900, 1)]):
        LimitedMinute.objects.create(run=audit, source=str(number), minute=now, requests=requests, refused=refused)
    RunOutage.objects.create(run=audit, began_at=now - timedelta(minutes=1))
    DatabasePace().exchange(Report("host:1:a", refused=1, counted=1, counted_seconds=1.0, had=1.0, wanted=1), None)
    done = {"func": "bytemark_sync.tasks.prune", "started": now, "stopped": now + timedelta(seconds=1)}
    Success.objects.create(id="0" * 32, name="prune", success=True, **done)
    Failure.objects.create(id="1" * 32, name="prune", success=False, **done)
    OrmQ.objects.create(key="x", payload="", lock=now)
    User.objects.create(username="eve", is_staff=True, last_login=now)


@pytest.mark.slow
def test_every_page_speaks_the_same_words(logged_in: Callable[[str], Client]) -> None:
    client = logged_in("superuser")
    wrong: list[str] = []
    reached: set[tuple[str, frozenset[str]]] = set()
    for data in (False, True):
        if data:
            fill_with_one_of_each()
        pages = dict(walk(client, every_start()))
        reached |= {shape(url) for url in pages}
        for url, html in pages.items():
            text = text_of(html)
            wrong += [
                f"{url}: {found[0]!r}, {why}: ...{text[max(0, found.start() - 40) : found.end() + 40]}..."
                for pattern, why in FORBIDDEN.items()
                for found in re.finditer(pattern, text)
            ]
            if not url.startswith("/admin/auth/"):  # staff are users of the admin
                wrong += [f"{url}: {label!r} as a label" for label in labels_of(html) & LABELS]
    assert not wrong, "\n".join(sorted(set(wrong)))
    assert len(reached) > 80
    assert (f"{A}syncrun/N/stop/", frozenset()) in reached
    assert (f"{A}pendingorder/resync/", frozenset({"failed_of"})) in reached


@pytest.mark.slow
def test_a_list_has_one_name_in_sidebar_title_and_breadcrumb(logged_in: Callable[[str], Client]) -> None:
    client = logged_in("superuser")
    fill_with_one_of_each()
    home = client.get("/admin/").content.decode()
    _, _, nav = home.partition('id="nav-sidebar-apps"')
    links = dict(re.findall(r'<a href="(/admin/[^"]*)"[^>]*>(.*?)</a>', nav.partition("</nav>")[0], re.DOTALL))
    sidebar = {url: text_of(inner) for url, inner in links.items()}
    lists = {reverse(f"admin:{m._meta.app_label}_{m._meta.model_name}_changelist") for m in admin.site._registry}
    assert lists - sidebar.keys() == {reverse("admin:django_q_ormq_changelist")}
    for url in lists | {f"{A}syncrun/daily/", f"{A}syncrun/limit/", "/admin/"}:
        html = client.get(url).content.decode()
        title, last = title_and_last(html)
        name = sidebar.get(url, "Queued tasks")
        assert (title, last) == (name, name), url


def test_a_page_of_a_row_has_its_title_as_the_last_part_and_forces_no_capital(
    logged_in: Callable[[str], Client],
) -> None:
    client = logged_in("superuser")
    fill_with_one_of_each()
    order = Order.objects.get(order_uuid="abcdef-no-user")
    rider = PortalUser.objects.filter(user_id__isnull=False).first()
    audit = SyncRun.objects.get(kind=RunKind.AUDIT)
    assert rider is not None
    for url, name in {
        f"{A}order/{order.pk}/change/": "Order abcdef-no-user",
        f"{A}portaluser/{rider.pk}/change/": f"Rider {rider.user_id}",
        f"{A}syncrun/{audit.pk}/change/": f"Audit {audit.pk}",
        "/admin/auth/user/add/": "Add staff member",
        f"/admin/django_q/schedule/{Schedule.objects.earliest('pk').pk}/change/": "Schedule "
        + Schedule.objects.earliest("pk").name,
    }.items():
        html = client.get(url).content.decode()
        assert title_and_last(html) == (name, name), url
    assert "abcdef-no-user" in text_of(client.get(f"{A}order/").content.decode())


def title_and_last(html: str) -> tuple[str, str]:
    title = re.search(r"<title>(.*?)</title>", html, re.DOTALL)
    last = re.search(r'id="page-title"[^>]*>(.*?)</span>', html, re.DOTALL)
    assert title
    assert last
    return text_of(title[1]).split(" | ")[0], text_of(last[1])


def test_who_may_not_see_the_sync_is_told_so(client: Client, db: None) -> None:
    user = User.objects.create(username="eve", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_group"))
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    text = text_of(client.get("/admin/").content.decode())
    assert "You may not see the sync." in text
    assert client.get("/admin/auth/").headers["location"] == "/admin/"


def test_a_time_is_written_in_one_way_by_us_and_by_django(db: None) -> None:
    at = datetime(2026, 11, 24, 11, 50, 30, tzinfo=UTC)
    assert dated(at) == dated(at.replace(tzinfo=None)) == dated_text("2026-11-24T11:50") == "2026-11-24 11:50 UTC"
    assert dated_text("no time") == "no time"
    for zone, said in {"Europe/Berlin": "2026-11-24 12:50 CET", "America/New_York": "2026-11-24 06:50 EST"}.items():
        with timezone.override(zone):
            assert (dated(at), date_format(timezone.localtime(at), "DATETIME_FORMAT")) == (said, said)
            assert said in moment(at)
            assert f'title="{said}"' in ago(at)
