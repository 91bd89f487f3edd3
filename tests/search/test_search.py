"""A small search in every test run, the same in each; `make faults` makes a large one (docs/faults.md)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.search.play import search
from tests.support.servers import ROOT, clean_environment


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
@pytest.mark.timeout(900)
def test_every_promise_holds_whatever_happens_in_whatever_order() -> None:
    search(steps=2000)


@pytest.mark.timeout(600)
def test_the_same_on_a_database_server(server_url: str) -> None:
    command = [sys.executable, "-m", "tests.search", "--database-url", server_url, "--steps", "200"]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
