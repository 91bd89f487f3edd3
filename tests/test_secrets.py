"""Riders' keys and the product's own secrets show nowhere but where they belong.

Everything runs with marked secrets and with the log of every library at DEBUG; then the marks are looked for in all
that was said, sent, logged and stored. They may stand in the portal's tables, the `Authorization` header and the body
of a login alone.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from html import unescape
from pathlib import Path

import msgspec
import pytest
import requests

from bytemark_sync.sandbox import FaultRule, PortalToken, Sandbox, World
from tests.support.children import spawn
from tests.support.harness import FreshDatabase, Portal, finish, places, start_manage
from tests.support.observers import Observers
from tests.support.renewal import may_renew
from tests.support.scenario import add_user, listed
from tests.support.servers import ROOT, clean_environment, free_port, wait_for
from tests.support.slack import FakeSlack, reply

MARK = "hushhush"  # in every secret below; in nothing else
LOGIN_STATES = {"renewed", "refused", "unanswered"}
PORTAL_TABLES = {"bytemark_orders", "bytemark_tokens", "bytemark_order_items"}
ADMIN_PASSWORD = f"{MARK}-admin-password"

DEBUG_SETTINGS = """
from project.settings import *
LOGGING["root"]["level"] = "DEBUG"
for _name in ("bytemark_sync", "django", "django.db.backends", "django-q", "urllib3", "slack_sdk", "asyncio"):
    LOGGING["loggers"].setdefault(_name, {}).update(level="DEBUG")
"""


def token(user: int) -> str:
    return f"{MARK}-{user}-{'x' * 20}"


def assert_no_marks(texts: Mapping[str, str], portal: Portal | None = None) -> None:
    """No mark in `texts` (by name of the place), nor in any table but the portal's, packed values included."""
    places = dict(texts)
    for table in portal.tables() if portal else ():
        if portal and table not in PORTAL_TABLES:
            for row in portal.rows(f"SELECT * FROM {table}"):
                places |= {
                    f"{table}.{column}": readable(value) for column, value in row.items() if MARK in readable(value)
                }
    found = {name: excerpt(text) for name, text in places.items() if MARK in text}
    assert found == {}


def readable(value: object) -> str:
    """A column's value with what is packed in it: django-q2 and the sessions keep base64, or that of zlib."""
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return "\n".join([text, *(unpacked(part) for part in re.split(r"[:\s]", text) if len(part) > 20)])


def unpacked(text: str) -> str:
    try:
        raw = base64.b64decode(text.lstrip(".").translate(str.maketrans("-_", "+/")) + "===")
    except (binascii.Error, ValueError):
        return ""
    with suppress(zlib.error):
        raw = zlib.decompress(raw)
    return raw.decode("latin-1")


def excerpt(text: str) -> str:
    at = text.index(MARK)
    return text[max(0, at - 150) : at + 60]


def test_the_search_finds_what_is_packed() -> None:
    plain = f"a task with {MARK} in it".encode()
    for packed in (
        plain,
        base64.b64encode(plain),
        base64.b64encode(zlib.compress(plain)),
        b"." + base64.urlsafe_b64encode(zlib.compress(plain)).rstrip(b"=") + b":1abc:signature",
    ):
        assert MARK in readable(packed)


def email(user: int) -> str:
    return f"{MARK}-{user}@riders.example"


def build_logins(world: World) -> list[FaultRule]:
    """Riders whose login ends in every way; wherever a server can put words, it repeats what was sent to it."""
    told = f"{email(0)} {MARK}-password {MARK}-client-secret"
    everywhere = {"errors": [told], "error": told, "message": told, told: told}
    granted = {"data": {"oauth_token": f"{MARK}-new", "user": {"email": told}}}
    rules = [
        FaultRule("refuse", reason="wrong_password"),
        FaultRule("refuse", reason="client", form="oauth"),
        FaultRule("raw", on="login", status=400, body=json.dumps(everywhere)),
        FaultRule("raw", on="login", status=500, body=told),
        FaultRule("raw", on="login", body=told),
        FaultRule("raw", on="login", body=json.dumps({"data": {"oauth_token": f"{MARK}\n"}})),
        FaultRule("raw", on="login", body=json.dumps(granted)),
        FaultRule("redirect", on="login", location=f"/elsewhere?{told.replace(' ', '+')}"),
        FaultRule("cut", on="login"),
    ]
    for user in range(80, 80 + len(rules)):
        add_user(world, user, [listed(f"o{user}")])
        world.riders[-1].tokens, world.orders[-1].oauth_token = [], token(user)
        world.tokens[-1] = PortalToken(user, token(user))
    for rider in world.riders:
        rider.email, rider.password = email(rider.user_id), f"{MARK}-password"
    for row in world.tokens:
        row.email, row.password = email(row.user_id), f"{MARK}-password"
    return [msgspec.structs.replace(rule, users=[80 + number]) for number, rule in enumerate(rules)]


