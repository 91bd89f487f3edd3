"""Figures as a table: on the terminal, and in docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests.support.servers import ROOT

FILE = ROOT / "docs/benchmarks.md"
HEAD = ("What", "Figure", "Target", "")


@dataclass(frozen=True)
class Row:
    """`holds` is None where there is no target."""

    what: str
    figure: str
    target: str = ""
    holds: bool | None = None

    @property
    def cells(self) -> tuple[str, str, str, str]:
        return self.what, self.figure, self.target, {None: "", True: "holds", False: "FALLS SHORT"}[self.holds]


@dataclass(frozen=True)
class Section:
    title: str
    note: str
    rows: Sequence[Row]


def terminal(sections: Iterable[Section]) -> str:
    """One table with all rows."""
    sections = list(sections)
    rows = [HEAD, *(row.cells for section in sections for row in section.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [_line(HEAD, widths), "  ".join("-" * width for width in widths)]
    for section in sections:
        lines += ["", section.title, *(_line(row.cells, widths) for row in section.rows)]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(
        cell.rjust(width) if column == 1 else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ).rstrip()


def write(sections: Iterable[Section], seconds: float, load: float) -> Path:
    """docs/benchmarks.md, anew."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. It starts a private MariaDB (durable, as installed), Redis and the local Bytemark"
        " sandbox, each in a process of its own, runs the real commands, and stops all. Repeat it with:",
        "",
        "    make bench            # everything",
        "    make bench QUICK=1    # fewer repetitions and smaller numbers, two minutes, prints alone",
        "",
        f"Run on {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({platform.machine()}), Python"
        f" {platform.python_version()}, in {seconds / 60:.0f} minutes. Read ratios and counts, not seconds: the"
        " sandbox, the database and the product share the machine, here with a load average of"
        f" {load:.1f} from other work when the run began.",
    ]
    for section in sections:
        lines += ["", f"## {section.title}", "", section.note, ""]
        lines += ["| " + " | ".join(HEAD) + " |", "|---|---:|---|---|"]
        lines += ["| " + " | ".join(row.cells) + " |" for row in section.rows]
    FILE.write_text("\n".join(lines) + "\n")
    return FILE
