"""One lane: a process with its own servers that plays scenarios one after the other. Seeds in, a JSON line each out."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.machines import Machines, clock_environment, machines


def main(lane: str) -> None:
    if lane == "clock" and "JUMPING_CLOCK" not in os.environ:
        environment = os.environ | clock_environment()
        os.execve(sys.executable, [sys.executable, "-m", "tests.faults.lane", lane], environment)
    try:
        with machines(lane) as made:
            os.environ.update(made.environment())
            os.environ["DJANGO_SETTINGS_MODULE"] = "project.settings"
            play(made, (int(line) for line in sys.stdin))
    finally:
        if lane == "clock":
            shutil.rmtree(Path(os.environ["JUMPING_CLOCK"]).parent, ignore_errors=True)


def play(made: Machines, seeds: Iterator[int]) -> None:
    import django

    django.setup()
    from tests.faults.harness import Harness
    from tests.faults.plan import plan

    harness = Harness(made)
    for seed in seeds:
        scenario = plan(seed, made.lane)
        began = time.monotonic()
        problems, evidence = harness.play(scenario)
        line = {
            "seed": seed,
            "kind": scenario.kind,
            "words": scenario.words(),
            "seconds": round(time.monotonic() - began, 2),
            "problems": problems,
            "evidence": evidence if problems else {},
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
