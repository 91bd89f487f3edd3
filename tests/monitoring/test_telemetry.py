"""Sentry and OpenTelemetry: they cost nothing unset, and what is sent holds no value (tests/test_secrets.py)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.harness import manage, python
from tests.support.observers import REQUIREMENTS, Observers
from tests.support.scenario import MakeScenario, simple_world
from tests.support.servers import ROOT, clean_environment, free_port

MARK = "not-for-others"  # another than in test_secrets.py, which looks for its own in every process list
LOADED = """
import os, sys, django
django.setup()
print(sorted({name.partition(".")[0] for name in sys.modules} & {"sentry_sdk", "opentelemetry", "google"}))
"""


@pytest.mark.parametrize("env", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}])
def test_what_is_not_set_is_not_imported(env: dict[str, str]) -> None:
    done = python(LOADED, env=clean_environment(env))
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.slow
def test_packages_that_are_missing_are_said_and_stop_nothing(sqlite_scenario: MakeScenario, tmp_path: Path) -> None:
    for name in ("sentry_sdk", "opentelemetry"):
        (tmp_path / f"{name}.py").write_text("raise ImportError(__name__)")
    env = {
        "SENTRY_DSN": "http://key@127.0.0.1:9/7",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
    }
    at = sqlite_scenario(simple_world(users=1))
    done = at.sync(env=env)
    assert done.status == 0
    for setting in ("SENTRY_DSN", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        said = f"{setting} is set, but its packages are not installed"
        assert f"{said}: pip install -r {REQUIREMENTS}" in done.stderr
        checked = manage("check", database_url=at.url, env=at.env(env))
        assert (checked.status, f"(bytemark_sync.W104) {said}" in checked.stderr) == (0, True)
    at.assert_exact()


@pytest.mark.slow
def test_a_run_does_not_mind_that_nobody_takes_what_it_sends(sqlite_scenario: MakeScenario) -> None:
    away = f"127.0.0.1:{free_port()}"
    env = {"SENTRY_DSN": f"http://key@{away}/7", "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{away}"}
    at = sqlite_scenario(simple_world(users=2))
    assert at.sync(env=env).status == 0
    at.assert_exact()


# Errors, lines, statements and requests as careless as they come. The product's own are in tests/test_secrets.py.
# Lines of source are sent, so the mark stands in none.
CARELESS = """
import logging, os, django
django.setup()
import requests
from django.db import connection, DatabaseError
from bytemark_sync.log_fields import log_fields
from bytemark_sync.monitoring import telemetry

MARK = os.environ["SECRET_KEY"].rpartition("-")[0]

def fail(token):
    headers = {"Authorization": "Bearer " + token}
    raise ValueError("cannot use " + token)

with log_fields(run=4, user=17), telemetry.span("careless"):
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT '{MARK}-literal', %s", [f"{MARK}-value"])
    try:
        requests.get(f"http://{MARK}:{MARK}@127.0.0.1:9/{MARK}?token={MARK}", headers={"Authorization": MARK})
    except requests.ConnectionError:
        pass
    logging.getLogger("bytemark_sync.careless").warning("a step before")
    try:
        try:
            fail(f"{MARK}-in-a-variable")
        except ValueError as error:
            raise DatabaseError(1062, f"Duplicate entry '{MARK}' for key 1") from error
    except DatabaseError:
        logging.getLogger("django-q").exception(f"Failed task - (1062, \\"Duplicate entry '{MARK}'\\")")
    about = {"reason": "api_error"}
    logging.getLogger("bytemark_sync.careless").error("%s asked", f"{MARK}@riders.example", extra=about)
    try:
        with telemetry.span("inner"):
            fail(MARK)
    except ValueError:
        pass
"""


@pytest.mark.slow
def test_what_is_sent_holds_classes_places_and_ids_but_no_value(sqlite_database_url: str) -> None:
    with Observers.serving() as observers:
        env = clean_environment(
            observers.env | {"DATABASE_URL": sqlite_database_url, "SECRET_KEY": f"{MARK}-{'k' * 40}"}
        )
        done = python(CARELESS, env=env)
        assert done.status == 0, done.stderr
    failed, asked = observers.events()
    assert [each["type"] for each in failed["exception"]["values"]] == ["ValueError", "DatabaseError"]
    assert failed["exception"]["values"][0]["stacktrace"]["frames"][-1]["function"] == "fail"
    assert failed["logentry"]["message"] == "Failed task - (1062, ..."
    assert failed["tags"] == {"run": "4", "user": "17"}
    assert asked["tags"] == {"run": "4", "user": "17", "reason": "api_error"}
    assert asked["logentry"]["formatted"] == "[e-mail] asked"
    assert "a step before" in [crumb.get("message") for crumb in asked["breadcrumbs"]["values"]]
    spans = {span.name: span for span in observers.spans()}
    assert set(spans) == {"careless", "inner", "SELECT", "GET"}
    assert {span.service for span in spans.values()} == {"bytemark-sync"}
    assert spans["SELECT"].attributes["db.query.text"] == "SELECT ..."
    assert spans["GET"].attributes["server.address"] == "127.0.0.1"
    assert spans["inner"].attributes == {"bytemark_sync.run": 4, "bytemark_sync.user": 17}
    assert MARK not in observers.text()
