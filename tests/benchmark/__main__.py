"""`make bench`: measure, print one table, write docs/benchmarks.md. Exit status 1 where a target is missed."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

from tests.benchmark import admin, engine, growth, limits, report
from tests.benchmark.harness import Harness
from tests.benchmark.report import Section

Part = Callable[[Harness, bool], Section]
PARTS: dict[str, Part] = {
    "targets": engine.targets,
    "speed": growth.speed,
    "long": growth.long_lists,
    "planning": growth.planning,
    "clusters": growth.clusters,
    "limits": limits.limits,
    "pages": admin.pages,
}
QUICK = ("targets", "planning", "clusters")


def main() -> int:
    """Arguments: names of parts; all without, or with the variable QUICK those that take two minutes together."""
    quick = os.environ.get("QUICK", "") not in ("", "0")
    names = sys.argv[1:] or list(QUICK if quick else PARTS)
    unknown = sorted(set(names) - set(PARTS))
    if unknown:
        print(f"Unknown: {', '.join(unknown)}. Known: {', '.join(PARTS)}.", file=sys.stderr)
        return 2
    started, load = time.monotonic(), os.getloadavg()[0]
    sections = []
    with Harness() as harness:
        for name in names:
            print(f"{time.monotonic() - started:4.0f} s  {name} ...", file=sys.stderr, flush=True)
            sections.append(PARTS[name](harness, quick))
    print(report.terminal(sections))
    if not quick and not sys.argv[1:]:
        print(f"\nWritten to {report.write(sections, time.monotonic() - started, load)}")
    return int(any(row.holds is False for section in sections for row in section.rows))


if __name__ == "__main__":
    sys.exit(main())
