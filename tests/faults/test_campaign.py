"""A small campaign in every test run; `make faults N=1000` plays a large one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.harness import SERVERS
from tests.support.servers import ROOT, clean_environment

pytestmark = pytest.mark.cluster  # the scenarios start some
SEEDS = {"sqlite": (11, 10), "mariadb": (1, 10), "mysql": (11, 10), "redis": (7, 2), "clock": (1, 4)}
"""The first seed, and how many: together they play limits, outages, short lists and 304, and none takes long."""


@pytest.mark.parametrize("lane", [lane for lane in SEEDS if lane != "mysql" or lane in SERVERS])
@pytest.mark.timeout(240)
def test_the_end_state_is_whole_whatever_has_happened(lane: str) -> None:
    first, count = SEEDS[lane]
    command = [sys.executable, "-m", "tests.faults", "-n", str(count), "--seed", str(first), "--lane", lane]
    environment = clean_environment({"TEST_MYSQL_URL": os.environ.get("TEST_MYSQL_URL")})
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