def build_world() -> tuple[World, list[FaultRule]]:
    """A user for every way to fail; wherever a server can put words, it repeats the rider's token."""
    world = World()
    repeats = {
        "rejected": (401, {"errors": [{"code": 50020, "message": "TOKEN is not valid"}]}),
        "rejected on 200": (200, {"errors": ["50032: TOKEN"]}),
        "refused": (400, {"errors": [{"code": 400104, "message": "no TOKEN"}], "TOKEN": 1}),
        "failing": (500, "<html>TOKEN</html>"),
        "other code": (200, {"error": {"code": "TOKEN", "message": "TOKEN"}}),
        "shape": (200, {"TOKEN": "TOKEN"}),
        "not JSON": (200, "TOKEN"),
        "malformed": (
            200,
            {"data": {"orders": [{"uuid": "o4", "order_items": [{"TOKEN": "TOKEN"}]}], "total_count": 1}},
        ),
        "text for a list": (200, {"data": {"orders": "TOKEN"}}),
        "total": (200, {"data": {"orders": [], "total_count": "TOKEN"}}),
    }
    rules = []
    for user, (status, body) in enumerate(repeats.values(), 1):
        add_user(
            world,
            user,
            [listed(f"o{user}")],
            wanted=["o4" if isinstance(body, dict) and "data" in body else f"o{user}"],
        )
        text = body if isinstance(body, str) else json.dumps(body)
        rules.append(FaultRule("raw", users=[user], status=status, body=text.replace("TOKEN", token(user))))
    for kind in ("close", "reset", "cut", "half_json", "oversize", "hang", "redirect"):
        user = len(world.riders) + 1
        add_user(world, user, [listed(f"o{user}")])
        rules.append(FaultRule(kind, users=[user], location=f"/elsewhere?token={token(user)}"))
    for user in range(50, 60):
        add_user(world, user, [listed(f"o{user}"), listed(f"p{user}")])
    add_user(world, 60, [listed("o60")], wanted=["gone"])
    for rider, row in zip(world.riders, world.tokens, strict=True):
        rider.tokens = [token(rider.user_id)]
        row.token = token(rider.user_id)
    for order in world.orders:
        order.oauth_token = token(order.user_id)
    # Tokens that cannot be sent, and one that is stale.
    for user, text in ((70, f"{MARK}\nX: y"), (71, f"{MARK}-😀"), (72, f"{MARK}-stale")):
        add_user(world, user, [listed(f"o{user}")])
        world.riders[-1].tokens, world.orders[-1].oauth_token = [token(user)], text
        world.tokens[-1] = PortalToken(user, text)
    return world, rules


class Harness:
    """A portal with marks in it, everything that the product talks to, and all that it said."""

    def __init__(self, url: str, sandbox: Sandbox, slack: str, observers: Observers, folder: Path) -> None:
        self.portal = Portal(url)
        self.sandbox = sandbox
        self.said: dict[str, str] = {}
        (folder / "debug_settings.py").write_text(DEBUG_SETTINGS)
        self.url = url
        self.env: dict[str, str | None] = {
            "BYTEMARK_CUSTOMER_API_URL": sandbox.url,
            "BYTEMARK_ACCOUNT_API_URL": sandbox.url,
            "BYTEMARK_CLIENT_ID": "made-up",
            "BYTEMARK_CLIENT_SECRET": f"{MARK}-client-secret",
            "BYTEMARK_READ_TIMEOUT": "0.3",
            "BYTEMARK_WORKERS": "8",
            "DJANGO_SETTINGS_MODULE": "debug_settings",
            "PYTHONPATH": f"{folder}:{ROOT}",
            "SECRET_KEY": f"{MARK}-secret-key-{'k' * 40}",
            "SLACK_API_URL": slack,
            "SLACK_BOT_TOKEN": f"xoxb-{MARK}",
            "SLACK_CHANNEL_ID": "C1",
            "METRICS_TOKEN": f"{MARK}-metrics",
            "DJANGO_SUPERUSER_PASSWORD": ADMIN_PASSWORD,
            "SYNC_BATCH_USERS": "10",
            **observers.env,
        }

    def run(self, *args: object, env: Mapping[str, str | None] | None = None, url: str = "") -> int:
        """Run a command to its end, looking at the process list meanwhile."""
        process = start_manage(*args, database_url=url or self.url, env=self.env | dict(env or {}))
        name = " ".join(str(arg) for arg in args) + f" #{len(self.said)}"
        with watched_processes(self.said, name):
            done = finish(process, 90)
        assert "Traceback (most recent call last)" not in done.stderr or "--traceback" in args, done.stderr
        self.said |= {f"{name}: stdout": done.stdout, f"{name}: stderr": done.stderr}
        return done.status

    def failed_users(self) -> int:
        return int(self.portal.value("SELECT COUNT(DISTINCT user_id) FROM bytemark_sync_outcome"))


