"""docs/contract.md#settings: each variable takes effect; one that cannot be used is named in a line, with status 2."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bytemark_sync.sandbox import Sandbox, World
from tests.support.children import spawn
from tests.support.harness import Finished, Portal, finish, manage, python
from tests.support.scenario import simple_world
from tests.support.servers import ROOT, clean_environment

SECRET = "s3cret-never-shown"

# Reads the settings anew for each environment, as so many processes would, in the time of one.
READ_SETTINGS = """
import json, os, runpy, sys
from django.core.exceptions import ImproperlyConfigured
base = dict(os.environ)
for environment in json.loads(sys.argv[1]):
    os.environ.clear()
    os.environ.update(base)
    os.environ.update(environment)
    try:
        found = runpy.run_path("project/settings.py")
        shown = {name: value for name, value in found.items() if name.isupper()}
        print(json.dumps({"settings": shown}, default=lambda value: type(value).__name__))
    except ImproperlyConfigured as error:
        print(json.dumps({"error": str(error)}))
"""


def read_settings(*environments: Mapping[str, str]) -> list[dict[str, Any]]:
    """For each environment its settings, or the error."""
    unset = {name: None for name in clean_environment() if name.startswith(("BYTEMARK_", "REDIS", "SLACK", "SITE"))}
    done = python(READ_SETTINGS, json.dumps(environments), env=unset)
    assert done.status == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


DEFAULTS = {
    "SITE_URL": "",
    "BYTEMARK_CUSTOMER_API_URL": "",
    "BYTEMARK_ORDERS_PATH": "/v4.0/orders",
    "BYTEMARK_PAGE_SIZE": 10,
    "BYTEMARK_MAX_ATTEMPTS": 5,
    "BYTEMARK_WORKERS": 16,
    "BYTEMARK_CONNECT_TIMEOUT": 5,
    "BYTEMARK_READ_TIMEOUT": 30,
    "BYTEMARK_REQUEST_DEADLINE": 60,
    "BYTEMARK_BACKOFF_BASE": 0.5,
    "BYTEMARK_BACKOFF_CAP": 30,
    "BYTEMARK_REQUESTS_PER_SECOND": None,
    "BYTEMARK_OUTAGE_PATIENCE": 300,
    "BYTEMARK_ACCOUNT_API_URL": "",
    "BYTEMARK_CLIENT_ID": "",
    "BYTEMARK_CLIENT_SECRET": "",
    "BYTEMARK_LOGIN_PATH": "/users/login",
    "PROJECT_NAME": "connectsmart",
    "PROJECT_STAGE": "production",
    "SLACK_BOT_TOKEN": "",
    "SLACK_CHANNEL_ID": "",
    "REDIS_URL": "",
    "SYNC_CRON": "0 3 * * *",
    "SYNC_BATCH_USERS": 500,
    "SYNC_HEARTBEAT_LIMIT": 900,
    "SYNC_RETENTION_DAYS": 90,
    "TIME_ZONE": "UTC",
    "LOG_FORMAT": "text",
    "METRICS_TOKEN": "",
    "SENTRY_DSN": "",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "",
    "OTEL_TRACES_EXPORTER": "",
    "OTEL_EXPORTER_OTLP_TIMEOUT": 3,
    "OTEL_SERVICE_NAME": "bytemark-sync",
    "OTEL_SDK_DISABLED": False,
    "TRUSTED_PROXIES": 0,
}

USABLE = [
    # variable, value, setting, what it becomes
    ("SECRET_KEY", "$starts-with-a-dollar-" + "x" * 10, "SECRET_KEY", "$starts-with-a-dollar-" + "x" * 10),
    ("ALLOWED_HOSTS", " a.example , b.example,", "ALLOWED_HOSTS", ["a.example", "b.example"]),
    ("CSRF_TRUSTED_ORIGINS", "https://a.example", "CSRF_TRUSTED_ORIGINS", ["https://a.example"]),
    ("SITE_URL", "https://a.example/", "SITE_URL", "https://a.example"),
    (
        "BYTEMARK_CUSTOMER_API_URL",
        " https://overture.bytemark.co ",
        "BYTEMARK_CUSTOMER_API_URL",
        "https://overture.bytemark.co",
    ),
    ("BYTEMARK_ORDERS_PATH", "/v5/orders", "BYTEMARK_ORDERS_PATH", "/v5/orders"),
    ("BYTEMARK_PAGE_SIZE", "50", "BYTEMARK_PAGE_SIZE", 50),
    ("BYTEMARK_MAX_ATTEMPTS", "1", "BYTEMARK_MAX_ATTEMPTS", 1),
    ("BYTEMARK_WORKERS", "64", "BYTEMARK_WORKERS", 64),
    ("BYTEMARK_CONNECT_TIMEOUT", "0.5", "BYTEMARK_CONNECT_TIMEOUT", 0.5),
    ("BYTEMARK_BACKOFF_BASE", "0", "BYTEMARK_BACKOFF_BASE", 0),
    ("BYTEMARK_REQUESTS_PER_SECOND", "0.5", "BYTEMARK_REQUESTS_PER_SECOND", 0.5),
    ("BYTEMARK_REQUESTS_PER_SECOND", " ", "BYTEMARK_REQUESTS_PER_SECOND", None),
    ("BYTEMARK_OUTAGE_PATIENCE", "60", "BYTEMARK_OUTAGE_PATIENCE", 60),
    ("SYNC_CRON", "*/5 1-3 * * mon", "SYNC_CRON", "*/5 1-3 * * mon"),
    ("TRUSTED_PROXIES", "2", "TRUSTED_PROXIES", 2),
    ("SYNC_HEARTBEAT_LIMIT", "2.5", "SYNC_HEARTBEAT_LIMIT", 2.5),
    ("TIME_ZONE", "America/Chicago", "TIME_ZONE", "America/Chicago"),
    ("LOG_FORMAT", "JSON", "LOG_FORMAT", "json"),
    ("SENTRY_DSN", "https://key@sentry.example/7", "SENTRY_DSN", "https://key@sentry.example/7"),
    ("OTEL_SDK_DISABLED", "true", "OTEL_SDK_DISABLED", True),
    ("PROJECT_STAGE", "", "PROJECT_STAGE", "production"),  # empty counts as unset
    ("PROJECT_NAME", "größe 😀", "PROJECT_NAME", "größe 😀"),
]

UNUSABLE = [
    *(
        (name, value)
        for name in (
            "BYTEMARK_PAGE_SIZE",
            "BYTEMARK_MAX_ATTEMPTS",
            "BYTEMARK_WORKERS",
            "SYNC_BATCH_USERS",
            "SYNC_RETENTION_DAYS",
        )
        for value in ("x", "0", "-1", "1.5", "1e9", "9" * 30, "nan")
    ),
    *(
        (name, value)
        for name in (
            "BYTEMARK_CONNECT_TIMEOUT",
            "BYTEMARK_READ_TIMEOUT",
            "BYTEMARK_REQUEST_DEADLINE",
            "BYTEMARK_OUTAGE_PATIENCE",
            "SYNC_HEARTBEAT_LIMIT",
        )
        for value in ("x", "0", "-1", "inf", "nan", "1e9", "5s")
    ),
    *(
        (name, value)
        for name in ("BYTEMARK_BACKOFF_BASE", "BYTEMARK_BACKOFF_CAP")
        for value in ("x", "-1", "inf", "nan")
    ),
    *(("BYTEMARK_REQUESTS_PER_SECOND", value) for value in ("x", "0", "-1", "inf", "nan", "1e9", "5/s")),
    *(("TRUSTED_PROXIES", value) for value in ("x", "-1", "1.5", "17", "10.0.0.1")),
    ("DEBUG", "maybe"),
    ("DEBUG", "2"),
    ("TIME_ZONE", "Mars/Olympus"),
    ("TIME_ZONE", "../../etc/passwd"),
    ("TIME_ZONE", "/etc/passwd"),
    ("LOG_FORMAT", "xml"),
    ("SITE_URL", "sync.example.org"),
    ("SITE_URL", "ftp://sync.example.org"),
    ("SITE_URL", "https://"),
    ("SITE_URL", "https://sync.example.org:port"),
    ("SITE_URL", "https://sync example.org"),
    ("SYNC_CRON", "daily"),
    ("SYNC_CRON", "0 3 * *"),
    ("SYNC_CRON", "0 3 * * * *"),
    ("SYNC_CRON", "61 3 * * *"),
    ("SYNC_CRON", "0 3 31 2 *"),
    ("SYNC_CRON", "😀 3 * * *"),
    ("REDIS_URL", f"http://user:{SECRET}@host"),
    ("REDIS_URL", "localhost:6379"),
    ("REDIS_URL", f"redis://:{SECRET}/x@host"),
    ("REDIS_URL", f"redis://:{SECRET}@host:port/0"),
    ("REDIS_URL", f"redis://:{SECRET}@[host/0"),
    ("SENTRY_DSN", f"https://{SECRET}@sentry.example/"),
    ("SENTRY_DSN", "https://sentry.example/7"),
    ("OTEL_TRACES_EXPORTER", "jaeger"),
    ("DATABASE_URL", f"postgres://user:{SECRET}@host/portal"),
    ("DATABASE_URL", f"mysql://user:{SECRET}@host:port/portal"),
    ("DATABASE_URL", f"mysql://user:{SECRET}@host:99999/portal"),
    ("DATABASE_URL", f"mysql://user:{SECRET}@host"),
    ("DATABASE_URL", f"mysql://user:{SECRET}@host/portal?no_such={SECRET}"),
    ("DATABASE_URL", f"mysql://user:{SECRET}@host/portal?connect_timeout={SECRET}"),
    ("DATABASE_URL", f"mysql://user:{SECRET}@[host/portal"),
    ("DATABASE_URL", "sqlite:////tmp/x?timeout=soon"),
    ("DATABASE_URL", "sqlite:////tmp/x?charset=utf8"),
    ("DATABASE_URL", "nonsense"),
    ("DATABASE_URL", "://"),
    ("DATABASE_URL", "😀"),
]


@pytest.fixture(scope="module")
def readings() -> list[dict[str, Any]]:
    environments: list[dict[str, str]] = [{}]
    environments += [{name: value} for name, value, _, _ in USABLE]
    environments += [{name: value} for name, value in UNUSABLE]
    return read_settings(*environments)


@pytest.mark.slow
def test_defaults_are_those_of_the_contract(readings: list[dict[str, Any]]) -> None:
    found = readings[0]["settings"]
    assert {name: found[name] for name in DEFAULTS} == DEFAULTS
    assert found["SLACK_API_URL"].startswith("https://slack.com/")
    assert found["DATABASES"]["default"]["NAME"] == str(ROOT / "db.sqlite3")


@pytest.mark.parametrize("row", range(len(USABLE)), ids=[f"{name}={value}" for name, value, _, _ in USABLE])
def test_a_usable_value_takes_effect(readings: list[dict[str, Any]], row: int) -> None:
    _, _, setting, expected = USABLE[row]
    assert readings[1 + row]["settings"][setting] == expected


@pytest.mark.parametrize("row", range(len(UNUSABLE)), ids=[f"{name}={value}" for name, value in UNUSABLE])
def test_an_unusable_value_is_named_without_secrets(readings: list[dict[str, Any]], row: int) -> None:
    error = readings[1 + len(USABLE) + row]["error"]
    assert error.startswith(UNUSABLE[row][0])
    assert SECRET not in error
    assert len(error) < 400


def test_database_urls_are_read_with_their_options() -> None:
    mysql, certificates, relative, memory = (
        each["settings"]["DATABASES"]["default"]
        for each in read_settings(
            {"DATABASE_URL": "mysql://u%40x:p%2F%3Aw%23%25@db.example:3307/portal?charset=latin1&connect_timeout=3"},
            {"DATABASE_URL": "mysql://u@db/portal?ssl_mode=VERIFY_CA&ssl_ca=/etc/ca.pem"},
            {"DATABASE_URL": "sqlite:///some/file.sqlite3?timeout=0.5"},
            {"DATABASE_URL": "sqlite://:memory:"},
        )
    )
    wanted = {"USER": "u@x", "PASSWORD": "p/:w#%", "HOST": "db.example", "PORT": 3307, "NAME": "portal"}
    assert {name: mysql[name] for name in wanted} == wanted
    assert (mysql["OPTIONS"]["charset"], mysql["OPTIONS"]["connect_timeout"]) == ("latin1", 3)
    assert mysql["OPTIONS"]["isolation_level"] == "read committed"
    assert "STRICT_TRANS_TABLES" in mysql["OPTIONS"]["init_command"]
    assert certificates["OPTIONS"]["ssl"] == {"ca": "/etc/ca.pem"}
    assert relative["NAME"] == str(ROOT / "some/file.sqlite3")
    assert relative["OPTIONS"] | {"timeout": 0.5, "transaction_mode": "IMMEDIATE"} == relative["OPTIONS"]
    assert memory["NAME"] == ":memory:"


# --- At the command line ----------------------------------------------------------------------------------------------

AT_THE_COMMAND = [
    ({"BYTEMARK_WORKERS": "many"}, "BYTEMARK_WORKERS"),
    ({"DATABASE_URL": f"mysql://user:{SECRET}@host"}, "DATABASE_URL"),
    ({"DEBUG": "0"}, "SECRET_KEY"),
    ({"BYTEMARK_CUSTOMER_API_URL": ""}, "BYTEMARK_CUSTOMER_API_URL"),
    ({"BYTEMARK_CUSTOMER_API_URL": "http://overture.bytemark.co"}, "BYTEMARK_CUSTOMER_API_URL must be https"),
    ({"BYTEMARK_CUSTOMER_API_URL": f"https://user:{SECRET}@overture.bytemark.co"}, "BYTEMARK_CUSTOMER_API_URL"),
    ({"BYTEMARK_CUSTOMER_API_URL": f"https://host/?key={SECRET}"}, "BYTEMARK_CUSTOMER_API_URL"),
    ({"CSRF_TRUSTED_ORIGINS": "a.example"}, "CSRF_TRUSTED_ORIGINS"),
]


@pytest.mark.parametrize(("env", "named"), AT_THE_COMMAND)
def test_the_command_ends_with_2_before_any_request(
    env: dict[str, str], named: str, sqlite_database_url: str, sandbox: Callable[..., Sandbox]
) -> None:
    served = sandbox(simple_world(users=1))
    portal = Portal(sqlite_database_url)
    portal.fill(simple_world(users=1))
    done = manage(
        "sync_order_items",
        database_url=env.get("DATABASE_URL", sqlite_database_url),
        env={"BYTEMARK_CUSTOMER_API_URL": served.url, **env},
    )
    assert done.status == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert SECRET not in done.stdout + done.stderr
    assert served.stats().requests == 0
    assert portal.runs() == []


CHECK_URLS = """
import json, sys
from bytemark_sync.bytemark.config import BytemarkSettings, ConfigError
for url, path in json.loads(sys.argv[1]):
    try:
        print(json.dumps(BytemarkSettings(url, path).orders_url))
    except ConfigError as error:
        print(json.dumps([str(error)]))
