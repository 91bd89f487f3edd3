"""A small campaign in every test run; `make faults N=1000` plays a large one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.servers import ROOT, clean_environment


@pytest.mark.parametrize(("lane", "scenarios"), [("sqlite", 10), ("mariadb", 10), ("redis", 2), ("clock", 4)])
@pytest.mark.timeout(240)
def test_the_end_state_is_whole_whatever_has_happened(lane: str, scenarios: int) -> None:
    command = [sys.executable, "-m", "tests.faults", "-n", str(scenarios), "--seed", "1", "--lane", lane]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