class watched_processes:  # noqa: N801 - reads like a function: with watched_processes(...)
    """Keeps every command line that the process list shows."""

    def __init__(self, said: dict[str, str], name: str) -> None:
        self._said, self._name = said, f"{name}: process list"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        lines: set[str] = set()
        while not self._stop.wait(0.05):
            for folder in Path("/proc").iterdir():
                if folder.name.isdigit() and int(folder.name) != os.getpid():
                    try:
                        lines.add((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
                    except OSError:
                        continue
        self._said[self._name] = "\n".join(lines)


@pytest.fixture
def slack() -> Iterator[FakeSlack]:
    """A Slack that refuses the first message with words that repeat the bot's token."""
    with FakeSlack.serving(reply(body={"ok": False, "error": f"xoxb-{MARK}"}), reply()) as fake:
        yield fake


@pytest.fixture
def observers() -> Iterator[Observers]:
    with Observers.serving() as taking:
        yield taking


@pytest.mark.cluster
def test_marked_secrets_are_found_nowhere(
    backend: str,
    fresh_database: FreshDatabase,
    sandbox: Callable[..., Sandbox],
    slack: FakeSlack,
    observers: Observers,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    world, rules = build_world()
    logins = build_logins(world)
    harness = Harness(fresh_database(backend), sandbox(world, faults=rules + logins), slack.url, observers, tmp_path)
    harness.portal.fill(world)
    if backend != "sqlite":
        may_renew(request.getfixturevalue(backend), harness.portal)

    # The command and its companions.
    assert harness.run("sync_order_items", "--dry-run", "-v", 3, "--include-deferred") == 1
    assert harness.run("sync_order_items", "-v", 3, "--json", "--traceback") == 1
    assert harness.failed_users() == len(rules) + 1 + len(logins)
    assert {row[0] for row in harness.portal.all("SELECT state FROM bytemark_sync_login")} == LOGIN_STATES
    assert harness.run("sync_order_items", "-v", 3, "--include-deferred", env={"LOG_FORMAT": "json"}) == 1
    assert harness.run("check", "--database", "default") == 0
    assert harness.run("audit_order_items", "-v", 3) in (0, 1)
    assert harness.run("sync_status", "--json") in (0, 1)
    assert harness.run("sync_order_items", env={"BYTEMARK_CUSTOMER_API_URL": f"https://u:{MARK}@example.com"}) == 2
    assert harness.run("sync_order_items", env={"BYTEMARK_CUSTOMER_API_URL": f"https://example.com?key={MARK}"}) == 2
    assert harness.run("sync_order_items", url=f"mysql://u:{MARK}@h:port/x") == 2
    assert harness.run("sync_order_items", url=f"oracle://u:{MARK}@h/x") == 2
    harness.portal.execute("ALTER TABLE bytemark_order_items RENAME TO away")
    assert harness.run("sync_order_items", "--traceback", "-v", 3) == 1
    harness.portal.execute("ALTER TABLE away RENAME TO bytemark_order_items")
    assert harness.portal.value("SELECT COUNT(*) FROM bytemark_order_items") >= 20

    # The queue, the admin, the monitors.
    if backend != "sqlite":
        work_the_queue(harness)
        look_at_every_page(harness)

    assert slack.posts, "Slack was told of the failed runs"
    harness.said["Slack"] = "\n".join(request.body.decode() for request in slack.server.requests)
    harness.said["Sentry and OpenTelemetry"] = observers.text()
    assert_observed(observers, with_queue=backend != "sqlite")
    assert sum("DEBUG urllib3" in text for text in harness.said.values()) >= 3  # the libraries' logs were on
    assert sum("DEBUG django.db.backends" in text for text in harness.said.values()) >= 3
    assert_no_marks(harness.said, harness.portal)
    stats = harness.sandbox.stats()
    assert (stats.elsewhere, stats.elsewhere_with_authorization) == (0, 0)
    # They stand where they belong.
    assert MARK in str(harness.portal.all("SELECT oauth_token FROM bytemark_order_items"))
    assert f"{MARK}-new" in str(harness.portal.all("SELECT token FROM bytemark_tokens"))


def assert_observed(observers: Observers, *, with_queue: bool) -> None:
    """Sentry and the collector were told, by every process that had something to tell."""
    assert {event.get("logger") for event in observers.events()} >= {"bytemark_sync.runs.in_process"}
    runs = {span.attributes.get("bytemark_sync.run") for span in observers.spans() if span.name == "GET"}
    assert len(runs - {None}) >= 2  # requests to Bytemark, in threads of the pool
    wanted = {"sync_order_items", "audit_order_items"}
    if with_queue:
        wanted |= {"plan_run", "sync_batch", "GET admin/"}
    assert {span.name for span in observers.spans()} >= wanted


def work_the_queue(harness: Harness) -> None:
    """A queued run and an audit, worked by a real cluster."""
    assert harness.run("sync_order_items", "--enqueue", "--include-deferred", "--json") == 0
    log = (Path(harness.env["PYTHONPATH"].split(":")[0]) / "cluster.log").open("w+")  # type: ignore[union-attr]
    cluster = start_manage("qcluster", "-v", 3, database_url=harness.url, env=harness.env, stdout=log, stderr=log)
    try:
        with watched_processes(harness.said, "cluster"):
            wait_for(lambda: harness.portal.runs()[-1]["status"] in ("partial", "failed"), 60, "the queued run ends")
            wait_for(lambda: not harness.portal.value("SELECT COUNT(*) FROM django_q_ormq"), 30, "the queue is empty")
    finally:
        cluster.terminate()
        cluster.wait(30)
    log.seek(0)
    harness.said["cluster's log"] = log.read()
    log.close()
    assert "bytemark_sync" in harness.said["cluster's log"]


def look_at_every_page(harness: Harness) -> None:
    """Every page that a superuser reaches by links, the monitors' two, and what the web server says of it."""
    assert harness.run("createsuperuser", "--noinput", "--username", "root", "--email", "r@example.com") == 0
    port = free_port()
    log = (Path(harness.env["PYTHONPATH"].split(":")[0]) / "web.log").open("w+")  # type: ignore[union-attr]
    server = spawn(
        [sys.executable, ROOT / "manage.py", "runserver", "--noreload", f"127.0.0.1:{port}"],
        env=clean_environment(harness.env | places(harness.url)),
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    base = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: answers(f"{base}/healthz"), 30, "the web server answers")
        session = requests.Session()
        page = session.get(f"{base}/admin/login/")
        for password in (f"{MARK}-wrong", ADMIN_PASSWORD):
            form = {
                "csrfmiddlewaretoken": session.cookies["csrftoken"],
                "username": "root",
                "password": password,
                "next": "/admin/",
            }
            page = session.post(f"{base}/admin/login/", data=form, headers={"Referer": f"{base}/admin/login/"})
        assert page.url == f"{base}/admin/"
        seen = crawl(session, base, harness.said)
        assert seen > 25, seen
        for path in ("/healthz", "/metrics", "/no/such/page", "/admin/bytemark_sync/order/999999/change/"):
            harness.said[path] = session.get(base + path).text
        metrics = session.get(f"{base}/metrics", headers={"Authorization": f"Bearer {MARK}-metrics"})
        assert metrics.status_code == 200
        harness.said["metrics"] = metrics.text
        harness.said["healthz"] = session.get(f"{base}/healthz").text
    finally:
        server.terminate()
        server.wait(30)
    log.seek(0)
    harness.said["web server's log"] = log.read()
    log.close()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).status_code in (200, 503)
    except requests.ConnectionError:
        time.sleep(0.1)
        return False


def crawl(session: requests.Session, base: str, said: dict[str, str]) -> int:
    """GET each kind of page once; how many kinds there are."""
    todo, seen = ["/admin/"], {"/admin/"}
    while todo:
        url = todo.pop()
        response = session.get(base + url)
        said[f"page {url}"] = response.text + str(response.headers)
        for found in re.findall(r'(?:href|hx-get)="([^"#]+)"', response.text):
            link = unescape(found)
            link = url.partition("?")[0] + link if link.startswith("?") else link
            path, _, query = link.partition("?")
            kind = (
                re.sub(r"\d+", "N", path) + "?" + "&".join(sorted(part.partition("=")[0] for part in query.split("&")))
            )
            # Sorting and narrowing a list shows no other columns: one such page a list is enough.
            if link.startswith("/admin/") and kind not in seen and "/logout/" not in link and query.count("=") <= 1:
                seen.add(kind)
                todo.append(link)
    return len(seen)