"""
USABLE_URLS = {
    "https://overture.bytemark.co": "https://overture.bytemark.co/v4.0/orders",
    "https://overture.bytemark.co/": "https://overture.bytemark.co/v4.0/orders",
    "HTTPS://host:8443/base": "HTTPS://host:8443/base/v4.0/orders",
    "http://localhost:8000": "http://localhost:8000/v4.0/orders",
    "http://LOCALHOST": "http://LOCALHOST/v4.0/orders",
    "http://127.0.0.1:1": "http://127.0.0.1:1/v4.0/orders",
    "http://127.9.9.9": "http://127.9.9.9/v4.0/orders",
    "http://[::1]:9": "http://[::1]:9/v4.0/orders",
}
UNUSABLE_URLS = [
    "",
    "overture.bytemark.co",
    "ftp://host",
    "//host",
    "https://",
    "https:///x",
    "file:///etc/passwd",
    "javascript:0",
    "http://example.com",
    "http://localhost.example.com",
    "http://127.0.0.1.example.com",
    "http://0.0.0.0",
    "http://10.0.0.1",
    "http://[::2]",
    "http://localhost@example.com",
    "http://127.0.0.1\\@example.com",
    "http://example.com#localhost",
    "https://h/?x=1",
    "https://h/#x",
    "https://u:p@h",
    "https://u@h",
    "https://h:99999",
    "https://h:x",
    "https://[h",
    "https://h o",
    "https://h\n.example",
    "https://h\t",
    "https://hö st",
    "https://\x00",
    "https://exämple.com/pfäd",
]
UNUSABLE_PATHS = ["orders", "", "/a b", "/a?b", "/a#b", "/a\r\nX: y", "/a\tb", "/ä", "/\x00", "/\x7f", "/😀"]


def test_urls_are_https_or_loopback_and_hold_no_secret() -> None:
    table = [(url, "/v4.0/orders") for url in [*USABLE_URLS, *UNUSABLE_URLS]]
    table += [("https://host", path) for path in UNUSABLE_PATHS]
    done = python(CHECK_URLS, json.dumps(table), env={})
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(table), done.stderr
    assert results[: len(USABLE_URLS)] == list(USABLE_URLS.values())
    for (url, path), result in zip(table[len(USABLE_URLS) :], results[len(USABLE_URLS) :], strict=True):
        assert isinstance(result, list), (url, path)
        assert result[0].startswith("BYTEMARK_CUSTOMER_API_URL" if path == "/v4.0/orders" else "BYTEMARK_ORDERS_PATH")


def test_the_requests_are_made_as_the_settings_say(sqlite_database_url: str, sandbox: Callable[..., Sandbox]) -> None:
    """URL with a path before it, orders path, page size and attempts, seen by the server."""
    world: World = simple_world(users=1, orders=7)
    served = sandbox(world, orders_path="/base/v9/list", faults="status:status=500,pages=3")
    Portal(sqlite_database_url).fill(world)
    env = {
        "BYTEMARK_CUSTOMER_API_URL": f"{served.url}/base/",
        "BYTEMARK_ORDERS_PATH": "/v9/list",
        "BYTEMARK_PAGE_SIZE": "3",
        "BYTEMARK_MAX_ATTEMPTS": "2",
    }
    done = manage("sync_order_items", "--json", database_url=sqlite_database_url, env=env)
    assert [(seen.page, seen.per_page) for seen in served.requests()] == [(1, 3), (2, 3), (3, 3), (3, 3)]
    assert (done.status, done.json["orders_synced"]) == (1, 6)


def test_timeouts_and_the_deadline_hold(sqlite_database_url: str, sandbox: Callable[..., Sandbox]) -> None:
    world = simple_world(users=2, orders=1)
    served = sandbox(world, faults="hang:users=101;drip_body:users=102,seconds=0.05")
    Portal(sqlite_database_url).fill(world)
    env = {
        "BYTEMARK_CUSTOMER_API_URL": served.url,
        "BYTEMARK_READ_TIMEOUT": "0.2",
        "BYTEMARK_REQUEST_DEADLINE": "0.5",
        "BYTEMARK_MAX_ATTEMPTS": "1",
    }
    done = manage("sync_order_items", "--json", database_url=sqlite_database_url, env=env)
    details = [row[0] for row in Portal(sqlite_database_url).all("SELECT detail FROM bytemark_sync_outcome ORDER BY 1")]
    assert "did not answer in time" in details[1]
    assert "not complete within the deadline" in details[0]
    assert done.json["seconds"] < 15


# --- .env -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def installation(tmp_path: Path) -> Path:
    """A copy of the product with a place for a `.env` of its own."""
    shutil.copy(ROOT / "manage.py", tmp_path)
    shutil.copytree(ROOT / "project", tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "bytemark_sync").symlink_to(ROOT / "bytemark_sync")
    return tmp_path


def check(installation: Path, env: Mapping[str, str | None]) -> Finished:
    process = spawn(
        [sys.executable, installation / "manage.py", "check"],
        env=clean_environment(env),
        cwd=installation,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    return finish(process)


@pytest.mark.slow
def test_a_dotenv_file_beside_manage_py_is_read_and_the_environment_wins(installation: Path) -> None:
    dotenv = installation / ".env"
    dotenv.write_text(
        "DEBUG=0\nSECRET_KEY='from $file, with 32 letters or more'\n"
        "BYTEMARK_WORKERS=many\n# note\nexport TIME_ZONE=Europe/Paris\n"
    )
    wrong = check(installation, {"DEBUG": None})
    assert (wrong.status, "BYTEMARK_WORKERS: 'many'" in wrong.stderr) == (2, True)
    assert check(installation, {"DEBUG": None, "BYTEMARK_WORKERS": "3"}).status == 0


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"\xff\xfe\x00junk", b"no equals sign\n=\n==\n\x00\n", b"BYTEMARK_WORKERS='3\n"])
def test_a_dotenv_file_that_cannot_be_read_ends_in_words(installation: Path, content: bytes) -> None:
    (installation / ".env").write_bytes(content)
    done = check(installation, {})
    assert "Traceback" not in done.stderr
    assert done.status in (0, 2)
    if done.status:
        assert ".env" in done.stderr or "BYTEMARK_WORKERS" in done.stderr


def test_without_debug_a_secret_key_is_needed_and_enough(sqlite_database_url: str) -> None:
    missing = manage("check", database_url=sqlite_database_url, env={"DEBUG": "0"})
    assert (missing.status, "SECRET_KEY is not set" in missing.stderr) == (2, True)
    assert manage("check", database_url=sqlite_database_url, env={"DEBUG": "0", "SECRET_KEY": SECRET * 4}).status == 0


def test_a_short_secret_key_is_refused_without_repeating_it(sqlite_database_url: str) -> None:
    """It signs sessions, tasks and fingerprints of tokens: what can be guessed signs nothing."""
    for length, status, debug in ((1, 2, "0"), (31, 2, "0"), (31, 2, "1"), (32, 0, "0"), (32, 0, "1")):
        key = ("x%q7" * 8)[:length]
        done = manage("check", database_url=sqlite_database_url, env={"DEBUG": debug, "SECRET_KEY": key})
        assert done.status == status, done.stderr
        assert "Traceback" not in done.stderr
        if status:
            assert "SECRET_KEY: 32 characters or more are needed" in done.stderr
            assert f"{key}\n" not in done.stderr


HAS_CHILDREN = """
import os, django
django.setup()
try:
    os.waitpid(-1, os.WNOHANG)
    print("children")
except ChildProcessError:
    print("none")
"""


def test_no_process_starts_another_when_it_loads() -> None:
    """django-q2 makes locks when it is imported. On Python 3.14 a process would watch them, beside each command."""
    assert python(HAS_CHILDREN, env={}).stdout == "none\n"
