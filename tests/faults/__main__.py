"""`python -m tests.faults`: a campaign over many seeds. Exit status 1 where a scenario failed."""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.faults.plan import LANES, lane_of, plan
from tests.support.children import spawn
from tests.support.servers import ROOT, clean_environment


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("-n", type=int, default=1000, help="how many scenarios (default: 1000)")
    parser.add_argument("--seed", type=int, default=1, help="of the first; the others follow (default: 1)")
    parser.add_argument("--lane", choices=LANES, default="", help="only this one; else each seed has its own")
    parser.add_argument("--jobs", type=int, default=1, help="lanes side by side (default: 1)")
    parser.add_argument("--show", action="store_true", help="only say what would be played")
    parser.add_argument("-v", action="store_true", help="a line for each scenario, and outputs of those that fail")
    options = parser.parse_args()
    if options.lane == "mysql" and not os.environ.get("TEST_MYSQL_URL"):
        parser.error("the lane mysql needs TEST_MYSQL_URL=mysql://user:password@127.0.0.1:port/, of an administrator")
    lanes: defaultdict[str, list[int]] = defaultdict(list)
    for seed in range(options.seed, options.seed + options.n):
        lanes[options.lane or lane_of(seed)].append(seed)
    if options.show:
        for lane, seeds in lanes.items():
            for seed in seeds:
                print(seed, plan(seed, lane).words())
        return 0
    return _Campaign(options).run(lanes)


class _Campaign:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.kinds: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.failed: list[int] = []
        self.lock = threading.Lock()

    def run(self, lanes: dict[str, list[int]]) -> int:
        began = time.monotonic()
        with ThreadPoolExecutor(self.options.jobs) as pool:
            for lane, seeds in lanes.items():
                pool.submit(self._lane, lane, seeds)
        seconds = time.monotonic() - began
        wanted, played = sum(map(len, lanes.values())), self.kinds.total()
        rate = played / max(seconds, 1)
        print(f"{played} scenarios in {seconds:.0f} s ({rate:.1f} a second), {len(self.failed)} failed")
        print("Played: " + ", ".join(f"{count} {kind}" for kind, count in sorted(self.kinds.items())))
        if wanted != played:
            print(f"{wanted - played} scenarios were not played: their lane could not go on, see above")
        return 1 if self.failed or wanted != played else 0

    def _lane(self, lane: str, seeds: list[int]) -> None:
        try:
            process = spawn(
                [sys.executable, "-m", "tests.faults.lane", lane],
                stdin=-1,
                stdout=-1,
                env=clean_environment({"TEST_MYSQL_URL": os.environ.get("TEST_MYSQL_URL")}),
                cwd=ROOT,
            )
            assert process.stdin
            assert process.stdout
            process.stdin.write("".join(f"{seed}\n" for seed in seeds))
            process.stdin.close()
            self._read(lane, process.stdout)
            process.wait()
        except Exception as error:
            print(f"lane {lane}: {type(error).__name__}: {error}")

    def _read(self, lane: str, lines: Iterable[str]) -> None:
        for line in lines:
            result: dict[str, Any] = json.loads(line)
            with self.lock:
                self.kinds[f"{lane} {result['kind']}"] += 1
                if self.options.v:
                    print(f"{result['seed']:>7} {result['seconds']:>6.2f} s  {result['words']}", flush=True)
                if result["problems"]:
                    self._tell(lane, result)

    def _tell(self, lane: str, result: dict[str, Any]) -> None:
        self.failed.append(result["seed"])
        print(f"FAILED: {result['words']}")
        for problem in result["problems"][:20]:
            print(f"    {problem}")
        chosen = f" LANE={self.options.lane}" if self.options.lane else ""
        print(f"    Again: make faults N=1 SEED={result['seed']}{chosen}", flush=True)
        if self.options.v:
            for name, text in result["evidence"].items():
                print(f"    --- {name}\n{text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
