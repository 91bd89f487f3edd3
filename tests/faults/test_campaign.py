"""A small campaign in every test run; `make faults N=1000` plays a large one."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest

from tests.support.children import spawn
from tests.support.harness import SERVERS, finish
from tests.support.servers import ROOT, clean_environment
from tests.support.side_by_side import side_by_side

pytestmark = pytest.mark.cluster  # the scenarios start some
SEEDS = {"sqlite": (11, 10), "mariadb": (1, 10), "mysql": (11, 10), "redis": (7, 2), "clock": (1, 4)}
"""The first seed, and how many: together they play limits, outages, short lists and 304, and none takes long."""


def the_end_state_is_whole(lane: str) -> None:
    first, count = SEEDS[lane]
    command = [sys.executable, "-m", "tests.faults", "-n", str(count), "--seed", str(first), "--lane", lane]
    environment = clean_environment({"TEST_MYSQL_URL": os.environ.get("TEST_MYSQL_URL")})
    process = spawn(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    done = finish(process, 230)
    assert done.status == 0, f"lane {lane}: {done.stdout}{done.stderr}"


@pytest.mark.server
@pytest.mark.timeout(240)
def test_the_end_state_is_whole_whatever_has_happened() -> None:
    """In every lane, side by side as in `make faults`."""
    lanes = [lane for lane in SEEDS if lane != "mysql" or lane in SERVERS]
    side_by_side(*(partial(the_end_state_is_whole, lane) for lane in lanes))
