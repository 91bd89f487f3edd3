"""The product's version stands in one place (tests/test_habits.py), and whatever says it says the same."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from bytemark_sync import __version__
from bytemark_sync.bytemark.client import HEADERS
from tests.support.admin_pages import APP, page, words
from tests.support.servers import ROOT
from tests.upgrade.release import RELEASES

FOOT = f"Bytemark sync {__version__}"


@pytest.mark.parametrize("command", [[], ["sync_order_items"], ["qcluster"]])
def test_manage_py_says_the_products_version_without_settings(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", *command, "--version"], cwd=ROOT, env={}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{__version__}\n", "")


def test_the_newest_release_of_the_changelog_has_the_version_and_a_database_that_it_left() -> None:
    released = re.findall(
        r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert released[0] == __version__
    assert RELEASES[-1].version == __version__


@pytest.mark.django_db
def test_every_page_of_the_admin_ends_with_the_version(admin_client: Client) -> None:
    pages = ["/admin/", APP + "syncrun/", APP + "syncrun/limit/", APP + "pendingorder/", APP + "portaluser/"]
    pages += ["/admin/auth/user/add/", "/admin/django_q/schedule/", APP + "syncrun/daily/"]
    for url in pages:
        assert words(page(admin_client, url)).count(FOOT) == 1, url
    assert FOOT not in words(page(admin_client, "/admin/auth/group/add/?_popup=1"))


@pytest.mark.django_db
def test_strangers_are_not_told_the_version(client: Client) -> None:
    for url in ("/admin/login/", "/healthz", "/not-there"):
        assert __version__ not in client.get(url).content.decode(), url


@pytest.mark.django_db
def test_monitors_and_bytemark_are_told_the_same_version(client: Client, settings: Any) -> None:
    settings.METRICS_TOKEN = "sekret"
    text = client.get("/metrics", headers={"Authorization": "Bearer sekret"}).content.decode()
    (info,) = (each for each in text_string_to_metric_families(text) if each.name == "bytemark_sync_info")
    assert [(sample.labels, sample.value) for sample in info.samples] == [({"version": __version__}, 1.0)]
    assert HEADERS["User-Agent"] == f"bytemark-sync/{__version__}"
    for options in ([], ["--json"]):
        said = StringIO()
        with pytest.raises(CommandError):  # no cluster is alive here
            call_command("sync_status", *options, stdout=said)
        if options:
            assert json.loads(said.getvalue())["version"] == __version__
        else:
            assert f"Version        {__version__}" in said.getvalue()
