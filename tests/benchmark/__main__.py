"""`make bench`: measure, print one table, write docs/benchmarks.md. Exit status 1 where a target is missed.

With QUICK or SCALE nothing is written: those are no figures to compare.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from tests.benchmark import admin, engine, growth, limits, million, report
from tests.benchmark.harness import Harness
from tests.benchmark.report import Measured, Section

Part = Callable[[Harness, bool], Section]
PARTS: dict[str, Part] = {
    "targets": engine.targets,
    "speed": growth.speed,
    "long": growth.long_lists,
    "planning": growth.planning,
    "clusters": growth.clusters,
    "limits": limits.limits,
    "pages": admin.pages,
    "million": million.million,
}
ALONE = ("million",)
"""Parts that are only run when they are named."""
QUICK = ("targets", "planning", "clusters")


def main() -> int:
    """Arguments: names of parts; all without, or with the variable QUICK those that take two minutes together."""
    quick = os.environ.get("QUICK", "") not in ("", "0")
    whole = [name for name in PARTS if name not in ALONE]
    names = sys.argv[1:] or (list(QUICK) if quick else whole)
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        print(f"Unknown: {', '.join(unknown)}. Known: {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    begun, load = time.monotonic(), os.getloadavg()[0]
    measured = []
    with Harness() as harness:
        for name in names:
            started = time.monotonic()
            print(f"{started - begun:4.0f} s  {name} ...", file=sys.stderr, flush=True)
            section = PARTS[name](harness, quick)
            measured.append(Measured(section, time.monotonic() - started))
    sections = [one.section for one in measured]
    print(report.terminal(sections))
    if not quick and not os.environ.get("SCALE"):
        print(f"\nWritten to {report.write(measured, load, stay=None if sys.argv[1:] else (million.TITLE,))}")
    return int(any(row.holds is False for section in sections for row in section.rows))


if __name__ == "__main__":
    sys.exit(main())
